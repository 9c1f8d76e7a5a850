"""Where a training is: after every epoch, all that the next one depends on, in one safetensors file.

A training that goes on from it ends with the same weights, bit for bit on a CPU, as one that was never stopped. The
cells of an epoch depend on its number and the seed; what dropout draws from is in the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from grape_dgl.errors import ModelError
from grape_dgl.training.weights import write_tensors


@dataclass(frozen=True)
class Progress:
    """Of the member of an ensemble that is trained: log rows, the best epoch, and what it was started with."""

    member: int
    history: list[dict[str, float]]
    best: float
    best_epoch: int
    best_penalty: float
    started_with: Mapping[str, str]
    """What must be the same to go on, by name."""

    @property
    def epochs(self) -> int:
        """That are done."""
        return len(self.history)


def write_progress(path: Path, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """``model`` as it is, not as it was in its best epoch, and torch's random state."""
    tensors = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    tensors["random"] = torch.get_rng_state()
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.clone() for name, value in state.items()}
    facts = {"progress": json.dumps(asdict(progress))}
    write_tensors(path, lambda beside: save_file(tensors, beside, facts), durable=True)


def read_progress(path: Path) -> Progress | None:
    """None where there is none; ModelError where it is damaged."""
    if not path.exists():
        return None
    found, _ = _read(path, tensors=False)
    return found


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Fill ``model`` and ``optimizer``, and set torch's random state."""
    progress, tensors = _read(path, tensors=True)
    own = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    states: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, part = name.split(".")
            states.setdefault(int(number), {})[part] = value
    try:
        model.load_state_dict(own)
        optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(tensors["random"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(_damaged(path, error)) from error
    return progress


def _read(path: Path, tensors: bool) -> tuple[Progress, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads(file.metadata()["progress"])
            found = {name: file.get_tensor(name) for name in file.keys()} if tensors else {}  # noqa: SIM118
        return Progress(**facts), found
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return f"cannot go on from '{path}': {reason}; the file is damaged: train again without --resume"
