"""One parser of conditions: any spelling of "which genes were perturbed" becomes one canonical name.

``KLF1+ctrl``, ``ctrl+KLF1``, ``KLF1_sg2`` and ``KLF1`` are the same condition; ``MAP2K6_KLF1`` is ``KLF1+MAP2K6``.
A gene name is never cut while it is itself known (``HLA-A``, ``NKX2-5``, ``Y_RNA``), whatever the file's delimiter is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from grape_dgl.errors import DataError, did_you_mean

CONTROL = "control"
"""Canonical name of the control condition."""
JOIN = "+"
"""Joins the targets of a canonical condition; no gene symbol contains it."""
DELIMITERS = ("+", "_", "|", ",", ";", "&", "/", "-", ":", " ")
"""What may stand between two targets, tried in this order where several explain equally many labels."""

_CONTROL_NAMES = (
    "control", "controls", "ctrl", "ctl", "nt", "ntc", "ntcontrol", "nontargeting", "nontarget", "notarget",
    "nontargetingcontrol", "negativecontrol", "negcontrol", "negctrl", "scramble", "scrambled", "safetargeting",
    "intergenic", "unperturbed",
)  # fmt: skip
"""Labels of control cells, in lower case without spaces and punctuation."""
_NUMBERED_CONTROL = re.compile(rf"(?:sg)?(?:{'|'.join(_CONTROL_NAMES)})(?:sg|g|guide)?\d+")
_GUIDE_SUFFIX = re.compile(
    r"(?:[_\-. ](?i:sgrna|grna|guide|sg|g)?[_\-. ]?\d+|(?<=[A-Z0-9])(?:sgrna|grna|guide|sg|g)[_\-. ]?\d+)$"
)
"""Without a separator only in lower case and after an upper-case letter or digit: ``ARG1`` is no guide of ``AR``."""


def canonical(targets: Iterable[str]) -> str:
    """Sorted, unique gene symbols joined by ``+``; no target at all is ``control``."""
    return JOIN.join(sorted(set(targets))) or CONTROL


def targets(condition: str) -> tuple[str, ...]:
    """Gene symbols of a canonical condition, the inverse of `canonical`; ``control`` has none."""
    return () if condition == CONTROL else tuple(condition.split(JOIN))


def is_control_name(label: str) -> bool:
    """Whether people use ``label`` as it stands for control cells: ``ctrl``, ``non-targeting``, ``NT``, ..."""
    return _squeeze(label) in _CONTROL_NAMES


def guide_stem(label: str) -> str:
    """``label`` without a guide suffix (``gN``, ``_sgN``, ``-N``), or "" where it has none."""
    stem = _GUIDE_SUFFIX.sub("", label)
    return "" if stem == label else stem


def _squeeze(label: str) -> str:
    return re.sub(r"[\s_.\-]+", "", label.casefold())


@dataclass(frozen=True)
class ConditionParser:
    """Turns the labels of one file into canonical conditions; made by `detect_parser`."""

    known: Container[str]
    """Gene names that a source knows."""
    control: frozenset[str] = frozenset()
    """Control labels that the user gave, besides the names people use."""
    delimiter: str = ""
    """Between the targets of a combination; "" where labels name one target each."""
    guides: Mapping[str, str] = field(default_factory=dict)
    """Guide or label -> target (itself in any accepted spelling)."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Known name -> the symbol to use, for example from Ensembl ids."""
    singles: frozenset[str] = frozenset()
    """Labels that can only be gene names, though no source knows them."""
    strict: bool = False
    """Whether a target that is not known is an error here; else it stays as the label spells it."""

    def parse(self, label: str) -> str:
        """Canonical condition of ``label``.

        Raises DataError for an empty label or part and, where ``strict``, for a target that is not known.
        """
        text = label.strip()
        for explain in (self.resolve, self._split, self._as_spelled):
            names = explain(text)
            if names is not None:
                break
        return canonical(names or ())

    def resolve(self, piece: str) -> tuple[str, ...] | None:
        """Targets of one undivided ``piece`` (none for a control), or None where nothing explains it.

        A control name wins over a gene of that name (``CTRL``), a known gene over a numbered control (``NT5``).
        """
        if piece in self.guides:
            return targets(self._without_guides().parse(self.guides[piece]))
        if piece in self.control or is_control_name(piece):
            return ()
        if self._is_gene(piece):
            return (self.aliases.get(piece, piece),)
        if _NUMBERED_CONTROL.fullmatch(_squeeze(piece)):
            return ()
        stem = guide_stem(piece)
        if stem and stem in self.known:
            return (self.aliases.get(stem, stem),)
        return None

    def explains(self, label: str) -> bool:
        """Whether every part of ``label`` is a known gene, a guide of one, or a control."""
        return self.resolve(label) is not None or self._split(label) is not None

    def _is_gene(self, name: str) -> bool:
        return name in self.known or name in self.singles

    def _without_guides(self) -> ConditionParser:
        return replace(self, delimiter=self.delimiter or JOIN, guides={})

    def _split(self, label: str) -> tuple[str, ...] | None:
        """Targets when ``label`` is cut at delimiters into pieces that all resolve, the longest pieces first."""
        if not self.delimiter or self.delimiter not in label:
            return None
        tokens = label.split(self.delimiter)
        for end in range(len(tokens) - 1, 0, -1):
            head = self.resolve(self.delimiter.join(tokens[:end]).strip())
            if head is None:
                continue
            rest = self.delimiter.join(tokens[end:]).strip()
            tail = self.resolve(rest)
            if tail is None:
                tail = self._split(rest)
            if tail is not None:
                return head + tail
        return None

    def _as_spelled(self, label: str) -> tuple[str, ...]:
        """Targets of a label with at least one unknown part."""
        pieces = [piece.strip() for piece in label.split(self.delimiter)] if self.delimiter else [label]
        found = [self.resolve(piece) for piece in pieces]
        if self.delimiter != JOIN and (self.delimiter == "-" or all(names is None for names in found)):
            pieces, found = [label], [None]
        if not all(pieces):
            raise DataError(
                f"condition '{label}' has an empty part; expected gene names joined by '{self.delimiter or JOIN}', "
                "or a --guide-map that says what such labels are"
            )
        unknown = [piece for piece, names in zip(pieces, found, strict=True) if names is None]
        if unknown and self.strict:
            close = did_you_mean(unknown[0], self.known) if isinstance(self.known, Iterable) else ""
            raise DataError(f"condition '{label}' names a gene that is not known: '{unknown[0]}'{close}")
        return tuple(
            name for piece, names in zip(pieces, found, strict=True) for name in ((piece,) if names is None else names)
        )


