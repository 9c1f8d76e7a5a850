"""Weights on disk: safetensors, written beside and renamed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from grape_dgl.errors import ModelError
from grape_dgl.writing import write_beside


def write_tensors(path: Path, write: Callable[[Path], object], durable: bool = False) -> None:
    """:func:`write_beside` of safetensors, whose error on a full disk is no OSError; here it is a ModelError."""
    try:
        write_beside(path, write, durable)
    except SafetensorError as error:
        raise ModelError(f"cannot write '{path}': {error}") from error


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all parameters and buffers of ``model``; modules that two relations share are stored once."""
    write_tensors(path, lambda beside: save_model(model, str(beside)))


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model``; ModelError where the file is missing, damaged or belongs to another model."""
    try:
        load_model(model, str(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"cannot load the weights '{path}': {reason}; the run folder is incomplete or altered"
        ) from error
