"""What the documentation says of benchmarks on real cells is what the committed results say."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from grape_dgl.suite.benchmark import read_table
from grape_dgl.suite.summary import summarise

TOP = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (TOP / "benchmarks" / "results").glob("*/card.json"))


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(TOP / "benchmarks" / "results_page.py"))


def test_the_tables_of_the_page_are_those_of_the_results(script: dict[str, Any]) -> None:
    pages = [path.read_text(encoding="utf-8") for path in script["PAGES"]]
    found = [found for page in pages for found in script["TABLE"].findall(page)]
    assert len(found) == len(set(found))
    named = {(data, split, block) for data, split, block, _ in found}
    there: dict[tuple[str, str, str], Path] = {}
    for folder in FOLDERS:
        for row in read_table(folder / "summary.csv").itertuples():
            key = (row.data, row.split, str(row.block))
            if there.setdefault(key, folder) != folder:
                there[(f"{folder.name}/{row.data}", *key[1:])] = folder
    assert named == there.keys()  # no block is left out
    assert [script["filled"](page) for page in pages] == pages


def test_the_tables_of_the_performance_page_are_those_of_its_measurements() -> None:
    script = runpy.run_path(str(TOP / "benchmarks" / "speed" / "page.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- ([a-z]+) -->", page)) == set(script["TABLES"])
    assert script["filled"](page) == page


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_summary_is_that_of_the_long_table(folder: Path) -> None:
    """Of two scores; and no job is missing or failed."""
    table = pd.read_parquet(folder / "results.parquet")
    summary = read_table(folder / "summary.csv")
    names = ["pcc_delta", "rmse"]
    found = summarise(table[table["metric"].isin(names)])
    wanted = summary[summary["metric"].isin(names)].reset_index(drop=True)
    keys = ["data", "split", "block", "metric", "model"]
    found, wanted = (one.astype({"best_simple": str}).sort_values(keys, ignore_index=True) for one in (found, wanted))
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-6)
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["failed"] == [] and (table["metric"] != "").all()
    suite = card["suite"]
    jobs = table.drop_duplicates(["data", "split", "seed", "model"]).groupby(["data", "split", "model"], observed=True)
    seeds = {model["name"]: model["seeds"] or suite["seeds"] for model in suite["models"] if model["kind"] != "ceiling"}
    counts = jobs.size()
    for data in suite["data"]:
        for split in suite["splits"]:
            for model, number in seeds.items():
                assert counts[data["name"], split, model] == number, (data["name"], split, model)
