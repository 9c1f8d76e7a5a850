"""GRAPE on DGL: how cells respond to gene perturbations, predicted through a learned graph of genes.

``import grape_dgl`` does nothing else: a public name loads its module (and torch with it) when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grape_dgl.config import Config
    from grape_dgl.data.annotation import Annotation
    from grape_dgl.data.genes import Genes
    from grape_dgl.data.read import read_screen
    from grape_dgl.data.screen import Screen
    from grape_dgl.data.splits import Split, make_split
    from grape_dgl.evaluation.evaluate import evaluate
    from grape_dgl.model import GRAPE
    from grape_dgl.pipeline import train
    from grape_dgl.run import Run, predict

    load = Run.load
    __version__: str

_PUBLIC = {
    # data
    "Screen": "grape_dgl.data.screen",
    "read_screen": "grape_dgl.data.read",
    "Genes": "grape_dgl.data.genes",
    "Annotation": "grape_dgl.data.annotation",
    "Split": "grape_dgl.data.splits",
    "make_split": "grape_dgl.data.splits",
    # model
    "Config": "grape_dgl.config",
    "GRAPE": "grape_dgl.model",
    # runs
    "Run": "grape_dgl.run",
    "train": "grape_dgl.pipeline",
    "load": "grape_dgl.run",
    "predict": "grape_dgl.run",
    "evaluate": "grape_dgl.evaluation.evaluate",
}

__all__ = [
    "GRAPE",
    "Annotation",
    "Config",
    "Genes",
    "Run",
    "Screen",
    "Split",
    "evaluate",
    "load",
    "make_split",
    "predict",
    "read_screen",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name == "__version__":
        value: Any = _version()
    elif name == "load":
        value = importlib.import_module(_PUBLIC[name]).Run.load
    elif name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    else:
        raise AttributeError(f"module 'grape_dgl' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("grape_dgl")
    except PackageNotFoundError:
        return "0+source"
