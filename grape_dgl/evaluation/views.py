"""The ways to look at a condition: which observed change, over which genes (``catalogue.FORMS`` says them in words)."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.evaluation.catalogue import DE_SIZES
from grape_dgl.evaluation.de import Moments, moments, ranked, significant, stored_de, t_scores, t_test, wilcoxon
from grape_dgl.evaluation.metrics import de_weights

FEW_CELLS = "a test needs at least two cells of the condition and two of control"


class View(NamedTuple):
    """A condition in one form."""

    form: str
    """Ending of the names of its scores."""
    observed: np.ndarray
    """[measured] observed change"""
    genes: np.ndarray
    """indices of the genes that count"""
    note: str
    """Why there are fewer genes than the name says, or no genes at all; else empty."""
    beside: Mapping[str, np.ndarray] = {}
    """[measured] vectors that some metrics take: ``weights``, ``significant``"""


def halves(screen: Screen, name: str, cells: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two halves of ``cells``, evenly within each batch, drawn by seed and name whatever else is scored."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    shuffled = rng.permutation(screen.by_rank(cells))
    shuffled = shuffled[np.argsort(screen.batch[shuffled], kind="stable")]
    return shuffled[::2], shuffled[1::2]


class Views:
    """The control side of every comparison: reference cells, their halves and their moments, computed once."""

    def __init__(self, screen: Screen, control: ControlHalves, seed: int) -> None:
        self.screen, self.control, self.seed = screen, control, seed
        self.choosing, self.scoring = halves(screen, "control", control.reference, seed)
        self.moments = {
            "": self._moments(control.reference),
            "_shared_control": self._moments(screen.control_cells),
            "_heldout": self._moments(self.choosing),
        }

    def change(self, condition: str) -> np.ndarray:
        """[measured] observed change with disjoint controls."""
        return self.screen.mean(condition) - self.screen.control_mean(self.control.reference, condition)

    def of(self, condition: str, exclude_targets: bool, forms: Collection[str]) -> Iterator[View]:
        """A condition in all of ``forms``, perhaps in others; costly tests are made for these only."""
        screen = self.screen
        cells = screen.cells(condition)
        measured = np.arange(screen.genes.measured)
        targets = screen.targets(condition) if exclude_targets else np.array([], dtype=np.int64)
        kept = measured[~np.isin(measured, targets)]
        own = self._moments(cells)
        yield from self._disjoint(condition, cells, own, targets, kept, forms)
        if any(form.endswith("_shared_control") for form in forms):
            observed = screen.mean(condition) - screen.control_mean(self.control.model, condition)
            yield View("_shared_control", observed, kept, "")
            if stored := screen.stored_de.get(condition):
                order, note = stored_de(stored, list(screen.genes.symbol[: screen.genes.measured]), targets), ""
            else:
                order, note = self._rank(own, "_shared_control", targets)
            yield from _de_views("_shared_control", observed, order, note)
        if any(form.endswith("_heldout") for form in forms):
            choosing, scoring = halves(screen, condition, cells, self.seed)
            order, note = self._rank(self._moments(choosing), "_heldout", targets)
            if not len(scoring) or not len(self.scoring):
                order, note = order[:0], "no cells are left to score on"
                apart = np.zeros(len(measured))
            else:
                apart = self._moments(scoring).mean - screen.control_mean(self.scoring, condition)
            yield from _de_views("_heldout", apart, order, note)

    def _disjoint(
        self,
        condition: str,
        cells: np.ndarray,
        own: Moments,
        targets: np.ndarray,
        kept: np.ndarray,
        forms: Collection[str],
    ) -> Iterator[View]:
        observed, reference = self.change(condition), self.moments[""]
        few = min(own.n, reference.n) < 2
        scores = np.zeros(len(observed)) if few else t_scores(own, reference)
        yield View("", observed, kept, "", {"weights": de_weights(scores)})
        yield from _de_views("", observed, *self._rank(own, "", targets))
        for form in [form for form in ("_ttest", "_wilcoxon") if form in forms]:
            if few:
                yield View(form, observed, kept[:0], FEW_CELLS, {"significant": np.zeros(len(observed), dtype=bool)})
                continue
            if form == "_ttest":
                p = t_test(own, reference)
            else:
                p = wilcoxon(self.screen.expression[cells], self.screen.expression[self.control.reference])
            yield View(form, observed, kept, "", {"significant": significant(p)})

    def _rank(self, own: Moments, form: str, exclude: np.ndarray) -> tuple[np.ndarray, str]:
        """DE genes of the cells of ``own`` and an empty note, or no genes and the reason."""
        if min(own.n, self.moments[form].n) < 2:
            return np.array([], dtype=np.int64), FEW_CELLS
        return ranked(t_scores(own, self.moments[form]), exclude), ""

    def _moments(self, cells: np.ndarray) -> Moments:
        return moments(self.screen.expression[cells])


def _de_views(form: str, observed: np.ndarray, order: np.ndarray, note: str) -> Iterator[View]:
    for size in DE_SIZES:
        fewer = f"{len(order)} genes instead of {size}" if len(order) < size else ""
        yield View(f"_de{size}{form}", observed, order[:size], note or fewer)
