"""How every artefact is written: beside its place, then renamed; and how a folder of artefacts is replaced."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_beside(path: Path, write: Callable[[Path], object]) -> None:
    """``write`` to a name beside ``path`` (same ending), then rename: a reader sees the old or the new file.

    The folder is made where it is missing. The name is the process's own, so two processes that write one cache do not
    disturb each other.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        write(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


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
def replacing(folder: Path, patterns: Sequence[str], complete: Path) -> Iterator[None]:
    """``folder`` without what matches ``patterns`` (glob), to be written anew in the block; other files are left alone.

    Where the block fails before the file ``complete`` is there, what it wrote is removed and what was there is back.
    """

    def artefacts() -> list[Path]:
        return sorted(path for pattern in patterns for path in folder.glob(pattern))

    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-before-"))
    try:
        for path in artefacts():
            path.rename(aside / path.name)
        yield
    except BaseException:
        if not complete.exists():
            for path in artefacts():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            for path in aside.iterdir():
                path.rename(folder / path.name)
            if made:
                folder.rmdir()
        raise
    finally:
        shutil.rmtree(aside)
