"""Measure everything that docs/performance.md says of speed, and put it there.

Run: python benchmarks/speed/page.py [--measure [NAME ...]]

``--measure`` runs the commands of ``RUNS`` (more than an hour on 2 idle cores; with names, these only) and writes one
JSON each to benchmarks/results/speed. The page's tables, below lines like ``<!-- step -->``, are made of these files.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Columns = dict[str, Callable[[Row], str]]

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "speed"
PAGE = HERE.parents[1] / "docs" / "performance.md"
MARK = re.compile(r"<!-- ([a-z]+) -->\n(?:\n(?:\|.*\n)+|\nNot measured yet.\n)?")
RUNS = {
    "start": "start.py",
    "kernels": "kernels.py",
    "step-text-16": "step.py --graph text --width 16",
    "step-text-64": "step.py --graph text --width 64",
    "step-random-16": "step.py --graph random --width 16",
    "step-random-64": "step.py --graph random --width 64",
    "prediction-16": "prediction.py --width 16",
    "prediction-64": "prediction.py --width 64",
    "training": "training.py",
    "scaling": "scaling.py",
    "breakeven": "breakeven.py",
    "allocator-16": "allocator.py --width 16",
    "allocator-64": "allocator.py --width 64",
}


def measure(names: list[str]) -> None:
    from measure import TABLE  # which loads torch

    if not TABLE.is_file():
        raise SystemExit(f"error: found no '{TABLE}'; name the folder that has it: GRAPE_DGL_TEST_DATA=FOLDER")
    for name in names or list(RUNS):
        script, *words = RUNS[name].split()
        print(f"{name}: python benchmarks/speed/{RUNS[name]}", file=sys.stderr)
        command = [sys.executable, str(HERE / script), *words, "--out", str(RESULTS / f"{name}.json")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def read(name: str) -> Row:
    found: Row = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def runs(kind: str) -> list[Row]:
    """Of one script, those that were measured, with what follows the first '-' of their names."""
    done = [name for name in RUNS if name.split("-")[0] == kind and (RESULTS / f"{name}.json").is_file()]
    if not done:
        raise FileNotFoundError(kind)
    return [read(name) | {"name": name.partition("-")[2]} for name in done]


def spread(values: dict[str, float], digits: int = 2) -> str:
    """Median [least, largest]."""
    return "{median:.{digits}f} [{least:.{digits}f}, {largest:.{digits}f}]".format(**values, digits=digits)


def orders(values: dict[str, float]) -> str:
    return "{median:.0e} [{least:.0e}, {largest:.0e}]".format(**values)


def grown(rows: str, varied: str) -> tuple[list[Row], Columns]:
    """A part of scaling.py, varied in one thing."""
    found = read("scaling")[rows]
    columns: Columns = {
        varied: lambda row: str(row[varied]),
        "edges": lambda row: str(row["edges"]),
        "step, s": lambda row: spread(row["seconds"]),
        "peak memory, MB": lambda row: f"{row['peak_memory_mb']:.0f}",
    }
    if rows == "sizes":
        columns["by searches of all pairs, times"] = lambda row: spread(row["all_pairs_take"])
        columns["searches by the bound"] = lambda row: str(row["searches"]["by the bound"])
        columns["of all pairs"] = lambda row: str(row["searches"]["of all pairs"])
    return found["rows"], columns


TABLES: dict[str, Callable[[], tuple[list[Row], Columns]]] = {
    "commits": lambda: (
        [{"name": name, "commit": read(name)["commit"]} for name in RUNS],
        {"measured": lambda row: row["name"], "of commit": lambda row: row["commit"]},
    ),
    "step": lambda: (
        runs("step"),
        {
            "graph, width": lambda row: row["name"].replace("-", ", 4 x "),
            "ours, s": lambda row: spread(row["seconds"]["fast"]),
            "plain, s": lambda row: spread(row["seconds"]["plain"], 1),
            "times faster": lambda row: spread(row["times_faster"]["plain"], 1),
            "than plain on our kernels": lambda row: spread(row["times_faster"]["plain, our kernels"], 1),
            "one more condition, of a pass": lambda row: spread(row["one_more_condition"], 3),
            "twice the cells, s": lambda row: spread(row["seconds"]["fast, twice the cells"]),
            "torch engine, times ours": lambda row: spread(row["torch_engine_takes"]),
            "peak memory, MB": lambda row: f"{row['peak_memory_mb']:.0f}",
            "loss differs": lambda row: "{median:.0e}".format(**row["relative_difference"]["loss"]),
            "gradients differ": lambda row: orders(row["relative_difference"]["gradients"]),
            "without kinks": lambda row: orders(row["without_kinks"]["gradients"]) if "without_kinks" in row else "-",
            "in float64": lambda row: "{gradients:.0e}".format(**row["float64"]) if "float64" in row else "-",
        },
    ),
    "prediction": lambda: (
        runs("prediction"),
        {
            "width": lambda row: f"4 x {row['name']}",
            "all genes, s": lambda row: spread(row["seconds"], 1),
            "times faster": lambda row: spread(row["times_faster"]["plain"], 0),
            "than passes on our kernels": lambda row: spread(row["times_faster"]["plain, our kernels"], 0),
            "peak memory, MB": lambda row: f"{row['peak_memory_mb']:.0f}",
            "differs": lambda row: f"{row['relative_difference']:.0e}",
        },
    ),
    "genes": lambda: grown("sizes", "genes"),
    "conditions": lambda: grown("conditions", "conditions"),
    "degrees": lambda: grown("degrees", "degree"),
    "exponents": lambda: (
        [read("scaling")[part]["exponent"] | {"name": part} for part in ("sizes", "conditions", "degrees")],
        {
            "grows with": lambda row: "genes" if row["name"] == "sizes" else row["name"],
            "exponent of seconds": lambda row: f"{row['seconds']:.2f}",
            "exponent of peak memory": lambda row: f"{row['peak_memory_mb']:.2f}",
        },
    ),
    "hub": lambda: (
        read("breakeven")["rows"],
        {
            "linked to the hub": lambda row: f"{100 * row['share']:.0f} %",
            "edges computed, of a whole pass": lambda row: f"{row['affected']:.2f}",
            "correction, s": lambda row: spread(row["seconds"]["corrected"], 3),
            "whole pass, s": lambda row: spread(row["seconds"]["whole"], 3),
            "ratio": lambda row: spread(row["corrected_over_whole"]),
        },
    ),
    "hubstep": lambda: (
        [read("scaling")["hub"]],
        {
            "genes": lambda row: str(row["genes"]),
            "step, s": lambda row: spread(row["seconds"]),
            "predictions differ": lambda row: f"{row['relative_difference']:.0e}",
        },
    ),
    "training": lambda: (
        [read("training")],
        {
            "all, s": lambda row: f"{row['seconds']['total']:.0f}",
            "training, s": lambda row: f"{row['seconds']['train']:.0f}",
            "epochs": lambda row: str(row["training"]["epochs"]),
            "peak memory, MB": lambda row: f"{row['peak_memory_mb']:.0f}",
            "searches by the bound": lambda row: str(row["training"]["searches"]["by the bound"]),
            "of all pairs": lambda row: str(row["training"]["searches"]["of all pairs"]),
            "for a threshold": lambda row: str(row["training"]["searches"].get("for a threshold", "-")),
        },
    ),
    "phases": lambda: (
        [{"name": name, "seconds": took} for name, took in read("training")["training"]["seconds"].items()],
        {"phase": lambda row: row["name"], "s": lambda row: f"{row['seconds']:.1f}"},
    ),
    "start": lambda: (
        [read("start")],
        {"beyond the start of Python, s": lambda row: spread(row["own_seconds"])},
    ),
    "kernels": lambda: (
        [one | {"name": name} for name, one in read("kernels")["cases"].items()],
        {
            "forward and backward": lambda row: row["name"],
            "ours, s": lambda row: spread(row["ours"]["seconds"], 3),
            "DGL, times ours": lambda row: spread(row["DGL"]["times_ours"], 1),
            "gathering rows, times ours": lambda row: spread(row["gathering"]["times_ours"], 1),
        },
    ),
    "allocator": lambda: (
        [
            row[job] | {"name": f"{job}, 4 x {row['name']}"}
            for job in ("step", "predictions")
            for row in runs("allocator")
        ],
        {
            "what, width": lambda row: row["name"],
            "without, s": lambda row: spread(row["plain"]["seconds"]),
            "with --keep-memory, s": lambda row: spread(row["--keep-memory"]["seconds"]),
            "times faster": lambda row: spread(row["times_faster"]),
            "peak memory without, MB": lambda row: spread(row["plain"]["peak_memory_mb"], 0),
            "with --keep-memory, MB": lambda row: spread(row["--keep-memory"]["peak_memory_mb"], 0),
        },
    ),
}


def filled(page: str) -> str:
    """``page`` with its tables as the results have them."""

    def replaced(found: re.Match[str]) -> str:
        try:
            rows, columns = TABLES[found[1]]()
        except FileNotFoundError:
            return f"<!-- {found[1]} -->\n\nNot measured yet.\n"
        cells = [list(columns), ["---"] * len(columns), *([of(row) for of in columns.values()] for row in rows)]
        lines = [f"| {' | '.join(row)} |" for row in cells]
        return "\n".join([f"<!-- {found[1]} -->", "", *lines, ""])

    return MARK.sub(replaced, page)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fills docs/performance.md.")
    parser.add_argument("--measure", nargs="*", choices=RUNS, metavar="NAME")
    given = parser.parse_args()
    if given.measure is not None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        measure(given.measure)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
