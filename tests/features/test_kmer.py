"""k-mer spectra against counting words in Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from grape_dgl.features.kmer import KmerEncoder, canonical, spectrum

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def reverse_complement(sequence: str) -> str:
    return sequence.translate(COMPLEMENT)[::-1]


def by_hand(sequence: str, longest: int) -> list[float]:
    row = []
    for k in range(1, longest + 1):
        words = [sequence[start : start + k] for start in range(len(sequence) - k + 1)]
        counts = Counter(min(word, reverse_complement(word)) for word in words if set(word) <= set("ACGT"))
        every = ["".join("ACGT"[code // 4**place % 4] for place in reversed(range(k))) for code in range(4**k)]
        names = sorted({min(word, reverse_complement(word)) for word in every})
        row += [counts[name] / max(sum(counts.values()), 1) for name in names]
    return row


@pytest.mark.parametrize("bases", ["ACGT", "ACGTN"])
def test_counts_words(bases: str) -> None:
    sequence = "".join(np.random.default_rng(0).choice(list(bases), 300))
    np.testing.assert_allclose(spectrum(sequence, 4), by_hand(sequence, 4), atol=1e-7)


def test_both_strands_are_one() -> None:
    sequence = "".join(np.random.default_rng(1).choice(list("ACGT"), 200))
    np.testing.assert_array_equal(spectrum(sequence, 5), spectrum(reverse_complement(sequence), 5))


def test_columns() -> None:
    """(4^k + palindromes) / 2, with 4^(k/2) palindromes for even k."""
    for k in range(1, 9):
        column, number = canonical(k)
        assert number == (4**k + (4 ** (k // 2) if k % 2 == 0 else 0)) // 2
        assert np.bincount(column, minlength=number).max() == 2


def test_short_and_unknown_sequences() -> None:
    assert spectrum("AC", 3)[-32:].sum() == 0 and spectrum("AC", 3)[:2].sum() == pytest.approx(1)
    assert not spectrum("NNNN", 3).any() and not spectrum("", 3).any()


def test_encoder() -> None:
    encoder = KmerEncoder(3)
    rows = encoder.encode(["ACGT", "GGGTA"])
    assert rows.shape == (2, encoder.dim) and rows.dtype == np.float32 and encoder.dim == 2 + 10 + 32
    np.testing.assert_array_equal(rows[1], spectrum("GGGTA", 3))
