"""Which conditions are for training, validation and test: a value, and a pure function of (conditions, kind, seed)."""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grape_dgl.config import SplitConfig
from grape_dgl.data.conditions import CONTROL, parse_condition, targets
from grape_dgl.errors import DataError, did_you_mean, some
from grape_dgl.writing import write_json

log = logging.getLogger("grape_dgl")

PARTS = ("train", "val", "test")
SIMULATION_SEEN = 0.75
"""Seen share of the target genes and of the combinations of seen genes (GEARS: train_gene_set_size, combo_seen2)."""
SIMULATION_SEEN_VALIDATION = 0.9
"""Both shares where validation is cut from the rest."""

Cut = tuple[set[str], set[str]]
"""Conditions cut off, and the genes that were held out for it."""


@dataclass(frozen=True)
class Split:
    """Disjoint sorted conditions in canonical spelling, and what training has seen of each test condition."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    kind: str
    seed: int
    classes: Mapping[str, str] = field(default_factory=dict)
    """Test condition -> ``seenN``: N of its targets are targets of a training or validation condition (simulation:
    GEARS' class)."""

    def to_json(self, path: str | Path) -> None:
        """Write the parts, kind, seed and classes; ``from_json`` reads them back unchanged."""
        document: dict[str, Any] = {name: list(getattr(self, name)) for name in PARTS}
        document |= {"kind": self.kind, "seed": self.seed, "classes": dict(self.classes)}
        write_json(Path(path), document)

    @classmethod
    def from_json(
        cls,
        path: str | Path,
        conditions: Collection[str],
        known: Collection[str],
        labels: Mapping[str, str] | None = None,
    ) -> Split:
        """A split that a person or an earlier run wrote: ``{"train": [...], "val": [...], "test": [...]}``.

        Args:
            conditions: canonical names of the screen's conditions; each name of the file must be one of them.
            known: gene names, by which any accepted spelling of a condition is resolved.
            labels: label of the data -> its canonical condition; a name that is such a label is that condition.
        Raises DataError, naming the file, for a missing part, a name that is unknown, and one that stands in two parts.
        Control labels are skipped; conditions of the screen that the file leaves out are in no part.
        """
        document = _read_json(Path(path))
        parts = {name: _part(document, name, path, conditions, known, labels or {}) for name in PARTS}
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := sorted(set(parts[first]) & set(parts[second])):
                raise DataError(f"split '{path}': {some(shared)} is in '{first}' and in '{second}'; keep one")
        for name in ("train", "test"):
            if not parts[name]:
                raise DataError(f"split '{path}': '{name}' holds no condition; at least one is needed")
        if left_out := len(set(conditions) - {CONTROL} - set().union(*parts.values())):
            log.info("split '%s' leaves out %d of the screen's conditions", path, left_out)
        classes = document.get("classes")
        if not isinstance(classes, dict) or set(classes) != set(parts["test"]):
            classes = _seen_classes([*parts["train"], *parts["val"]], parts["test"])
        return cls(**parts, kind=document.get("kind", "custom"), seed=document.get("seed", 0), classes=classes)


def make_split(conditions: Sequence[str], config: SplitConfig, seed: int) -> Split:
    """Divide canonical ``conditions``, in whatever order; validation is cut from training by the same rule as test.

    * ``single``: only conditions with one target take part; a share ``config.train`` of them is the training part.
    * ``condition``: the same over all conditions.
    * ``gene``: target genes are drawn; every condition that contains a held-out gene is in test.
    * ``simulation`` (GEARS; its own shares): .75 of the target genes are seen. Test holds the single perturbations of
      unseen genes (``unseen_single``), the combinations with an unseen gene (``combo_seen0``, ``combo_seen1``, by the
      number of seen genes) and .25 of the combinations whose genes are all seen (``combo_seen2``). Validation is cut
      from the rest by this rule with shares .9. Differs: drawn from sorted names with an own random stream, so the
      conditions are not those that GEARS draws with the same seed; more than two targets are counted the same way.

    Raises DataError where no condition is left to train or to test on, and for ``custom``, which is read from a file.
    """
    if config.kind == "custom":
        raise DataError("a custom split is read from a file; give its path, such as --split split.json")
    if seed < 0:
        raise DataError(f"the seed of a split is {seed}; expected 0 or more")
    names = sorted(set(conditions) - {CONTROL})
    if config.kind == "single":
        single = [name for name in names if len(targets(name)) == 1]
        if len(single) < len(names):
            log.info("split 'single' leaves out %d combinations of %d conditions", len(names) - len(single), len(names))
        names = single
    rng = np.random.default_rng([seed, zlib.crc32(config.kind.encode())])
    simulated = config.kind == "simulation"
    cut = _cut_conditions if config.kind in ("single", "condition") else _cut_seen if simulated else _cut_genes
    test, unseen = cut(names, 1 - SIMULATION_SEEN if simulated else 1 - config.train, 1, rng)
    rest = sorted(set(names) - set(test))
    if not rest or not test:
        raise DataError(
            f"split '{config.kind}' of {len(names)} conditions leaves {len(rest)} to train and {len(test)} to test on; "
            "at least one each is needed: use more conditions or another kind of split"
        )
    val: set[str] = set()
    if config.validation:
        val, _ = cut(rest, 1 - SIMULATION_SEEN_VALIDATION if simulated else config.validation, 0, rng)
        if not 0 < len(val) < len(rest):
            val = set()
            log.warning("split '%s': %d training conditions are too few to cut off validation", config.kind, len(rest))
    train = set(rest) - val
    classes = _gears_classes(test, unseen) if simulated else _seen_classes(rest, test)
    return Split(tuple(sorted(train)), tuple(sorted(val)), tuple(sorted(test)), config.kind, seed, classes)


def _draw(names: Iterable[str], share: float, at_least: int, rng: np.random.Generator) -> set[str]:
    """The nearest whole number of ``names`` to ``share``, never all of them."""
    pool = sorted(names)
    count = min(max(math.floor(share * len(pool) + 0.5), at_least), len(pool) - 1)
    return set(rng.permutation(pool)[: max(count, 0)].tolist())


def _cut_conditions(names: Collection[str], share: float, at_least: int, rng: np.random.Generator) -> Cut:
    return _draw(names, share, at_least, rng), set()


def _cut_genes(names: Collection[str], share: float, at_least: int, rng: np.random.Generator) -> Cut:
    """The conditions that contain a gene of the drawn share, and these genes."""
    held_out = _draw(_genes(names), share, at_least, rng)
    return {name for name in names if held_out.intersection(targets(name))}, held_out


def _cut_seen(names: Collection[str], share: float, at_least: int, rng: np.random.Generator) -> Cut:
    """As ``_cut_genes``, and the same share of the combinations whose genes are all seen (GEARS' shares are equal)."""
    cut, held_out = _cut_genes(names, share, at_least, rng)
    return cut | _draw((name for name in names if name not in cut and len(targets(name)) > 1), share, 0, rng), held_out


def _genes(names: Iterable[str]) -> set[str]:
    return {gene for name in names for gene in targets(name)}


def _seen_classes(others: Iterable[str], test: Iterable[str]) -> dict[str, str]:
    seen = _genes(others)
    return {name: f"seen{sum(gene in seen for gene in targets(name))}" for name in sorted(test)}


def _gears_classes(test: Iterable[str], unseen: Collection[str]) -> dict[str, str]:
    seen = {name: sum(gene not in unseen for gene in targets(name)) for name in sorted(test)}
    return {name: "unseen_single" if len(targets(name)) == 1 else f"combo_seen{count}" for name, count in seen.items()}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the split '{path}': {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"split '{path}' is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DataError(
            f"split '{path}' is no JSON object; expected the entries {', '.join(PARTS)}, each a list of conditions"
        )
    for name in document:
        if name not in (*PARTS, "kind", "seed", "classes"):
            raise DataError(f"split '{path}' has an unknown entry '{name}'{did_you_mean(name, PARTS)}")
    return document


def _part(
    document: Mapping[str, Any],
    part: str,
    path: str | Path,
    conditions: Collection[str],
    known: Collection[str],
    labels: Mapping[str, str],
) -> tuple[str, ...]:
    """Canonical names of one part, sorted."""
    listed = document.get(part)
    if not isinstance(listed, list) or not all(isinstance(label, str) for label in listed):
        raise DataError(f"split '{path}': '{part}' is missing or no list of condition names; write [] for none")
    found = set()
    for label in listed:
        try:
            name = labels[label] if label in labels else parse_condition(label, known)
        except DataError as error:
            raise DataError(f"split '{path}': '{part}': {error}") from error
        if name == CONTROL:
            continue
        if name not in conditions:
            hint = did_you_mean(name, conditions)
            raise DataError(f"split '{path}': condition '{label}' of '{part}' is not in the data{hint}")
        found.add(name)
    return tuple(sorted(found))
