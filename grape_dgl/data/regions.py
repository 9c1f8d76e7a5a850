"""Which DNA of a gene is meant, and where a promoter lies."""

from __future__ import annotations

from typing import Any, Literal

from grape_dgl.errors import ConfigError

Region = Literal["gene", "transcript", "promoter"]
"""``gene``: from start to end, introns included. ``transcript``: the exons of the canonical transcript, spliced.
``promoter``: around the transcription start site (TSS). All read 5' to 3' on the gene's strand."""


LONGEST = 1_000_000
"""Bases of a promoter."""


def check_promoter(upstream: int, downstream: int) -> None:
    """ConfigError where the flanks are none of a promoter."""
    if upstream < 0 or downstream < 0 or not 0 < upstream + downstream <= LONGEST:
        raise ConfigError(
            f"the promoter has {upstream} + {downstream} bases (--upstream, --downstream); "
            f"expected 1 to {LONGEST:,}, none negative"
        )


def promoter_span(start: int, end: int, strand: int, upstream: int, downstream: int) -> tuple[int, int]:
    """First and last base, counted from 1, of ``upstream`` bases before the TSS and ``downstream`` from it on.

    It may reach beyond the ends of the chromosome.
    """
    if strand > 0:
        return start - upstream, start + downstream - 1
    return end - downstream + 1, end + upstream


def region_note(region: Region, upstream: int, downstream: int) -> dict[str, Any]:
    """What identifies the DNA, for notes."""
    return {"region": region} | ({"upstream": upstream, "downstream": downstream} if region == "promoter" else {})
