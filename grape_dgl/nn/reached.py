"""What message passing answers for several conditions at once: the unmasked states, and where a condition differs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Reached:
    """States of Eq. 11: those of the unmasked pass, and a row wherever a condition may differ from it."""

    unmasked: Float[Tensor, "genes width"]
    column: Int[Tensor, " rows"]
    """The condition of a row."""
    gene: Int[Tensor, " rows"]
    state: Float[Tensor, "rows width"]

    @classmethod
    def everywhere(
        cls, unmasked: Float[Tensor, "genes width"], states: Float[Tensor, "genes conditions width"]
    ) -> Reached:
        """A row for every gene and condition."""
        gene, column = torch.meshgrid(*(torch.arange(n, device=states.device) for n in states.shape[:2]), indexing="ij")
        return cls(unmasked, column.flatten(), gene.flatten(), states.flatten(0, 1))

    def renumbered(self, columns: Int[Tensor, " conditions"]) -> Reached:
        """The same rows where condition ``i`` is number ``columns[i]`` of a longer list."""
        return replace(self, column=columns[self.column])

    def joined(self, other: Reached) -> Reached:
        """The rows of both."""
        names = ("column", "gene", "state")
        return replace(self, **{name: torch.cat([getattr(self, name), getattr(other, name)]) for name in names})
