"""An exact search for similar genes that looks at fewer numbers: few directions of the rows, and a bound on the rest.

With orthonormal columns Q and rests r, ``<u_i, u_j> = <Q^T u_i, Q^T u_j> + <r_i, r_j>``, and ``<r_i, r_j>`` is at most
``|r_i| |r_j|``: rows ``[Q^T u_i, |r_i|]`` of few numbers have products that are never below the similarities. Pairs
whose bound reaches the threshold are candidates; their own products decide. The rows of gene similarities lie close to
few directions, which move little from step to step, so one step of subspace iteration keeps Q near the best.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from grape_dgl.errors import ConfigError
from grape_dgl.graph.similarity import blocks_above, pairs_above, weigh_pairs

LEAST = 2000
"""Genes from which on it pays."""
RANKS = (64, 96, 128)
"""Directions, few first; more where the bound is too loose, and none of them with less than twice as many numbers."""
CANDIDATES = 40
"""Per gene; with more, the bound is too loose."""
PAUSE = 50
"""Searches of the plain kind after the bound was too loose with all ``RANKS``."""
SLACK = 1e-5
"""Of the bound, and of the square of a rest, for rounding"""


class Search:
    """The searches for one similarity, step after step: what it finds does not depend on what it found before."""

    def __init__(self) -> None:
        self.directions: Float[Tensor, "dim rank"] | None = None
        self.rank, self.pause = 0, 0
        self.plain, self.bounded, self.thresholds = 0, 0, 0
        """Searches so far, of either kind, and those for a threshold."""

    @torch.no_grad()
    def __call__(
        self,
        u: Float[Tensor, "genes dim"],
        epsilon: float,
        allowed: Bool[Tensor, " genes"] | None = None,
        max_edges: int | None = None,
    ) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
        """As :func:`pairs_above`, up to pairs within rounding of ``epsilon``."""
        u = u.detach()
        if len(u) < LEAST:
            return pairs_above(u, epsilon, allowed, max_edges=max_edges)
        found = self._candidates(u, epsilon, allowed)
        if found is None:
            self.plain += 1
            try:
                found = pairs_above(u, epsilon - SLACK, allowed, max_edges=max_edges)
            except ConfigError:  # too many, or only with those within the slack
                return pairs_above(u, epsilon, allowed, max_edges=max_edges)
        pairs = weigh_pairs(u, *found, "torch")
        keep = pairs.value >= epsilon
        first, second = pairs.first[keep], pairs.second[keep]
        if max_edges is not None and len(first) > max_edges:
            return pairs_above(u, epsilon, allowed, max_edges=max_edges)  # which says what is wrong
        return first, second

    def _candidates(self, u: Tensor, epsilon: float, allowed: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Pairs whose bound reaches ``epsilon``; None where there are too many for it to pay."""
        self.pause -= 1
        while self.pause < 0 and self.rank < len(RANKS) and u.shape[1] >= 2 * RANKS[self.rank]:
            parts, number = [], 0
            for part in blocks_above(self._short(u, RANKS[self.rank]), epsilon - SLACK, allowed):
                parts.append(part)
                number += len(part[0])
                if number > CANDIDATES * len(u):
                    break
            else:
                self.bounded += 1
                first, second = zip(*parts, strict=True)
                return torch.cat(first), torch.cat(second)
            self.rank, self.directions = self.rank + 1, None
        if self.pause < 0:
            self.rank, self.directions, self.pause = 0, None, PAUSE
        return None

    def _short(self, u: Float[Tensor, "genes dim"], rank: int) -> Float[Tensor, "genes _"]:
        """``[Q^T u, |rest|]``, rows whose products are at least those of ``u``."""
        q, steps = self.directions, 1
        if q is None:
            draw = torch.Generator("cpu").manual_seed(0)
            q, steps = torch.randn(u.shape[1], rank, generator=draw, device="cpu"), 3
        q = q.to(u)
        for _ in range(steps):
            q = torch.linalg.qr(u.T @ (u @ q)).Q
        self.directions = q if bool(q.isfinite().all()) else None
        short = u @ q
        length, kept = (torch.linalg.vector_norm(rows, dim=1).square() for rows in (u, short))
        rest = (length - kept).clamp(min=0) + SLACK  # the difference has lost digits
        return torch.cat([short, rest.sqrt()[:, None]], dim=1)
