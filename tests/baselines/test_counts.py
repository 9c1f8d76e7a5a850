"""Raw counts behind log1p of normalised counts."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from grape_dgl.baselines.counts import raw_counts
from grape_dgl.data.expression import normalise
from grape_dgl.errors import DataError


def test_counts_come_back_from_normalised_ones() -> None:
    draw = np.random.default_rng(0)
    counts = draw.poisson(draw.gamma(0.5, 4.0, 200), (50, 200)).astype(np.float32)
    counts[7] = 0
    counts[:, 0] = np.where(np.arange(50) == 7, 0, 1)  # one gene was seen once
    counts[:, 1] = np.where(np.arange(50) == 7, 0, 3000)
    found, unit = raw_counts(normalise(sp.csr_matrix(counts), 1e4))
    np.testing.assert_array_equal(found.toarray(), counts)
    depth = np.maximum(counts.sum(axis=1), 1)
    np.testing.assert_allclose(unit, np.where(np.arange(50) == 7, 1, 1e4 / depth), rtol=1e-4)


@pytest.mark.parametrize(("shape", "scale"), [(2.0, 0.5), (0.3, 0.5)])
def test_other_values_are_no_counts(shape: float, scale: float) -> None:
    scaled = np.random.default_rng(0).gamma(shape, scale, (20, 300)).astype(np.float32)
    with pytest.raises(DataError, match="no counts; the negative-binomial likelihood needs counts"):
        raw_counts(sp.csr_matrix(scaled))
