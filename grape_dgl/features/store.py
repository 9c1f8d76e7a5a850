"""Encoded genes, and the cache that keeps every input from being encoded twice."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from tqdm import tqdm

from grape_dgl.errors import DataError
from grape_dgl.writing import write_beside

log = logging.getLogger("grape_dgl")


@dataclass(frozen=True, eq=False)
class Features:
    """One modality of all genes as the encoder gave it; standardisation belongs to the model.

    Raises DataError where shapes differ or a value is not finite.
    """

    values: np.ndarray
    """float32 [genes, d]; a row of zeros where the gene lacks the modality."""
    present: np.ndarray
    """bool [genes]."""
    source: Mapping[str, Any]
    """Encoder, model, its sha256, pooling and whatever else the values depend on."""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.present.shape != self.values.shape[:1]:
            shapes = f"{self.values.shape} and {self.present.shape}"
            raise DataError(f"values and present have shapes {shapes}; expected [genes, d] and [genes]")
        if not np.isfinite(self.values).all():
            raise DataError(f"the encoder {self.source.get('encoder')} gave values that are not finite")


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


def encode_all(inputs: Sequence[str], encoder: Encoder, cache: Path | None, label: str) -> np.ndarray:
    """float32 [inputs, dim]; empty inputs give zeros, inputs that the cache folder knows are not encoded again.

    Whatever was encoded is kept in the cache, also when the run is interrupted.
    """
    path = None if cache is None else _path(cache, encoder, label)
    rows = _load(path, encoder) if path else {}
    keys = [_key(text) for text in inputs]
    new = {key: text for key, text in zip(keys, inputs, strict=True) if text and key not in rows}
    todo = sorted(new.items(), key=lambda item: len(item[1]), reverse=True)  # similar lengths share a batch
    quiet = None if log.isEnabledFor(logging.INFO) else True  # None: no bar where stderr is no terminal
    try:
        with tqdm(
            total=len(todo), desc=f"encoding {label}", unit="gene", disable=quiet or (None if todo else True)
        ) as bar:
            for start in range(0, len(todo), encoder.batch):
                batch = todo[start : start + encoder.batch]
                values = encoder.encode([text for _, text in batch])
                rows.update(zip((key for key, _ in batch), values, strict=True))
                bar.update(len(batch))
    finally:
        if path and not rows.keys().isdisjoint(new):
            _save(path, rows, encoder)
    return np.array(
        [rows[key] if text else np.zeros(encoder.dim) for key, text in zip(keys, inputs, strict=True)], np.float32
    )


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _path(cache: Path, encoder: Encoder, label: str) -> Path:
    """One file per modality and everything that the values depend on."""
    identity = hashlib.sha256(json.dumps(dict(encoder.source), sort_keys=True).encode()).hexdigest()
    return cache / f"{label}-{encoder.source['encoder']}-{identity[:16]}.safetensors"


def _load(path: Path, encoder: Encoder) -> dict[bytes, np.ndarray]:
    """sha256 of an input -> its vector; nothing, said aloud, where the file is damaged or of another encoder."""
    if not path.exists():
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            source = json.loads((file.metadata() or {}).get("source", "{}"))
            keys, values = file.get_tensor("sha256"), file.get_tensor("values")
    except (OSError, SafetensorError, ValueError) as error:
        log.warning("feature cache '%s' is damaged (%s); its genes are encoded again", path, error)
        return {}
    fits = keys.shape == (len(values), 32) and values.shape[1:] == (encoder.dim,) and np.isfinite(values).all()
    if source != json.loads(json.dumps(dict(encoder.source))) or not fits:
        log.warning("feature cache '%s' does not hold what its name says; its genes are encoded again", path)
        return {}
    return {key.tobytes(): row for key, row in zip(keys, values, strict=True)}


def _save(path: Path, rows: Mapping[bytes, np.ndarray], encoder: Encoder) -> None:
    """Write a temporary file beside and rename it: a reader sees the old file or the new one, never a part."""
    tensors: dict[str, np.ndarray] = {
        "sha256": np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 32),
        "values": np.array(list(rows.values()), dtype=np.float32),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = save(tensors, metadata={"source": json.dumps(dict(encoder.source), sort_keys=True)})
        write_beside(path, lambda part: part.write_bytes(content))
    except OSError as error:
        log.warning("cannot write the feature cache '%s': %s; the features are used without it", path, error)