def detect_parser(
    labels: Iterable[str],
    known: Container[str],
    control: Iterable[str] = (),
    guide_map: Mapping[str, str] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    strict: bool = False,
) -> ConditionParser:
    """Choose the delimiter with which most combinations of ``labels`` resolve into known genes.

    A label without the delimiter can only name one gene, so it helps to explain the combinations of a file whose
    targets are not measured (not where ``strict``); so does one like ``Y_RNA``, of which no part is a gene. ``+``
    always divides, since no gene symbol contains it.
    """
    known = known if isinstance(known, set | frozenset | Mapping) or not isinstance(known, Collection) else set(known)
    base = ConditionParser(known, frozenset(control), "", dict(guide_map or {}), dict(aliases or {}), strict=strict)
    open_labels = sorted({label.strip() for label in labels if base.resolve(label.strip()) is None})

    def dividing_at(delimiter: str) -> ConditionParser:
        singles = frozenset() if strict else frozenset(label for label in open_labels if delimiter not in label)
        return replace(base, delimiter=delimiter, singles=singles)

    def explained(parser: ConditionParser) -> int:
        d = parser.delimiter
        return sum(d in label and (d == JOIN or parser.explains(label)) for label in open_labels)

    def no_part_is_known(parser: ConditionParser, label: str) -> bool:
        return all(parser.resolve(piece.strip()) is None for piece in label.split(parser.delimiter))

    parsers = [dividing_at(delimiter) for delimiter in DELIMITERS]
    best = max(parsers, key=explained)  # the first of equals
    if explained(best):
        whole = (label for label in open_labels if best.delimiter != JOIN and no_part_is_known(best, label))
        return best if strict else replace(best, singles=best.singles.union(whole))
    singles = frozenset() if strict else frozenset(open_labels)
    return replace(base, singles=singles)


def parse_condition(text: str, known: Collection[str]) -> str:
    """Canonical condition of what a user typed: ``MAP2K6+KLF1``, ``KLF1+ctrl``, ``KLF1_MAP2K6``, ``control``.

    Raises DataError naming a gene that is not among ``known``.
    """
    return detect_parser([text], known, strict=True).parse(text)
