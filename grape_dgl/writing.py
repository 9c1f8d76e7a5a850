"""How every artefact is written: beside its place, then renamed; and how a folder of artefacts is replaced."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from grape_dgl.errors import DataError


def write_beside(path: Path, write: Callable[[Path], object], durable: bool = False) -> None:
    """``write`` to a name beside ``path`` (same ending), then rename: a reader sees the old or the new file.

    The folder is made where it is missing. The name is the process's own, so two processes that write one cache do not
    disturb each other. ``durable``: also after the machine has lost its power (fsync).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        write(beside)
        open_to_others(beside)  # which safetensors does not
        if durable:
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def open_to_others(path: Path) -> None:
    """As far as the process's mask of permissions says: temporary files are closed to them, results are not."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) as :func:`write_beside` does."""
    write_beside(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON document as :func:`write_beside` does; numbers of numpy are numbers, anything unknown is text.

    ValueError where a number is not finite.
    """

    def plain(other: Any) -> Any:
        return other.item() if hasattr(other, "item") else str(other)

    write_text(path, json.dumps(value, indent=1, allow_nan=False, default=plain) + "\n")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Nobody else may write ``folder`` in the block; DataError where somebody does. A crash ends it as well."""
    path = folder.with_name(f".{folder.name}.lock")
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise DataError(f"another process is writing '{folder}'; wait for it, or choose another folder") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            path.unlink()
        lock.release()


@contextmanager
def replacing(
    folder: Path, patterns: Sequence[str], complete: Path, begun: Path, go_on: bool = False
) -> Iterator[None]:
    """``folder`` without what matches ``patterns`` (glob), to be written anew in the block; other files are left alone.

    Where the block fails before one of two files is there, what it wrote is removed and what was there is back. With
    ``complete``, what it wrote counts. With ``begun`` alone it can be gone on with, by a block with ``go_on``: it
    stays, and what was there is kept beside the folder until a block succeeds. A killed process leaves the same.
    """

    def artefacts() -> list[Path]:
        return sorted(path for pattern in patterns for path in folder.glob(pattern))

    def remove() -> None:
        for path in artefacts():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def move_back() -> None:
        folder.mkdir(exist_ok=True)
        for path in moving.iterdir():
            path.rename(folder / path.name)
        moving.rmdir()

    aside, moving = (folder.with_name(f".{folder.name}-{part}") for part in ("before", "moving"))
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if moving.exists():  # killed while it moved
        move_back()
    for path in folder.glob("**/.part-*"):  # killed while it wrote
        path.unlink()
    if not go_on and aside.exists():
        remove()
    elif not go_on:
        moving.mkdir()
        for path in artefacts():
            path.rename(moving / path.name)
        moving.rename(aside)
    try:
        yield
    except BaseException:
        if complete.exists():
            shutil.rmtree(aside, ignore_errors=True)
        elif not begun.exists():
            remove()
            aside.rename(moving)
            move_back()
            if made:
                folder.rmdir()  # which is empty
        elif aside.exists() and not any(aside.iterdir()):
            aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)
