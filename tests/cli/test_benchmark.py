"""``grape-dgl benchmark`` on a small screen: table, report in a real browser, and one line for bad input."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from suite.small_suite import SUITE, write_suite

from grape_dgl.cli import main
from grape_dgl.suite.report import write_reports

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
GENE = r"G$\x$<script>/../{:02d}"
NULL = """
[[data]]
name = "nothing"
path = "small.h5ad"
null_conditions = 6
null_cells = 8
"""
GRAPE = """
[[model]]
name = "GRAPE"
settings = ["training.epochs=1", "alignment.epochs=1", "model.hidden=8", "model.width=4", "structure.sparsity=degree:4"]
seeds = 1
data = ["small"]

[[model]]
name = "GRAPE only_text"
kind = "GRAPE"
settings = ["training.epochs=1", "alignment.epochs=1", "model.hidden=8", "model.width=4", "model.ablation=only_text"]
seeds = 1
data = ["small"]
"""


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a suite whose name and genes are hostile: names are text, never markup, mathematics or a path."""
    folder = tmp_path_factory.mktemp("benchmark")
    suite = write_suite(folder, 'name = "<script>alert(1)</script>"\n' + SUITE + NULL + GRAPE, GENE)
    formats = [word for kind in ("png", "csv", "md") for word in ("--format", kind)]
    assert main(["benchmark", str(suite), "-o", str(folder / "out"), *formats, "-q"]) == 1  # some jobs failed
    return folder / "out"


def test_what_is_written(out: Path) -> None:
    summary = pd.read_csv(out / "summary.csv")
    assert set(summary["model"]) == {"control", "mean", "identity", "GRAPE", "GRAPE only_text"}
    card = json.loads((out / "card.json").read_text())
    assert len(card["failed"]) == 4 and card["suite"]["seeds"] == 2 and card["versions"]["torch"]
    (name,) = card["files"]
    assert name == card["suite"]["data"][0]["path"] == f"{out.parent.name}/small.h5ad"
    assert card["files"][name] == hashlib.sha256((out.parent / "small.h5ad").read_bytes()).hexdigest()
    figures = {path.name for path in (out / "figures").iterdir()}
    assert "small-condition-scores-by-condition.png" in figures and "small-condition-table1.csv" in figures
    table = pd.read_csv(out / "figures" / "small-condition-table1.csv").set_index("model")
    summary = summary[summary["data"] == "small"]
    wanted = summary[(summary["model"] == "mean") & (summary["metric"] == "rmse")].iloc[0]
    assert set(table.index) == {"control", "mean", "identity"}  # GRAPE has one split only: in the other block
    assert table.loc["mean", "rmse"] == pytest.approx(wanted["mean"])
    lines = (out / "figures" / "small-condition-block1.md").read_text().splitlines()
    assert len({line.count("|") for line in lines}) == 1 and len(lines) == 2 + summary["model"].nunique()
    delta = summary[(summary["model"] == "identity") & (summary["metric"] == "pcc_delta")].iloc[1]
    (line,) = [line for line in lines if line.startswith("| identity |")]
    assert line.split(" | ")[1].startswith(f"{delta['mean']:.3f} [{delta['low']:.3f}, {delta['high']:.3f}]")
    assert f"{delta['minus_mean']:+.3f} [" in line


def test_the_report_is_one_file_and_names_are_no_markup(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert page.count("Nothing was done here") == 1
    for wanted in (
        "no gene of data set",
        "GRAPE and its ablations",
        "learned representation",
        "calibration",
        "Systema",
    ):
        assert wanted in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_it_without_a_complaint(out: Path, tmp_path: Path) -> None:
    """No console message, and every picture is one."""
    assert CHROMIUM is not None
    counting = "<script>console.log('pictures', [...document.images].filter(i => i.naturalWidth > 99).length)</script>"
    page = (out / "report.html").read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(page.replace("</html>", f"{counting}</html>"), encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
               f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'page.png'}"]  # fmt: skip
    done = subprocess.run(
        [*command, (tmp_path / "page.html").as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(said) == 1 and f"pictures {page.count('<img')}" in said[0], said
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_smoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The suite that anybody can run, one seed of it: every model is there and none failed."""
    suite = Path(__file__).parents[2] / "benchmarks" / "suites" / "smoke.toml"
    assert main(["benchmark", str(suite), "-o", str(tmp_path), "--seeds", "1", "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)
    wanted = ["ceiling", "ceiling_bootstrap", "control", "mean", "additive", "linear", "neighbours", "identity"]
    wanted += ["kernel_ridge", "GRAPE"]
    assert list(dict.fromkeys(row["model"] for row in rows)) == wanted
    rmse = {row["model"]: row["mean"] for row in rows if row["metric"] == "rmse"}
    assert max(rmse, key=rmse.__getitem__) == "control"  # the simulated effects are large
    assert json.loads((tmp_path / "card.json").read_text())["failed"] == []


def test_a_report_is_made_again_from_what_is_kept(out: Path) -> None:
    before = (out / "report.html").read_text(encoding="utf-8")
    write_reports(out)
    assert (out / "report.html").read_text(encoding="utf-8").count("<img") == before.count("<img")


def test_where_every_job_fails_the_command_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The data set is none; the card says so of every job."""
    suite = write_suite(tmp_path)
    (tmp_path / "small.h5ad").write_bytes(b"no cells")
    assert main(["benchmark", str(suite), "-o", str(tmp_path / "out"), "--model", "mean", "-q"]) == 1
    said = capsys.readouterr()
    assert "error: every job failed, the first of them: " in said.err and "Traceback" not in said.err and not said.out
    failed = json.loads((tmp_path / "out" / "card.json").read_text())["failed"]
    assert len(failed) == 2 and all("small.h5ad" in row["reason"] for row in failed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["none.toml"], "cannot read the suite"), (["suite.toml", "--model", "men"], "did you mean 'mean'")],
)
def test_bad_input_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    write_suite(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["benchmark", *arguments, "-o", "out"]) == 1
    said = capsys.readouterr()
    assert message in said.err and not said.out and not (tmp_path / "out").exists()
