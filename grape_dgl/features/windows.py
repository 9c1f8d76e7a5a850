"""Long sequences in windows: where they lie, and how the vectors of the windows become one of the sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

TokenPooling = Literal["mean_std", "mean", "max", "first", "last"]
Span = tuple[int, int]
"""First base and the one after the last."""


def spans(length: int, window: int, stride: int) -> list[Span]:
    """Windows of ``window`` bases, one every ``stride`` (at most ``window``), over a sequence of ``length``.

    The last one is shifted back so that it ends with the sequence and is full. A shorter sequence is one window.
    """
    starts = [*range(0, length - window, stride), max(length - window, 0)]
    return [(start, min(start + window, length)) for start in starts]


def fresh(windows: Sequence[Span]) -> list[int]:
    """Of each window, the bases that no window before it has; windows are in order."""
    counts, reached = [], 0
    for start, end in windows:
        counts.append(max(end - max(start, reached), 0))
        reached = max(reached, end)
    return counts


def pool(states: Float[Tensor, "tokens dim"], how: TokenPooling) -> Float[Tensor, "parts"]:
    """One vector of a window; of ``mean_std`` mean and mean square, which can be averaged over windows."""
    match how:
        case "mean":
            return states.mean(0)
        case "mean_std":
            return torch.cat([states.mean(0), states.square().mean(0)])
        case "max":
            return states.amax(0)
        case "first":
            return states[0]
        case "last":
            return states[-1]


def join(pooled: Float[Tensor, "windows parts"], weights: Int[Tensor, "windows"], how: TokenPooling) -> Tensor:
    """The vector of a sequence from those of its windows, whose ``weights`` are their fresh bases.

    Means are weighted, so that every base counts once; ``max`` is the largest of each element; ``first`` and ``last``
    are those of the first and the last window. ``mean_std`` gives the means before the standard deviations.
    """
    match how:
        case "mean":
            return _average(pooled, weights)
        case "mean_std":
            mean, square = _average(pooled, weights).chunk(2)
            return torch.cat([mean, (square - mean.square()).clamp_min(0).sqrt()])
        case "max" | "first" | "last":
            return pool(pooled, how)


def _average(pooled: Tensor, weights: Tensor) -> Tensor:
    return (weights.to(pooled.dtype) @ pooled) / weights.sum()
