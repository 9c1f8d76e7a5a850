"""Encoded genes, and the store that keeps every input from being encoded twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from grape_dgl.data.progress import bar
from grape_dgl.data.sqlite_files import set_aside

log = logging.getLogger("grape_dgl")

T = TypeVar("T")

FILE = "features.sqlite"
WAIT = 60.0
"""Seconds to wait for another process that writes."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS encoder (id INTEGER PRIMARY KEY, source TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS vector (
    encoder INTEGER NOT NULL REFERENCES encoder, input BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (encoder, input)
) WITHOUT ROWID;
"""


class Encoder(Protocol):
    """Turns inputs (texts or DNA) into vectors; a row depends on its own input only."""

    source: Mapping[str, Any]
    """What the values depend on, JSON-able; it names the cache file. ``encoder`` is a short name."""
    dim: int
    batch: int
    """Inputs per call, of similar length."""

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]"""
        ...


def never_alone(rows: list[T]) -> list[T]:
    """A single row twice, to be encoded: alone it takes other kernels, and its last bits would depend on company."""
    return rows if len(rows) > 1 else 2 * rows


class Store:
    """One SQLite file for all encoders: the vectors of inputs, by the SHA-256 of the input and all that they depend on.

    Every batch is a transaction: a process that is killed at any moment loses the batch in hand and damages nothing,
    and several processes may share the file.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.path, self._dim = folder / FILE, encoder.dim
        self._source = json.dumps(dict(encoder.source), sort_keys=True)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._id = self._open()
        except sqlite3.OperationalError:
            raise  # cannot be opened or written, or another process holds it
        except sqlite3.DatabaseError as error:
            set_aside(self.path, error)
            self._id = self._open()

    def _open(self) -> int:
        """Id of the encoder, which is registered where it is new."""
        with closing(self._connect()) as database, database:
            if (answer := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(answer)
            database.executescript(_SCHEMA)
            database.execute("INSERT OR IGNORE INTO encoder (source) VALUES (?)", (self._source,))
            return int(database.execute("SELECT id FROM encoder WHERE source = ?", (self._source,)).fetchone()[0])

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=WAIT)

    def get(self, keys: Iterable[bytes]) -> dict[bytes, np.ndarray]:
        """float32 [dim] of every key that is there; one that is not whole counts as missing."""
        found = {}
        question = "SELECT value, checksum FROM vector WHERE encoder = ? AND input = ?"
        with closing(self._connect()) as database:
            for key in keys:
                value, checksum = database.execute(question, (self._id, key)).fetchone() or (b"", 0)
                if len(value) == 4 * self._dim and zlib.crc32(value) == checksum:
                    found[key] = np.frombuffer(value, dtype="<f4")
        return found

    def add(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Keep these vectors: all of them or, where the process is killed, none."""
        values = {key: np.asarray(row, dtype="<f4").tobytes() for key, row in rows.items()}
        with closing(self._connect()) as database, database:
            database.executemany(
                "INSERT OR REPLACE INTO vector VALUES (?, ?, ?, ?)",
                [(self._id, key, value, zlib.crc32(value)) for key, value in values.items()],
            )


def encode_all(inputs: Sequence[str], encoder: Encoder, cache: Path | None, label: str) -> np.ndarray:
    """float32 [inputs, dim]; empty inputs give zeros, equal inputs and those that the cache knows are encoded once.

    Every batch is kept in the cache as soon as it is encoded; a cache that cannot be used costs its use only.
    """
    keys = [hashlib.sha256(text.encode()).digest() for text in inputs]
    wanted = {key: text for key, text in zip(keys, inputs, strict=True) if text}
    store = _store(cache, encoder) if cache is not None and wanted else None
    rows = store.get(wanted) if store else {}
    # Batches are cut from all inputs, of similar length: a run that goes on makes the very batches that are missing.
    ordered = sorted(wanted, key=lambda key: (-len(wanted[key]), key))
    batches = [ordered[start : start + encoder.batch] for start in range(0, len(ordered), encoder.batch)]
    todo = [missing for batch in batches if (missing := [key for key in batch if key not in rows])]
    with bar(f"encoding {label}", sum(map(len, todo))) as shown:
        for batch in todo:
            new = dict(zip(batch, encoder.encode([wanted[key] for key in batch]), strict=True))
            rows |= new
            store = store if store and _kept(store, new) else None
            shown.update(len(batch))
    empty = np.zeros(encoder.dim)
    found = [rows[key] if text else empty for key, text in zip(keys, inputs, strict=True)]
    return np.array(found, np.float32).reshape(len(inputs), encoder.dim)


def _store(folder: Path, encoder: Encoder) -> Store | None:
    try:
        return Store(folder, encoder)
    except (OSError, sqlite3.Error) as error:
        _warn(folder / FILE, error)
        return None


def _kept(store: Store, rows: Mapping[bytes, np.ndarray]) -> bool:
    try:
        store.add(rows)
    except sqlite3.Error as error:
        _warn(store.path, error)
        return False
    return True


def _warn(path: Path, error: Exception) -> None:
    log.warning("cannot use the feature cache '%s': %s; the features are encoded without it", path, error)
