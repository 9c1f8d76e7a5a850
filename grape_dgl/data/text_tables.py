"""Large text tables through pandas: compression, separator and header are found out, errors are one line."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from grape_dgl.data.text_files import as_text, reading, separator
from grape_dgl.errors import DataError, some

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
        with reading(path, what) as file:
            for line in as_text(file):
                lines.append(line.rstrip("\r\n"))
                if line.strip() and not line.startswith("!"):
                    break
            if any("\0" in line for line in lines):
                raise ValueError("it holds zero bytes")
        if not lines or not lines[-1].strip() or lines[-1].startswith("!"):
            raise DataError(f"{what} '{path}' is empty; expected a table with a header, gzip or plain")
        header = lines[-1].removeprefix("#")
        sign = separator(header)
        quotes = sign in ",;" or '"' in header  # who quotes cells of a TSV, quotes its header too
        cells = next(csv.reader([header], delimiter=sign))
        options = {
            "sep": sign, "skiprows": len(lines), "quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
            "keep_default_na": False, "low_memory": False,
        }  # fmt: skip
        return cls(path, what, lines[0], tuple(cell.strip() for cell in cells), options)

    def find(self, names: tuple[str, ...]) -> int | None:
        """Position of the column with the first of ``names`` that is there; case and ``_``/``-``/space do not count."""
        plain = [_plain(cell) for cell in self.header]
        return next((plain.index(_plain(name)) for name in names if _plain(name) in plain), None)

    def lacks(self, expected: str) -> DataError:
        """The error of a table without the columns that are ``expected``."""
        return DataError(f"{self.what} '{self.path}' has the columns {some(self.header, 12)}; expected {expected}")

    def read(self, kinds: Mapping[int, Any], **more: Any) -> pd.DataFrame:
        """The rows below the header, columns named by position; ``kinds`` are dtypes, others are found out."""
        with reading(self.path, self.what) as file:
            return pd.read_csv(as_text(file), **self._options(kinds) | more)

    def chunks(self, kinds: Mapping[int, Any], **more: Any) -> Iterator[pd.DataFrame]:
        """As :meth:`read`, ``CHUNK`` rows at a time."""
        with (
            reading(self.path, self.what) as file,
            pd.read_csv(as_text(file), **self._options(kinds) | more, chunksize=CHUNK) as reader,
        ):
            yield from reader

    def _options(self, kinds: Mapping[int, Any]) -> dict[str, Any]:
        return {**self.options, "header": None, "names": range(len(self.header)), "dtype": dict(kinds)}


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())
