"""What does the package need for a screen of a million cells, for two thousand conditions, and for very many epochs?

Run: python tests/reliability/load.py [read] [train] [conditions] [epochs] [--cells 1000000] [--genes 5000] [--out F]

Contract: each part runs in a process of its own, whose memory is looked at every 20 ms: the largest resident size, and
the largest part of it that is not a mapped file, which the system can take back (``anonymous``). JSON on stdout.

* ``read``: a simulated file of counts (CSR, ``--cells`` x ``--genes``, 100 conditions, a tenth of the cells controls,
  5 % of the values above 0) is read with ``on_disk``; then mean, variance and differentially expressed genes of each
  condition against the controls (Welch's t).
* ``train``: one epoch of ``grape-dgl train --on-disk`` on that file, 10,000 cells per step, predictions and scores
  included.
* ``conditions``: ``grape-dgl train`` on a demo of 2,000 conditions, one epoch, and their predictions.
* ``epochs``: 300 epochs of a small demo in one process; slope of the resident size over the last 200, kB per epoch.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

BLOCK = 20_000
CONDITIONS, CONTROLS, DENSITY = 100, 0.1, 0.05
MANY = "demo:genes=3200,conditions=2000,cells=40000"
SMALL = "demo:genes=80,conditions=14,cells=900"

READ = """
import sys
import numpy as np
from grape_dgl import read_screen
from grape_dgl.evaluation.de import moments, ranked, t_scores
screen = read_screen(sys.argv[1], on_disk=True)
control = moments(screen.expression[screen.control_cells])
for name in screen.conditions:
    group = moments(screen.expression[screen.cells(name)])
    assert np.isfinite(group.mean).all() and np.isfinite(group.std).all()
    ranked(t_scores(group, control))
"""


def simulate(path: Path, cells: int, genes: int, seed: int = 0) -> None:
    """Written block by block, as anndata stores a CSR matrix."""
    draw = np.random.default_rng(seed)
    labels = np.array(["control", *(f"G{number}" for number in range(CONDITIONS))])
    share = np.r_[CONTROLS, np.full(CONDITIONS, (1 - CONTROLS) / CONDITIONS)]
    condition = draw.choice(len(labels), cells, p=share)
    each = round(DENSITY * genes)
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        names = pd.Index([f"cell{number}" for number in range(cells)])
        write_elem(file, "obs", pd.DataFrame({"condition": pd.Categorical(labels[condition])}, index=names))
        write_elem(file, "var", pd.DataFrame(index=[f"G{number}" for number in range(genes)]))
        x = file.create_group("X")
        x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (cells, genes)})
        x["indptr"] = np.arange(cells + 1, dtype=np.int64) * each
        data = x.create_dataset("data", (cells * each,), np.float32, chunks=(2**18,))
        indices = x.create_dataset("indices", (cells * each,), np.int32, chunks=(2**18,))
        step = genes // each
        for start in range(0, cells, BLOCK):
            rows = min(BLOCK, cells - start)
            place = slice(start * each, (start + rows) * each)
            # one gene of each stretch of so many, so that they ascend
            columns = np.arange(each) * step + draw.integers(0, step, (rows, each))
            indices[place] = columns.ravel()
            data[place] = draw.geometric(0.4, rows * each)


def status(process: int) -> dict[str, float]:
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return {name: int(value) / 1024 for name, value in re.findall(r"(VmRSS|RssAnon):\s+(\d+) kB", text)}


def watched(command: list[str], look: Callable[[float], None] = lambda resident: None) -> dict[str, float]:
    """Seconds, and largest sizes in MB, of a process and nothing that it starts."""
    started = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    most = {"VmRSS": 0.0, "RssAnon": 0.0}
    while process.poll() is None:
        try:
            now = status(process.pid)
        except (FileNotFoundError, ProcessLookupError):
            break
        most = {name: max(value, now.get(name, 0.0)) for name, value in most.items()}
        look(now.get("VmRSS", 0.0))
        time.sleep(0.02)
    if process.wait():
        raise SystemExit(f"failed: {' '.join(command)}")
    return {
        "seconds": round(time.monotonic() - started, 1),
        "resident_mb": round(most["VmRSS"]),
        "anonymous_mb": round(most["RssAnon"]),
    }


def epochs(folder: Path, number: int = 300, warm: int = 100) -> dict[str, float]:
    """The resident size is looked at whenever the log has grown."""
    out, seen = folder / "run", dict[int, float]()

    def look(resident: float) -> None:
        log = out / "log.csv"
        if log.is_file():
            seen[log.read_bytes().count(b"\n") - 1] = resident

    settings = ["--epochs", str(number), "--set", "training.patience=0", "--set", "alignment.epochs=1"]
    found = watched(["-m", "grape_dgl", "train", SMALL, *settings, "--out", str(out)], look)
    epoch = np.array([one for one in seen if one > warm])
    slope = np.polyfit(epoch, [seen[one] for one in epoch], 1)[0] * 1024
    return found | {"epochs": max(seen), "kb_per_epoch": round(float(slope), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Loads the package.")
    parts = ("read", "train", "conditions", "epochs")
    parser.add_argument("parts", nargs="*", default=parts, choices=parts)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--genes", type=int, default=5000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        screen = folder / "screen.h5ad"
        if {"read", "train"} & set(given.parts):
            simulate(screen, given.cells, given.genes)
        if "read" in given.parts:
            found["read"] = watched(["-c", READ, str(screen)])
        train = ["-m", "grape_dgl", "train", "--epochs", "1", "--set", "alignment.epochs=1"]
        if "train" in given.parts:
            steps = ["--set", "training.cells_per_step=10000"]
            found["train"] = watched([*train, str(screen), "--on-disk", *steps, "--out", str(folder / "big")])
        if "conditions" in given.parts:
            found["conditions"] = watched([*train, MANY, "--min-cells", "2", "--out", str(folder / "many")])
        if "epochs" in given.parts:
            found["epochs"] = epochs(folder)
    text = json.dumps({"cells": given.cells, "genes": given.genes, **found}, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
