"""Large text tables through pandas: compression, separator and header are found out, errors are one line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from grape_dgl.errors import DataError

CHUNK = 1_000_000
"""Rows in memory at once."""


@dataclass(frozen=True)
class TextTable:
    """A TSV, CSV or space-separated table, gzip or plain, that has not been read yet."""

    path: Path
    what: str
    """What the file is called in messages: ``the edge table``."""
    first: str
    """The first line of the file, comment or not."""
    header: tuple[str, ...]
    """Cells of the first line that is no ``!`` comment, without ``#`` before them."""
    options: dict[str, Any]
    """What pandas.read_csv needs to know: compression, separator, comment lines."""

    @classmethod
    def peek(cls, path: Path, what: str) -> TextTable:
        """Look at the first lines of a file. Raises DataError where there is none or it is no text."""
        lines: list[str] = []
        try:
            with path.open("rb") as raw:
                packed = raw.read(2) == b"\x1f\x8b"
            opened = gzip.open if packed else open
            with opened(path, "rt", encoding="utf-8-sig") as text:
                for line in text:
                    lines.append(line.rstrip("\r\n"))
                    if line.strip() and not line.startswith("!"):
                        break
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise _damaged(path, what, error) from error
        if not lines or not lines[-1].strip() or lines[-1].startswith("!"):
            raise DataError(f"{what} '{path}' is empty; expected a table with a header, gzip or plain")
        header = lines[-1].removeprefix("#")
        separator = next((sign for sign in "\t,;" if sign in header), " ")
        quotes = separator in ",;" or '"' in header  # who quotes cells of a TSV, quotes its header too
        cells = next(csv.reader([header], delimiter=separator))
        options = {
            "sep": separator, "compression": "gzip" if packed else None, "encoding": "utf-8-sig",
            "skiprows": len(lines), "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            "keep_default_na": False, "low_memory": False,
        }  # fmt: skip
        return cls(path, what, lines[0], tuple(cell.strip() for cell in cells), options)

    def find(self, names: tuple[str, ...]) -> int | None:
        """Position of the column with the first of ``names`` that is there; case and ``_``/``-``/space do not count."""
        plain = [_plain(cell) for cell in self.header]
        return next((plain.index(_plain(name)) for name in names if _plain(name) in plain), None)

    def lacks(self, expected: str) -> DataError:
        """The error of a table without the columns that are ``expected``."""
        there = ", ".join(self.header[:12]) + (", ..." if len(self.header) > 12 else "")
        return DataError(f"{self.what} '{self.path}' has the columns {there}; expected {expected}")

    def read(self, kinds: Mapping[int, Any], **more: Any) -> pd.DataFrame:
        """The rows below the header, columns named by position; ``kinds`` are dtypes, others are found out."""
        try:
            return pd.read_csv(self.path, **self._options(kinds) | more)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise _damaged(self.path, self.what, error) from error

    def chunks(self, kinds: Mapping[int, Any], **more: Any) -> Iterator[pd.DataFrame]:
        """As :meth:`read`, ``CHUNK`` rows at a time."""
        try:
            with pd.read_csv(self.path, **self._options(kinds) | more, chunksize=CHUNK) as reader:
                yield from reader
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise _damaged(self.path, self.what, error) from error

    def _options(self, kinds: Mapping[int, Any]) -> dict[str, Any]:
        return {**self.options, "header": None, "names": range(len(self.header)), "dtype": dict(kinds)}


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _damaged(path: Path, what: str, error: Exception) -> DataError:
    said = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return DataError(f"cannot read {what} '{path}': {said}; expected a whole table as text (UTF-8), gzip or plain")
