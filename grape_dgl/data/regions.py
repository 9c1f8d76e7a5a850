"""Which DNA of a gene is meant, and where a promoter lies."""

from __future__ import annotations

from typing import Any, Literal

Region = Literal["gene", "transcript", "promoter"]
"""``gene``: from start to end, introns included. ``transcript``: the exons of the canonical transcript, spliced.
``promoter``: around the transcription start site (TSS). All read 5' to 3' on the gene's strand."""


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
