"""Fetching one .h5ad file: retried, checked, and put in place in one step, so that a file in the cache is a whole file.

The server may send the .h5ad itself or a zip archive that holds it. The SHA-256 of the .h5ad is written beside it and
checked at every later use.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

import h5py
import pooch

from grape_dgl.errors import DownloadError
from grape_dgl.writing import open_to_others, write_text

log = logging.getLogger("grape_dgl")

RETRIES = 3
TIMEOUT = 60
"""Seconds without a byte before an attempt is given up."""
LIMIT = 2**36
"""Bytes that a server may send, and that an archive may hold, of one file."""
_HDF5 = b"\x89HDF\r\n\x1a\n"


def cached(target: Path, url: str) -> bool:
    """Whether ``target`` is there, unpacked from ``NAME.zip`` beside it where only that is; DownloadError where it has
    changed since its SHA-256 was recorded."""
    archive = target.with_suffix(".zip")
    if not target.exists() and archive.exists():
        _install(archive, target, url)
    if not target.exists():
        return False
    record = target.with_suffix(".sha256")
    found = pooch.file_hash(str(target))
    if not record.exists():
        _record(record, found)
    expected = record.read_text(encoding="ascii", errors="replace").strip()
    if found != expected:
        raise DownloadError(
            f"'{target}' has changed: its SHA-256 is {found}, recorded was {expected}; "
            f"delete it to download it again, or delete '{record.name}' to accept it"
        )
    return True


def fetch(url: str, target: Path, *, sha256: str | None = None, offline: bool = False) -> Path:
    """``target``, downloaded from ``url`` where it is not there yet; progress is shown on stderr.

    ``sha256`` is that of the file the server sends. Raises DownloadError, which says which file to put where.
    """
    if cached(target, url):
        return target
    by_hand = f"get {url} by other means and save it as '{target}' (or '{target.with_suffix('.zip')}' if it is a zip)"
    if offline:
        raise DownloadError(f"'{target}' is not there and --offline forbids the download; {by_hand}")
    import requests

    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        source = pooch.Pooch(
            folder, base_url="", registry={target.stem: sha256}, urls={target.stem: url}, retry_if_failed=RETRIES
        )
        try:
            received = Path(source.fetch(target.stem, downloader=_transfer))
        except requests.RequestException as error:
            raise DownloadError(
                f"download failed after {RETRIES + 1} attempts: {error}; try again, or {by_hand}"
            ) from error
        except ValueError as error:  # pooch: the checksum differs
            raise DownloadError(
                f"what {url} sends has not the expected SHA-256 {sha256}: it was damaged on the way or replaced; "
                f"try again later"
            ) from error
        _install(received, target, url)
    log.info("saved %s (SHA-256 %s)", target, target.with_suffix(".sha256").read_text(encoding="ascii").strip())
    return target


class _Limited(io.FileIO):
    """A file that takes no more than ``LIMIT`` bytes."""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > LIMIT:
            raise DownloadError(
                f"what comes for '{Path(str(self.name)).name}' is larger than {LIMIT:,} bytes and not used; look at "
                "what the address or the archive holds"
            )
        return super().write(data)


def _transfer(url: str, output_file: str, source: pooch.Pooch) -> None:
    """As pooch downloads, up to ``LIMIT``."""
    with _Limited(output_file, "w") as file:
        pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 20, timeout=TIMEOUT)(url, file, source)


def _install(received: Path, target: Path, url: str) -> None:
    """Put the .h5ad that ``received`` is or holds at ``target`` in one step, its SHA-256 beside it."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpack-") as folder:
        whole = received
        if zipfile.is_zipfile(received):
            whole = Path(folder) / "whole.h5ad"
            _unpack(received, whole)
        with whole.open("rb") as file:
            start = file.read(len(_HDF5))
        if start != _HDF5:
            raise DownloadError(
                f"'{received.name}' from {url} is neither an .h5ad file nor a zip archive of one (it begins with "
                f"{start!r}); open the address in a browser to see what the server says"
            )
        try:
            with h5py.File(whole):
                pass
        except OSError as error:
            raise DownloadError(
                f"'{received.name}' from {url} is a damaged or incomplete .h5ad file ({error}); try again"
            ) from error
        open_to_others(whole)
        digest = pooch.file_hash(str(whole))
        record = target.with_suffix(".sha256")
        record.unlink(missing_ok=True)
        os.replace(whole, target)
        _record(record, digest)


def _unpack(archive: Path, target: Path) -> None:
    """Write the only .h5ad member of a zip archive to ``target``; no name inside the archive is used as a path."""
    try:
        with zipfile.ZipFile(archive) as content:
            names = content.namelist()
            unsafe = [name for name in names if _leaves_folder(name)]
            if unsafe:
                raise DownloadError(
                    f"zip archive '{archive.name}' holds the path '{unsafe[0]}' outside its folder; not used"
                )
            wanted = [name for name in names if name.endswith(".h5ad") and not name.startswith("__MACOSX/")]
            if len(wanted) != 1:
                raise DownloadError(
                    f"zip archive '{archive.name}' holds {len(wanted)} .h5ad files "
                    f"({', '.join(wanted or names)[:200]}); expected one"
                )
            with content.open(wanted[0]) as member, _Limited(target, "w") as file:
                shutil.copyfileobj(member, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DownloadError(f"zip archive '{archive.name}' is damaged ({error}); delete it and try again") from error


def _leaves_folder(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1])


def _sweep(folder: Path) -> None:
    """Remove what downloads left that were killed a day ago or more."""
    for path in (*folder.glob(".download-*"), *folder.glob(".unpack-*")):
        if path.stat().st_mtime < time.time() - 86_400:
            shutil.rmtree(path, ignore_errors=True)


def _record(path: Path, digest: str) -> None:
    write_text(path, digest + "\n")
