"""DNA to vectors by CI-SpliceAI, a convolutional network for human splice sites, as plain torch.

Strauch et al. 2022, "CI-SpliceAI - Improving machine learning predictions of disease causing splicing variants using
curated alternative splice sites" (weights: CC BY 4.0, from the package cispliceai), in the architecture of
SpliceAI-10k (Jaganathan et al. 2019). It is not a language model of DNA: measure what its features are worth against
k-mer spectra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from grape_dgl.errors import ConfigError
from grape_dgl.features.frozen_graph import constant, read_nodes
from grape_dgl.features.hub import Precision, dtype
from grape_dgl.features.packaged import packaged_file
from grape_dgl.features.store import never_alone
from grape_dgl.features.windows import TokenPooling

SHA256 = "34330c2fd844f73cbf2f8acef85f519cabc4350016e6f19ac2b935aa53b43d06"
NETWORKS, CHANNELS = 5, 32
GROUPS = ((11, 1), (11, 4), (21, 10), (41, 25))
"""(kernel, dilation) of the four groups of four residual blocks."""
REACH = sum(8 * dilation * (kernel - 1) // 2 for kernel, dilation in GROUPS)
"""5,000 bases on either side decide about the state of a base."""
CHUNK = 50_000
"""Bases of one pass."""


@dataclass(frozen=True)
class Island:
    """States of a sequence that lies in an endless sea of N: those near it, and the one state that all others share."""

    near: Float[Tensor, "batch channels positions"]
    """The sequence and ``margin`` positions on either side."""
    sea: Float[Tensor, "1 channels 1"]
    margin: int

    def map(self, function: Callable[[Tensor], Tensor]) -> Island:
        return Island(function(self.near), function(self.sea), self.margin)

    def resize(self, margin: int) -> Island:
        """More margin is sea, less is cut off."""
        more = margin - self.margin
        if more <= 0:
            return Island(self.near[..., -more : self.near.shape[-1] + more], self.sea, margin)
        side = self.sea.expand(len(self.near), -1, more)
        return Island(torch.cat([side, self.near, side], -1), self.sea, margin)

    def convolve(self, conv: nn.Conv1d, margin: int) -> Island:
        """The convolution at the sequence and ``margin`` positions on either side."""
        radius = conv.dilation[0] * (conv.kernel_size[0] - 1) // 2
        sea = nn.functional.conv1d(self.sea, conv.weight.sum(-1, keepdim=True), conv.bias)
        return Island(conv(self.resize(margin + radius).near), sea, margin)

    def __add__(self, other: Island) -> Island:
        """Both of the same margin."""
        return Island(self.near + other.near, self.sea + other.sea, self.margin)


class Block(nn.Module):
    """Batch norm, ReLU, convolution, twice, around a residual connection."""

    def __init__(self, kernel: int, dilation: int) -> None:
        super().__init__()
        self.radius = dilation * (kernel - 1) // 2
        self.norm1, self.norm2 = nn.BatchNorm1d(CHANNELS, eps=1e-3), nn.BatchNorm1d(CHANNELS, eps=1e-3)
        self.conv1 = nn.Conv1d(CHANNELS, CHANNELS, kernel, dilation=dilation)
        self.conv2 = nn.Conv1d(CHANNELS, CHANNELS, kernel, dilation=dilation)

    def forward(self, x: Island, reached: int) -> Island:
        """``reached``: radius of the layers before."""
        first, second = (_needed(reached + layers * self.radius) for layers in (1, 2))
        h = x.map(self.norm1).map(torch.relu).convolve(self.conv1, first)
        return h.map(self.norm2).map(torch.relu).convolve(self.conv2, second) + x.resize(second)


def _needed(reached: int) -> int:
    """Margin within which a position can differ from the sea and still matter to the sequence."""
    return min(reached, REACH - reached)


class SpliceNetwork(nn.Module):
    """One of the five networks. A base is seen in its context; beyond the ends of the sequence are only N.

    That is what the padded and cropped form of the original computes. Here a position is computed only where it can
    differ from the sea and still matter: after layers of total radius ``r`` the sequence reaches ``r`` positions out,
    and only positions within ``REACH - r`` matter to what follows.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Conv1d(4, CHANNELS, 1)
        self.blocks: Any = nn.ModuleList([Block(*group) for group in GROUPS for _ in range(4)])
        self.skips: Any = nn.ModuleList([nn.Conv1d(CHANNELS, CHANNELS, 1) for _ in range(len(GROUPS) + 1)])
        self.exit = nn.Conv1d(CHANNELS, 3, 1)

    def forward(self, bases: Float[Tensor, "batch 4 bases"]) -> Float[Tensor, "batch channels bases"]:
        """The sum of the skip channels for every base (the state before the splice-site read-out)."""
        x = Island(bases, bases.new_zeros(1, 4, 1), 0).convolve(self.entry, 0)
        total, reached = x.convolve(self.skips[0], 0), 0
        for number, block in enumerate(self.blocks, start=1):
            x = block(x, reached)
            reached += 2 * block.radius
            if number % 4 == 0:
                total = total + x.resize(0).convolve(self.skips[number // 4], 0)
        return total.near

    def sites(self, channels: Float[Tensor, "batch channels bases"]) -> Float[Tensor, "batch 3 bases"]:
        """Probabilities of no site, acceptor and donor."""
        return self.exit(channels).softmax(1)


def load_networks() -> list[SpliceNetwork]:
    """The five trained networks. Raises DataError where the package cispliceai is missing or differs."""
    path = packaged_file("cispliceai", "data/CI-SpliceAI.pb", SHA256, "'grape_dgl[dna]'")
    values = {node.name: constant(node) for node in read_nodes(path) if node.operation == "Const"}
    return [_network(values, f"_{number}" if number else "") for number in range(NETWORKS)]


@torch.no_grad()
def _network(values: Mapping[str, np.ndarray], suffix: str) -> SpliceNetwork:
    """Layers are numbered in the order they were made; the k-th network's operations end in ``_k``."""
    network = SpliceNetwork()
    convs: list[nn.Conv1d] = [network.entry, network.skips[0]]
    norms: list[Any] = []
    for number, block in enumerate(network.blocks, start=1):
        norms += [block.norm1, block.norm2]
        convs += [block.conv1, block.conv2]
        if number % 4 == 0:
            convs.append(network.skips[number // 4])
    for number, conv in enumerate([*convs, network.exit], start=1):
        layer = f"model_1/conv1d_{number}"
        kernel = values[f"{layer}/conv1d{suffix}/ExpandDims_1/ReadVariableOp/resource"]  # [width in out]
        conv.weight.copy_(torch.tensor(kernel.transpose(2, 1, 0)))
        cast(Tensor, conv.bias).copy_(torch.tensor(values[f"{layer}/BiasAdd{suffix}/ReadVariableOp/resource"]))
    for number, norm in enumerate(norms, start=1):
        layer = f"model_1/batch_normalization_{number}/batchnorm{suffix}"
        norm.weight.copy_(torch.tensor(values[f"{layer}/mul/ReadVariableOp/resource"]))
        norm.bias.copy_(torch.tensor(values[f"{layer}/ReadVariableOp_2/resource"]))
        norm.running_mean.copy_(torch.tensor(values[f"{layer}/ReadVariableOp_1/resource"]))
        norm.running_var.copy_(torch.tensor(values[f"{layer}/ReadVariableOp/resource"]))
    return network.eval()


def one_hot(sequences: Sequence[str]) -> Float[Tensor, "sequences 4 bases"]:
    """Sequences of equal length as A, C, G, T rows; any other base is zero in all of them."""
    codes = np.frombuffer("".join(sequences).encode(), dtype=np.uint8).reshape(len(sequences), 1, -1)
    return torch.tensor(codes == np.frombuffer(b"ACGT", dtype=np.uint8)[:, None], dtype=torch.float32)


class SpliceEncoder:
    """Mean (and standard deviation) over the bases of the 32 skip channels of each network: [160] or [320]."""

    batch = 16

    def __init__(self, pooling: TokenPooling, precision: Precision = "fp32") -> None:
        """Raises ConfigError for another pooling than mean and mean_std."""
        if pooling not in ("mean", "mean_std"):
            raise ConfigError(f"setting 'features.dna_pooling' is '{pooling}'; CI-SpliceAI has mean and mean_std")
        self.pooling, self.precision = pooling, precision
        self.dim = NETWORKS * CHANNELS * (2 if pooling == "mean_std" else 1)
        self.source: Mapping[str, Any] = {
            "encoder": f"cispliceai-{pooling}",
            "model": "CI-SpliceAI",
            "sha256": SHA256,
            "pooling": pooling,
            **({"precision": precision} if precision != "fp32" else {}),
        }

    @cached_property
    def _networks(self) -> list[SpliceNetwork]:
        kind = dtype(self.precision)
        return [network.to(kind) for network in load_networks()]

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]: network by network, the means before the deviations."""
        groups = [list(same) for _, same in groupby(inputs, key=len)]
        return np.concatenate([self._pooled(never_alone(same))[: len(same)] for same in groups])

    @torch.inference_mode()
    def _pooled(self, sequences: list[str]) -> np.ndarray:
        """Sequences of equal length, in chunks that carry the context of their bases: exact for any length."""
        length, parts = len(sequences[0]), list[Tensor]()
        for network in self._networks:
            kind = network.entry.weight.dtype
            total = torch.zeros(2, len(sequences), CHANNELS, dtype=torch.float64)  # sums of states and of their squares
            for start in range(0, length, CHUNK):
                first = max(start - REACH, 0)
                bases = one_hot([sequence[first : start + CHUNK + REACH] for sequence in sequences]).to(kind)
                states = network(bases)[..., start - first : start - first + CHUNK].double()
                total += torch.stack([states.sum(-1), states.square().sum(-1)])
            mean, square = total / length
            parts += [mean, (square - mean.square()).clamp_min(0).sqrt()] if self.pooling == "mean_std" else [mean]
        return torch.cat(parts, 1).float().numpy()
