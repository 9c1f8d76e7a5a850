"""Data sets by name and by path."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from server import running

from grape_dgl.data import catalog
from grape_dgl.errors import DataError, DownloadError

SMALL = "demo:genes=40,conditions=6,cells=100"


def test_every_published_screen_has_the_file_id_that_gears_downloads() -> None:
    assert {name: entry.file for name, entry in catalog.CATALOG.items()} == {
        "demo": "",
        "norman": "6154020",
        "adamson": "6154417",
        "dixit": "6154416",
        "replogle_k562_essential": "7458695",
        "replogle_rpe1_essential": "7458694",
    }
    assert catalog.CATALOG["norman"].url == "https://dataverse.harvard.edu/api/access/datafile/6154020"


def test_published_screen_comes_from_the_mirror_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ad.AnnData(np.ones((2, 3), dtype=np.float32)).write_h5ad(tmp_path / "a.h5ad")
    with running() as server:
        server.will_send((tmp_path / "a.h5ad").read_bytes())
        monkeypatch.setenv("GRAPE_DGL_MIRROR", f"{server.url}/files/")
        monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "cache"))
        source = catalog.resolve("adamson")
        assert catalog.resolve("adamson", offline=True) == source
        assert server.asked == ["/files/6154417"]
    assert source.path == tmp_path / "cache" / "adamson.h5ad"
    assert "21.7 %" in source.labels_warning
    assert "--obs" in source.labels_warning


def test_offline_without_the_file(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="offline"):
        catalog.resolve("norman", cache=tmp_path, offline=True)


def test_demo_brings_its_annotation_and_needs_no_network(tmp_path: Path) -> None:
    source = catalog.resolve(SMALL, cache=tmp_path, offline=True)
    assert source.network is not None
    for path in (source.path, *source.annotation, *source.sequences, source.network):
        assert path.is_file()
        assert tmp_path in path.parents
    assert source.labels_warning == ""


def test_any_path_is_a_data_set_and_a_path_object_is_never_a_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.h5ad"
    path.touch()
    assert catalog.resolve(str(path)).path == path
    assert catalog.resolve(path).path == path
    with pytest.raises(DataError, match="is a folder"):
        catalog.resolve(tmp_path)
    with pytest.raises(DataError, match="neither a file nor a data set"):
        catalog.resolve(Path("norman"))


def test_unknown_name_suggests_the_closest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'adamson'.*data sets: demo, adamson, norman"):
        catalog.resolve("adamsn")
    with pytest.raises(DataError, match="did you mean 'norman'"):
        catalog.dataset("normann")


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path))
    assert catalog.default_cache() == tmp_path
    monkeypatch.setenv("GRAPE_DGL_DATA", "")
    assert "grape_dgl" in catalog.default_cache().parts
