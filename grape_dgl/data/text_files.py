"""Text files, plain or gzip, and what is wrong with one in one line."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from grape_dgl.data.progress import bar
from grape_dgl.errors import DataError

GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


class _Counted(io.FileIO):
    """A file that moves a progress bar as it is read."""

    def __init__(self, path: Path, shown: tqdm[Any]) -> None:
        super().__init__(path)
        self._shown = shown

    def readinto(self, buffer: Any, /) -> int | None:
        count = super().readinto(buffer)
        self._shown.update(count or 0)
        return count


def separator(line: str) -> str:
    """What divides the cells of a table, by one of its lines."""
    return next((sign for sign in "\t,;" if sign in line), " ")


def as_text(file: BinaryIO) -> io.TextIOWrapper:
    """UTF-8 whose lines end as Python's do: at a lone carriage return in a row, pandas (2.3) can read for ever."""
    return io.TextIOWrapper(file, encoding="utf-8-sig")


@contextmanager
def reading(path: Path, what: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where it is gzip, with a progress bar where that takes more than a second.

    A file that cannot be read or unpacked, or what is a ValueError in the block, is a DataError: ``cannot read the edge
    table 'x'``, where ``what`` is ``the edge table``.
    """
    try:
        size = path.stat().st_size
        with (
            bar(f"reading {path.name}", size, unit="B", unit_scale=True, delay=1) as shown,
            io.BufferedReader(_Counted(path, shown), _CHUNK) as raw,
        ):
            packed = raw.peek(2)[:2] == GZIP
            yield io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK) if packed else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{what} '{path}' is a damaged gzip file: {error}; fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read {what} '{path}': {error.strerror or error}; expected a file") from error
    except ValueError as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(
            f"cannot read {what} '{path}': {said}; expected a whole file of text (UTF-8), gzip or plain"
        ) from error
