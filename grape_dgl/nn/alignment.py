"""From two modalities to one gene representation: projection, contrastive alignment, fusion (Eq. 1-2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Projection(nn.Module):
    """Head ``f_m`` of one modality: standardised features [genes, d_m] -> ``Z_m`` [genes, d].

    ``mean`` and ``scale`` are statistics of the training genes, frozen with the weights, so a gene added later is
    standardised as the others were.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d_in))
        self.register_buffer("scale", torch.ones(d_in))
        self.layers = nn.Sequential(
            nn.Linear(d_in, d_out), nn.LayerNorm(d_out), nn.ReLU(inplace=True), nn.Linear(d_out, d_out)
        )

    def freeze_statistics(self, x: Float[Tensor, "genes d_in"], present: Bool[Tensor, " genes"]) -> None:
        """Set ``mean`` and ``scale`` from the genes that have the modality; a constant feature keeps scale 1."""
        rows = x[present]
        spread = rows.std(dim=0, correction=0)
        self.mean.copy_(rows.mean(dim=0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def forward(self, x: Float[Tensor, "genes d_in"]) -> Float[Tensor, "genes d_out"]:
        return self.layers((x - self.mean) / self.scale)


class Discriminator(nn.Module):
    """Small MLP whose outputs are compared by cosine in Eq. 1."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d, d), nn.ReLU(inplace=True), nn.Linear(d, d))

    def forward(self, z: Float[Tensor, "genes dim"]) -> Float[Tensor, "genes dim"]:
        return F.normalize(self.layers(z), dim=-1)


def alignment_loss(
    seq: Float[Tensor, "genes dim"], text: Float[Tensor, "genes dim"], temperature: float
) -> Float[Tensor, ""]:
    """Eq. 1 on unit rows: ``-mean_i log( exp(<s_i, t_i>/tau) / sum_j exp(<s_i, t_j>/tau) )``.

    Differs: the paper prints a sum without the logarithm.
    """
    return F.cross_entropy(seq @ text.T / temperature, torch.arange(len(seq), device=seq.device))


class Fusion(nn.Module):
    """Eq. 2: ``Z_fus = MLP([Z_seq ; Z_text])``; a learned placeholder stands in for a modality that a gene lacks."""

    def __init__(self, modalities: tuple[str, ...], d: int) -> None:
        super().__init__()
        self.modalities = modalities
        self.placeholder = nn.ParameterDict({m: nn.Parameter(torch.randn(d) * 0.1) for m in modalities})
        self.layers = nn.Sequential(
            nn.Linear(len(modalities) * d, d), nn.LayerNorm(d), nn.ReLU(inplace=True), nn.Linear(d, d)
        )

    def forward(
        self, z: dict[str, Float[Tensor, "genes dim"]], present: dict[str, Bool[Tensor, " genes"]]
    ) -> Float[Tensor, "genes dim"]:
        filled = [torch.where(present[m][:, None], z[m], self.placeholder[m]) for m in self.modalities]
        return self.layers(torch.cat(filled, dim=-1))
