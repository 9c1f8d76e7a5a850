"""Put the tables of committed benchmark results into docs/results.md, docs/accuracy.md and docs/systems.md.

Run: python benchmarks/results_page.py

A line ``<!-- norman_subset condition 0 -->`` (data set, kind of split, block) stands above the table that is replaced,
by the same lines as ``grape-dgl benchmark --format md`` writes, from the folder of ``benchmarks/results`` that has it,
or the one that is named: ``<!-- paper_norman/norman_33 condition 0 -->``. With ``table1`` behind the block it is the
metrics of the paper's Table 1 in the paper's form, and distances of cells. Nothing is computed anew.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from grape_dgl.suite.benchmark import COSTS, SUMMARY, read_table
from grape_dgl.suite.markdown import markdown

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "results.md", DOCS / "accuracy.md", DOCS / "systems.md")
TABLE = re.compile(r"<!-- (\S+) (\S+) (\d+)( table1)? -->\n(?:\n(?:\|.*\n)+)?")
TABLE1 = {
    "rmse": "RMSE", "dac_shared_control": "DAC", "dac_de20_shared_control": "DAC DE20",
    "dac_de40_shared_control": "DAC DE40", "pcc_delta_shared_control": "PCC delta",
    "pcc_delta_de20_shared_control": "PCC delta DE20", "pcc_delta_de40_shared_control": "PCC delta DE40",
    "e_distance": "energy distance", "mmd": "MMD",
}  # fmt: skip
"""Score -> title."""


def table(data: str, split: str, block: int, table1: bool = False) -> str:
    """One table, from the results in which ``data`` is, or ``folder/data``."""
    place, _, data = data.rpartition("/")
    for folder in sorted(path.parent for path in RESULTS.glob(f"{place or '*'}/{SUMMARY}")):
        summary, costs = read_table(folder / SUMMARY), read_table(folder / COSTS)
        mine = summary[(summary["data"] == data) & (summary["split"] == split) & (summary["block"] == block)]
        if len(mine) and table1:
            return paper_form(mine)
        if len(mine):
            return markdown(mine, costs[costs["data"] == data])
    raise SystemExit(f"no results of {data}, split {split}, block {block} in {RESULTS}")


def paper_form(summary: pd.DataFrame) -> str:
    """Means over conditions of ``TABLE1``, a line per model."""
    means = summary.pivot(index="model", columns="metric", values="mean").reindex(summary["model"].unique())
    lines = [["model", *TABLE1.values()], ["---"] * (1 + len(TABLE1))]
    for model, row in means.reindex(columns=list(TABLE1)).iterrows():
        forms = (".4f" if name == "rmse" else ".3f" for name in TABLE1)
        values = ("-" if pd.isna(value) else f"{value:{form}}" for value, form in zip(row, forms, strict=True))
        lines.append([str(model), *values])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def filled(page: str) -> str:
    """``page`` with its tables as the results have them."""

    def replaced(found: re.Match[str]) -> str:
        data, split, block, form = found.groups()
        return f"<!-- {data} {split} {block}{form or ''} -->\n\n{table(data, split, int(block), bool(form))}"

    return TABLE.sub(replaced, page)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
