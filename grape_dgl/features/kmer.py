"""k-mer spectra: how often each short DNA word occurs in a sequence, both strands counted together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

_BASE = np.full(256, 4, dtype=np.uint8)
_BASE[list(b"ACGT")] = range(4)


@lru_cache
def canonical(k: int) -> tuple[np.ndarray, int]:
    """Column of every k-mer code, int [4^k] (base 4, first base leading), and the number of columns.

    A k-mer shares its column with its reverse complement; columns are ordered by the smaller of both codes.
    """
    codes = np.arange(4**k)
    complement, rest = np.zeros_like(codes), codes
    for _ in range(k):
        complement, rest = complement * 4 + (3 - rest % 4), rest // 4
    smaller, column = np.unique(np.minimum(codes, complement), return_inverse=True)
    return column.astype(np.intp), len(smaller)


def spectrum(sequence: str, longest: int) -> np.ndarray:
    """float32 [columns of k = 1..longest]: for each k the frequencies of its canonical k-mers, which sum to 1.

    k-mers with a base other than A, C, G, T are left out; all zero for a k that has none.
    """
    bases = _BASE[np.frombuffer(sequence.encode(), dtype=np.uint8)]
    known = bases < 4
    bases = np.where(known, bases, 0).astype(np.intp)
    codes, valid, parts = bases, known, []
    for k in range(1, longest + 1):
        if k > 1:
            codes, valid = codes[:-1] * 4 + bases[k - 1 :], valid[:-1] & known[k - 1 :]
        column, columns = canonical(k)
        counts = np.bincount(column[codes[valid]], minlength=columns)
        parts.append(counts / max(counts.sum(), 1))
    return np.concatenate(parts).astype(np.float32)


class KmerEncoder:
    """k-mer spectra for k = 1..longest; needs no trained model."""

    batch = 256

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.dim = sum(canonical(k)[1] for k in range(1, longest + 1))
        self.source: Mapping[str, Any] = {"encoder": f"kmer{longest}", "model": "k-mer spectra", "k": longest}

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]"""
        return np.stack([spectrum(sequence, self.longest) for sequence in inputs])
