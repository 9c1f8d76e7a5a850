"""``grape-dgl datasets`` through the command line's own entry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from grape_dgl.cli import main
from grape_dgl.data.catalog import CATALOG

SMALL = "demo:genes=40,conditions=6,cells=100"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path))
    monkeypatch.delenv("GRAPE_DGL_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def adamson(cache: Path) -> Path:
    """A file that stands where the download would."""
    path = cache / "adamson.h5ad"
    ad.AnnData(np.ones((2, 3), dtype=np.float32)).write_h5ad(path)
    return path


def test_list(capsys: pytest.CaptureFixture[str], adamson: Path) -> None:
    assert main(["datasets", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(CATALOG)
    assert [line.split()[0] for line in lines if line.split()[1] == "cached"] == ["adamson"]
    assert main(["datasets", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"]: row["cached"] for row in rows} == dict.fromkeys(CATALOG, False) | {
        "demo": None,
        "adamson": True,
    }


def test_show(capsys: pytest.CaptureFixture[str], adamson: Path) -> None:
    assert main(["datasets", "show", "adamson", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["url"].endswith("/6154417")
    assert facts["path"] == str(adamson)
    assert facts["bytes"] == adamson.stat().st_size
    assert "GSE90546" in facts["citation"]
    assert main(["datasets", "show", "norman"]) == 0
    out = capsys.readouterr().out
    for part in ("datafile/6154020", "GSE133344", "licence", "cached          no"):
        assert part in out


def test_show_in_another_cache(capsys: pytest.CaptureFixture[str], adamson: Path, tmp_path: Path) -> None:
    assert main(["datasets", "show", "adamson", "--cache", str(tmp_path / "other"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cached"] is False


def test_fetch_demo_prints_the_path_alone(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    assert main(["datasets", "fetch", SMALL, "--offline"]) == 0
    path = Path(capsys.readouterr().out.removesuffix("\n"))
    assert ad.read_h5ad(path).shape == (100, 40)
    assert main(["datasets", "fetch", SMALL, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(path)
    assert all(Path(file).is_file() for file in (*facts["annotation"], *facts["sequences"]))


def test_fetch_says_what_is_wrong_with_the_labels(capsys: pytest.CaptureFixture[str], adamson: Path) -> None:
    assert main(["datasets", "fetch", "adamson", "--offline"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{adamson}\n"
    assert "21.7 %" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "norman", "--offline"], "norman.h5ad"),
        (["fetch", "normn"], "did you mean 'norman'"),
        (["show", "normn"], "did you mean 'norman'"),
        (["fetch", "demo:gens=3"], "did you mean 'genes'"),
    ],
)
def test_one_line_and_exit_code_1(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_listing_loads_no_heavy_package() -> None:
    code = (
        "import sys; from grape_dgl.cli import main; main(['datasets', 'list']); "
        "sys.exit(sorted({'torch', 'dgl', 'scanpy', 'anndata', 'pandas'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
