"""What Ensembl has answered so far, in one SQLite file that several processes may use and that a kill cannot damage."""

from __future__ import annotations

import json
import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from grape_dgl.data.sqlite_files import set_aside

log = logging.getLogger("grape_dgl")

FILE = "ensembl.sqlite"
BUSY = 60.0
"""Seconds to wait for another process that writes."""
_CHUNK = 500
"""Names per query: SQLite allows 999 parameters on old systems."""
_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    server TEXT, release INTEGER, species TEXT, kind TEXT, name TEXT, answer BLOB,
    PRIMARY KEY (server, release, species, kind, name))"""

T = TypeVar("T")


class Cache:
    """Answers of one server about one species, by release, kind of question and name.

    The file is ``ensembl.sqlite`` in ``folder``; without a folder, or where the file cannot be opened, answers are
    held in memory only. A damaged file is set aside and a new one begun.
    """

    def __init__(self, folder: Path | None, server: str, species: str) -> None:
        self._of = (server, species)
        self._file = None if folder is None else folder / FILE
        self.path = self._file
        """Where answers are kept; None where they are not."""
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._open()
        except (OSError, sqlite3.OperationalError) as error:
            self._give_up(error)
            self._file = None
            self._open()
        except sqlite3.DatabaseError as error:
            self._set_aside(error)

    def close(self) -> None:
        self._database.close()

    def newest(self) -> int | None:
        """The newest release of which there is an answer."""
        query = "SELECT MAX(release) FROM answers WHERE server = ? AND species = ?"
        return self._do(lambda database: database.execute(query, self._of).fetchone()[0], None)

    def find(self, release: int, kind: str, names: Iterable[str]) -> dict[str, Any]:
        """Name -> answer, of the names of which there is one; None says that Ensembl does not know the name."""
        names, found = list(names), dict[str, Any]()
        for start in range(0, len(names), _CHUNK):
            select = partial(_select, (*self._of, release, kind), names[start : start + _CHUNK])
            found |= self._do(select, dict[str, Any]())
        return found

    def keep(self, release: int, kind: str, answers: Mapping[str, Any]) -> None:
        """Write answers; once this returns they survive a kill."""
        if self._file is not None and self.path is None:
            return
        server, species = self._of
        rows = [
            (server, release, species, kind, name, zlib.compress(json.dumps(answer).encode(), 1))
            for name, answer in answers.items()
        ]
        insert = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)"
        self._do(lambda database: database.executemany(insert, rows), None)

    def _open(self) -> None:
        self._database = sqlite3.connect(self._file or ":memory:", timeout=BUSY)
        self._database.execute(_TABLE)

    def _do(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """``work`` in one transaction, a second time on a new file where the file is damaged.

        ``otherwise``, said aloud, where the file cannot be used just now (disk full, read-only, locked).
        """
        try:
            with self._database:
                return work(self._database)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                self._give_up(error)
                return otherwise
            self._set_aside(error)
            with self._database:
                return work(self._database)

    def _give_up(self, error: Exception) -> None:
        if self.path is not None:
            log.warning("cannot write the cache '%s': %s; answers of Ensembl are not kept", self.path, error)
        self.path = None

    def _set_aside(self, error: sqlite3.Error) -> None:
        self._database.close()
        if self._file is not None:
            set_aside(self._file, error)
        self._open()


KEY = "server = ? AND species = ? AND release = ? AND kind = ?"


def _select(key: tuple[object, ...], names: Sequence[str], database: sqlite3.Connection) -> dict[str, Any]:
    """Name -> answer; sqlite3.DatabaseError where an answer is no longer what was written."""
    marks = ",".join("?" * len(names))
    query = f"SELECT name, answer FROM answers WHERE {KEY} AND name IN ({marks})"  # noqa: S608 - nothing of the user
    try:
        return {name: json.loads(zlib.decompress(answer)) for name, answer in database.execute(query, (*key, *names))}
    except (zlib.error, ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"an answer cannot be read: {error}") from error
