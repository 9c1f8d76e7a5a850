"""What the response expects of conditions it has not seen: for these a network is trained, and margins are learned.

The margins are what conditions that were left out were off by, gene by gene, as in split-conformal prediction (Lei et
al. 2018): of n such conditions, the ``LEVEL * (n + 1)``-th smallest error, and the largest where there are few. They
are those of the response alone, against the model's half of the control, and apart for conditions of which every
target was seen elsewhere. The variance within conditions that shrinks genes, and the choice of knowledge, are those of
all conditions, left out or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.training.knowledge import Kernel
from grape_dgl.training.response import Evidence, Response, chosen_knowledge, fit_response, incidence, themselves

FOLDS = 25
"""Parts that are left out in turn, at most."""
LEVEL = 0.9
"""Share of the condition means that lie within the margins."""
ENOUGH = 10
"""Left-out conditions of a kind from which margins of its own are taken."""


Kernels = Mapping[str, Kernel]


def held_out(
    evidence: Evidence, settings: ResponseConfig, kernels: Kernels
) -> Float[np.ndarray, "conditions measured"]:
    """What the response to all other conditions expects of each, in ``FOLDS`` parts where they are many."""
    expected = np.zeros_like(evidence.change)
    for rows in _parts(len(evidence)):
        rest = np.setdiff1d(np.arange(len(evidence)), rows)
        if len(rest):
            fitted = fit_response(evidence.take(rest), settings, kernels)
            expected[rows] = fitted.change([evidence.targets[r] for r in rows], kernels)
    return expected


def left_out_margins(
    evidence: Evidence,
    expected: Float[np.ndarray, "conditions measured"],
    settings: ResponseConfig,
    kernels: Kernels,
) -> tuple[Float[np.ndarray, "2 measured"], float]:
    """Per gene the ``LEVEL`` quantile of what left-out conditions were off by, ``expected`` being their `held_out`.

    The first row is of conditions whose targets are all in parts that were not left out with them, the second of those
    with one that nothing was seen of: each condition once, with its own target left out where others share it. And the
    same quantile of what measured targets were off by in their own expression, over all of them.
    """
    genes = np.unique([gene for ids in evidence.targets for gene in ids])
    which = incidence(evidence.targets, genes) > 0
    off, known = np.abs(evidence.change - expected), np.zeros(len(evidence), dtype=bool)
    for rows in _parts(len(evidence)):
        rest = np.setdiff1d(np.arange(len(evidence)), rows)
        known[rows] = ~(which[rows] & ~which[rest].any(axis=0)).any(axis=1)
    seen, unseen, left = off[known], [off[~known]], known.copy()
    for group in _parts(len(genes)) if known.any() else []:
        touched = which[:, group].any(axis=1)
        hit, rest = np.flatnonzero(touched & left), np.flatnonzero(~touched)
        if len(hit) and len(rest):
            fitted = fit_response(evidence.take(rest), settings, kernels)
            unseen.append(np.abs(evidence.change[hit] - fitted.change([evidence.targets[row] for row in hit], kernels)))
            left[hit] = False
    kinds = [seen, np.concatenate(unseen)]
    pooled = np.concatenate(kinds)
    of = [kind if len(kind) >= ENOUGH else pooled for kind in kinds]
    own = off[themselves(evidence.targets, off.shape[1])]
    return (
        np.stack([np.quantile(errors, LEVEL, axis=0, method="weibull") for errors in of]),
        float(np.quantile(own, LEVEL, method="weibull")) if len(own) else 0.0,
    )


def _parts(number: int) -> list[np.ndarray]:
    """Numbers below ``number`` in ``FOLDS`` parts at the most, in a fixed random order: neighbours share targets."""
    return np.array_split(np.random.default_rng(0).permutation(number), min(FOLDS, number))


@dataclass(frozen=True)
class Expectations:
    """What the response expects of conditions that it has not seen itself: under these, a network is trained."""

    train: Float[np.ndarray, "train measured"]
    validation: Float[np.ndarray, "validation measured"]
    both: Float[np.ndarray, "both measured"]
    """Of training and validation conditions, each by the others"""
    response: Response
    """Of all of them"""

    @classmethod
    def of(
        cls,
        screen: Screen,
        train: Sequence[str],
        validation: Sequence[str],
        control: ControlHalves,
        settings: ResponseConfig,
        kernels: Kernels,
    ) -> Expectations:
        """By the training and validation conditions and the model's half of the control only.

        ``kernels``: what effects may be alike by; the training conditions choose of them (`chosen_knowledge`), so that
        the network that validation conditions judge is under the same response as that which is kept.
        """
        whole, part = (Evidence.of(screen, names, control) for names in ([*train, *validation], train))
        chosen = chosen_knowledge(part, settings, kernels)
        both = held_out(whole, settings, chosen)
        margins, own = left_out_margins(whole, both, settings, chosen)
        response = replace(fit_response(whole, settings, chosen), margins=margins, own_margin=own)
        unseen = whole.targets[len(train) :]
        checked = fit_response(part, settings, chosen).change(unseen, chosen) if unseen else both[:0]
        return cls(held_out(part, settings, chosen), checked, both, response)
