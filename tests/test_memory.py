"""The largest tensors of a training step; and what a process does with memory that is free again."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import small
import torch
from engines import ENGINES
from speed import plain
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from grape_dgl.engine import Engine
from grape_dgl.losses import structure_loss
from grape_dgl.memory import KEEP
from grape_dgl.model import GRAPE, GeneInputs

RESIDENT_AFTER_FREEING = """
import re, sys
from pathlib import Path
import numpy as np
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) // 1024
before = resident()
large = np.ones(100 * 2**17)
del large
print(resident() - before, file=sys.stderr)
"""

AFTER_A_COMMAND = """
import subprocess, sys
from grape_dgl.cli import main
_, measure, where, *flags = sys.argv
main([*flags, "datasets", "list", "--json"])
if where == "itself":
    exec(measure)
else:
    subprocess.run([sys.executable, "-c", measure], check=True)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")


class Largest(TorchDispatchMode):
    """Of all tensors that operations return, forward and backward."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        strided = (leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided)
        sizes = [leaf.numel() for leaf in strided]  # a sparse matrix holds tensors that are counted by themselves
        self.numbers = max([self.numbers, *sizes])
        return out


def a_step(model: GRAPE, genes: GeneInputs) -> torch.Tensor:
    z = model.represent(genes)
    structure = model.learn_graph(z, refresh=True)
    change = model.propagate(model.graph(structure.pairs, genes.coding), z.fused, [(0,), (5, 7)])
    return change.square().sum() + structure_loss(structure)


def dense_matrices(model: GRAPE, genes: GeneInputs) -> torch.Tensor:
    return plain.dense_structure(model, model.represent(genes)).regulariser


@pytest.mark.parametrize(("of", "dense"), [(a_step, False), (dense_matrices, True)])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_training_step_makes_no_tensor_of_genes_times_genes(
    engine: Engine, of: Callable[[GRAPE, GeneInputs], torch.Tensor], dense: bool
) -> None:
    """Of 3,000 genes, which the search compares in blocks of 256; the plain computation is seen to make one."""
    genes = small.inputs(3000, dtype=torch.float32)
    model = small.model(engine, dtype=torch.float32, genes=genes).train()
    with Largest() as largest:
        of(model, genes).backward()
    assert (largest.numbers >= len(genes) ** 2) == dense
    assert dense or largest.numbers < len(genes) ** 2 / 4


@needs_glibc
@pytest.mark.parametrize(("flags", "kept"), [((), False), (("--keep-memory",), True)])
@pytest.mark.parametrize("where", ["itself", "a process that it starts"])
def test_a_freed_buffer_stays_only_where_it_is_wanted(where: str, flags: tuple[str, ...], kept: bool) -> None:
    """A buffer of 100 MB, after a command."""
    plain = {name: value for name, value in os.environ.items() if name not in KEEP}
    command = [sys.executable, "-c", AFTER_A_COMMAND, RESIDENT_AFTER_FREEING, where, *flags]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    assert (int(done.stderr.splitlines()[-1]) > 90) == kept
