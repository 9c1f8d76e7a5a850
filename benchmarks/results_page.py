"""Put the tables of committed benchmark results into docs/results.md and docs/accuracy.md.

Run: python benchmarks/results_page.py

A line ``<!-- norman_subset condition 0 -->`` (data set, kind of split, block) stands above the table that is replaced,
by the same lines as ``grape-dgl benchmark --format md`` writes, from the folder of ``benchmarks/results`` that has it,
or the one that is named: ``<!-- paper_norman/norman_33 condition 0 -->``. Nothing is computed anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from grape_dgl.suite.benchmark import COSTS, SUMMARY, read_table
from grape_dgl.suite.markdown import markdown

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "results.md", DOCS / "accuracy.md")
TABLE = re.compile(r"<!-- (\S+) (\S+) (\d+) -->\n(?:\n(?:\|.*\n)+)?")


def table(data: str, split: str, block: int) -> str:
    """One table, from the results in which ``data`` is, or ``folder/data``."""
    place, _, data = data.rpartition("/")
    for folder in sorted(path.parent for path in RESULTS.glob(f"{place or '*'}/{SUMMARY}")):
        summary, costs = read_table(folder / SUMMARY), read_table(folder / COSTS)
        mine = summary[(summary["data"] == data) & (summary["split"] == split) & (summary["block"] == block)]
        if len(mine):
            return markdown(mine, costs[costs["data"] == data])
    raise SystemExit(f"no results of {data}, split {split}, block {block} in {RESULTS}")


def filled(page: str) -> str:
    """``page`` with its tables as the results have them."""

    def replaced(found: re.Match[str]) -> str:
        data, split, block = found.groups()
        return f"<!-- {data} {split} {block} -->\n\n{table(data, split, int(block))}"

    return TABLE.sub(replaced, page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
