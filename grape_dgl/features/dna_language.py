"""DNA to vectors by a language model of transformers, in windows: HyenaDNA, Nucleotide Transformer, GENA-LM and others.

No such model ships with a package: it comes from a folder or the hub. Measure what its features are worth against k-mer
spectra.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from grape_dgl.errors import ConfigError, DataError
from grape_dgl.features.hub import Precision, find, silent
from grape_dgl.features.store import never_alone
from grape_dgl.features.windows import Span, TokenPooling, fresh, join, pool, spans

log = logging.getLogger("grape_dgl")

TOKENS = 4096
"""Tokens of one pass."""
PROBE = 5040
"""Bases that tell how many the tokenizer puts into a token; a multiple of every k up to 10."""
UNBOUNDED = 10**9
"""Longest input of a tokenizer that knows none."""


class _Model(NamedTuple):
    tokenizer: Any
    network: Any
    special: Tensor
    """Ids of tokens that stand for no base."""
    longest: int
    """Tokens of an input."""
    window: int
    stride: int


class DnaLanguageEncoder:
    """A language model over windows of a sequence, its hidden states pooled over the tokens of the bases.

    Args:
        model: a folder or a hub name.
        pooling: see `windows.join`. Tokens that stand for no base, such as [CLS] and [SEP], are left out. ``first`` is
            for comparison: in a causal model such as HyenaDNA the first token has seen a single base.
        window: bases of a window, 0 for as many as the model takes. A window whose tokens are more than the model takes
            (unknown bases, rare words) is halved; nothing is ever cut off.
        stride: bases from one window to the next, 0 for ``window`` (no overlap).
        precision: of weights and states; pooling is in float32 or better.
        remote_code: see `hub.find`.
    Only windows of equally many tokens share a pass, so there is no padding, which not every model could ignore.
    Raises DataError where the model cannot be read or does not know DNA.
    """

    batch = 16

    def __init__(
        self,
        model: str,
        pooling: TokenPooling,
        window: int = 0,
        stride: int = 0,
        precision: Precision = "fp32",
        remote_code: str = "",
    ) -> None:
        self.pooling, self.window, self.stride, self.precision = pooling, window, stride, precision
        self.files = find(model, "DNA", remote_code)
        self.dim = self.files.dim * (2 if pooling == "mean_std" else 1)
        self.source: Mapping[str, Any] = self.files.source(pooling, precision, window=window, stride=stride)
        if pooling == "first":
            log.warning(
                "pooling 'first': in a causal model such as HyenaDNA the first token has seen a single base and "
                "carries almost nothing; 'mean' or 'last' see the sequence"
            )

    @cached_property
    def _loaded(self) -> _Model:
        """Read when the first sequence is encoded."""
        tokenizer, network, longest = self.files.load(self.precision)
        names = ("cls", "sep", "bos", "eos", "pad", "mask")
        special = {getattr(tokenizer, f"{name}_token_id", None) for name in names} - {None}
        probe = "".join(np.random.default_rng(0).choice(list("ACGT"), PROBE))
        with silent():
            tokens = tokenizer(probe)["input_ids"]
        bases = len([token for token in tokens if token not in special])
        if not bases or tokenizer.unk_token_id in set(tokens) - special:
            raise DataError(
                f"the tokenizer of the DNA model '{self.files.name}' does not know A, C, G, T; "
                "expected a language model of DNA"
            )
        room = longest - (len(tokens) - bases)
        most = room * PROBE // bases
        if room < 1 or (not self.window and longest >= UNBOUNDED):
            raise ConfigError(
                f"DNA model '{self.files.name}' does not say how long its input may be; "
                "set features.window to the bases that it takes, such as 1000"
            )
        window = self.window or most
        if self.stride > window:
            raise ConfigError(
                f"setting 'features.stride' is {self.stride}; expected at most {window}, the bases of a window "
                f"of '{self.files.name}', since the bases between windows would be lost"
            )
        return _Model(tokenizer, network, torch.tensor(sorted(special)), longest, window, self.stride or window)

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]"""
        cut = [self._windows(sequence) for sequence in inputs]
        pooled = self._pooled([tokens for _, windows in cut for tokens in windows])
        ends = accumulate((len(windows) for windows, _ in cut), initial=0)
        rows = [
            join(pooled[start:end], torch.tensor(fresh(windows)), self.pooling)
            for (start, end), (windows, _) in zip(pairwise(ends), cut, strict=True)
        ]
        return torch.stack(rows).float().numpy()

    def _windows(self, sequence: str) -> tuple[list[Span], list[list[int]]]:
        """Windows that the model takes, and their tokens."""
        model = self._loaded
        windows = spans(len(sequence), model.window, model.stride)
        while True:
            with silent():
                tokens = model.tokenizer([sequence[start:end] for start, end in windows])["input_ids"]
            fits = [len(ids) <= model.longest for ids in tokens]
            if all(fits):
                return windows, tokens
            windows = [half for window, fit in zip(windows, fits, strict=True) for half in _halves(*window, fit)]

    @torch.inference_mode()
    def _pooled(self, windows: Sequence[Sequence[int]]) -> Tensor:
        """float64 [windows, parts], each window's tokens pooled."""
        rows = dict[int, Tensor]()
        order = sorted(range(len(windows)), key=lambda number: len(windows[number]))
        for length, same in groupby(order, key=lambda number: len(windows[number])):
            numbers, size = list(same), max(TOKENS // length, 1)
            for start in range(0, len(numbers), size):
                some = numbers[start : start + size]
                tokens = torch.tensor(never_alone([list(windows[number]) for number in some]))
                states = self._states(tokens)[: len(some)]
                tokens = tokens[: len(some)]
                for number, own, keep in zip(some, states, ~torch.isin(tokens, self._loaded.special), strict=True):
                    rows[number] = pool(own[keep].double(), self.pooling)
        return torch.stack([rows[number] for number in range(len(windows))])

    def _states(self, tokens: Tensor) -> Tensor:
        """[windows, tokens, dim]"""
        network = self._loaded.network
        if hasattr(network, "set_attention_type"):  # BigBird keeps to full attention after a short input
            network.set_attention_type(network.config.attention_type)
        return self.files.states(network, {"input_ids": tokens})


def _halves(start: int, end: int, fits: bool) -> list[Span]:
    middle = (start + end) // 2
    return [(start, end)] if fits else [(start, middle), (middle, end)]
