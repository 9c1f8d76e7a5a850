"""Whether one model is surely better than another on the same conditions: what decides before anything may speak."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import stats

TINY = 1e-12
"""Errors below it count as this."""


def surely_better(
    error: Float[np.ndarray, " conditions"], other: Float[np.ndarray, " conditions"], deviations: float, tries: int = 1
) -> bool:
    """Whether ``error`` is below ``other``, condition by condition; errors of 0 or more.

    Compared is the log of their ratio, of which no condition has much more than others; its mean must be above 0 by
    ``deviations`` standard errors, of few conditions by more of them, so that chance is as rare (Student's t at the
    normal's probability), and of several ``tries`` by more yet (Bonferroni; but 0 stays 0). The mean of ``error`` must
    be below that of ``other`` too. Of one condition nothing is sure.
    """
    gain, number = np.log(np.maximum(other, TINY) / np.maximum(error, TINY)), len(other)
    if number < 2 or not error.mean() < other.mean():
        return False
    wanted = stats.t.isf(stats.norm.sf(deviations) / tries, number - 1) if deviations else 0.0
    return bool(gain.mean() > wanted * gain.std(ddof=1) / number**0.5)
