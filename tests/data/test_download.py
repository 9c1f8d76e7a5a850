"""Downloads against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import io
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from server import Server, running

from grape_dgl.data import download
from grape_dgl.errors import DownloadError


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Bytes of a real .h5ad file."""
    path = tmp_path_factory.mktemp("body") / "a.h5ad"
    ad.AnnData(np.arange(6, dtype=np.float32).reshape(2, 3)).write_h5ad(path)
    return path.read_bytes()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with running() as state:
        yield state


def zipped(**members: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(name, data)
    return archive.getvalue()


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_plain_file_arrives_whole_with_its_hash_and_is_fetched_once(
    server: Server, body: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    server.will_send(body)
    target = tmp_path / "new" / "norman.h5ad"
    assert download.fetch(f"{server.url}/42", target) == target
    assert target.read_bytes() == body
    assert target.with_suffix(".sha256").read_text().strip() == hashlib.sha256(body).hexdigest()
    np.testing.assert_array_equal(ad.read_h5ad(target).X, [[0, 1, 2], [3, 4, 5]])
    out, err = capfd.readouterr()
    assert out == ""
    assert "100%" in err
    download.fetch(f"{server.url}/42", target)
    download.fetch(f"{server.url}/42", target, offline=True)
    assert server.asked == ["/42"]
    assert left_over(target.parent) == ["norman.h5ad", "norman.sha256"]


def test_zip_is_unpacked(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(zipped(**{"norman/perturb_processed.h5ad": body, "norman/readme.txt": b"hello"}))
    assert download.fetch(server.url, tmp_path / "norman.h5ad").read_bytes() == body
    assert left_over(tmp_path) == ["norman.h5ad", "norman.sha256"]


def test_zip_that_the_user_put_there_is_unpacked_offline(body: bytes, tmp_path: Path) -> None:
    (tmp_path / "norman.zip").write_bytes(zipped(**{"norman/perturb_processed.h5ad": body}))
    assert download.fetch("http://unused", tmp_path / "norman.h5ad", offline=True).read_bytes() == body


@pytest.mark.parametrize("name", ["../outside.h5ad", "/etc/outside.h5ad", "a/../../outside.h5ad", "..\\outside.h5ad"])
def test_zip_with_a_path_outside_its_folder_is_refused(server: Server, body: bytes, tmp_path: Path, name: str) -> None:
    server.will_send(zipped(**{name: body}))
    folder = tmp_path / "deep" / "cache"
    with pytest.raises(DownloadError, match="outside its folder"):
        download.fetch(server.url, folder / "norman.h5ad")
    assert left_over(folder) == []
    assert not list(tmp_path.rglob("*outside*"))


@pytest.mark.parametrize(
    ("members", "found"), [({"a.txt": b""}, "holds 0 .h5ad"), ({"a.h5ad": b"", "b.h5ad": b""}, "holds 2 .h5ad")]
)
def test_zip_must_hold_one_h5ad(server: Server, tmp_path: Path, members: dict[str, bytes], found: str) -> None:
    server.will_send(zipped(**members))
    with pytest.raises(DownloadError, match=found):
        download.fetch(server.url, tmp_path / "norman.h5ad")


def test_damaged_zip_is_refused(server: Server, body: bytes, tmp_path: Path) -> None:
    archive = bytearray(zipped(**{"a.h5ad": body}))
    archive[200:260] = bytes(60)
    server.will_send(bytes(archive))
    with pytest.raises(DownloadError, match="damaged"):
        download.fetch(server.url, tmp_path / "norman.h5ad")
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("packed", [False, True], ids=["sent", "unpacked"])
def test_what_is_too_large_is_not_kept(
    server: Server, tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is small, and what it holds is not."""
    monkeypatch.setattr(download, "LIMIT", 100_000)
    content = b"\x89HDF\r\n\x1a\n" + bytes(200_000)
    server.will_send(zipped(**{"a.h5ad": content}) if packed else content)
    with pytest.raises(DownloadError, match="larger than 100,000 bytes"):
        download.fetch(server.url, tmp_path / "a.h5ad")
    assert left_over(tmp_path) == []


def test_interrupted_transfer_is_tried_again(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(body[:100], announced=len(body))
    server.will_send(body)
    assert download.fetch(server.url, tmp_path / "norman.h5ad").read_bytes() == body
    assert len(server.asked) == 2


def test_transfer_that_is_always_interrupted_leaves_nothing(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(body[:100], announced=len(body))
    with pytest.raises(DownloadError, match="after 4 attempts.*save it as '.*norman.h5ad'"):
        download.fetch(server.url, tmp_path / "norman.h5ad")
    assert len(server.asked) == download.RETRIES + 1
    assert left_over(tmp_path) == []


def test_what_a_killed_download_left_is_removed_after_a_day(server: Server, body: bytes, tmp_path: Path) -> None:
    for name, age in (("old", 90_000), ("new", 3600)):
        folder = tmp_path / f".download-{name}"
        folder.mkdir()
        (folder / "norman").write_bytes(b"half")
        os.utime(folder, (time.time() - age, time.time() - age))
    server.will_send(body)
    download.fetch(server.url, tmp_path / "norman.h5ad")
    assert left_over(tmp_path) == [".download-new", "norman.h5ad", "norman.sha256"]


def test_server_error_then_success(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(b"busy", status=500)
    server.will_send(body)
    assert download.fetch(server.url, tmp_path / "norman.h5ad").read_bytes() == body


def test_published_checksum(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(body)
    with pytest.raises(DownloadError, match="not the expected SHA-256"):
        download.fetch(server.url, tmp_path / "norman.h5ad", sha256="0" * 64)
    assert left_over(tmp_path) == []
    right = hashlib.sha256(body).hexdigest()
    assert download.fetch(server.url, tmp_path / "norman.h5ad", sha256=right).exists()


def test_a_file_that_changed_since_its_download_is_refused(server: Server, body: bytes, tmp_path: Path) -> None:
    server.will_send(body)
    target = download.fetch(server.url, tmp_path / "norman.h5ad")
    target.write_bytes(body + b"!")
    with pytest.raises(DownloadError, match="has changed.*delete it to download it again"):
        download.fetch(server.url, target)
    target.unlink()
    assert download.fetch(server.url, target).read_bytes() == body


def test_an_error_page_is_no_data_set(server: Server, tmp_path: Path) -> None:
    server.will_send(b"<html>please log in</html>")
    with pytest.raises(DownloadError, match="neither an .h5ad file nor a zip archive"):
        download.fetch(server.url, tmp_path / "norman.h5ad")
    assert left_over(tmp_path) == []


def test_offline_says_which_file_to_put_where(server: Server, tmp_path: Path) -> None:
    server.will_send(b"")
    with pytest.raises(DownloadError) as error:
        download.fetch(f"{server.url}/42", tmp_path / "norman.h5ad", offline=True)
    for part in ("--offline", f"{server.url}/42", str(tmp_path / "norman.h5ad"), str(tmp_path / "norman.zip")):
        assert part in str(error.value)
    assert server.asked == []


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with running() as state:
        closed = state.url
    with pytest.raises(DownloadError, match="save it as '.*norman.h5ad'"):
        download.fetch(closed, tmp_path / "norman.h5ad")


def test_a_file_cut_short_is_not_kept(server: Server, tmp_path: Path) -> None:
    """It begins like an .h5ad file; nothing stays, and the next try fetches the whole file."""
    path = tmp_path / "big.h5ad"
    ad.AnnData(np.random.default_rng(0).random((200, 50)).astype(np.float32)).write_h5ad(path)
    body = path.read_bytes()
    folder = tmp_path / "cache"
    server.will_send(body[: len(body) // 2])
    with pytest.raises(DownloadError, match="damaged or incomplete"):
        download.fetch(server.url, folder / "a.h5ad")
    assert left_over(folder) == []
    server.will_send(body)
    found = download.fetch(server.url, folder / "a.h5ad")
    assert found.read_bytes() == body and found.stat().st_mode & 0o044 == 0o044
