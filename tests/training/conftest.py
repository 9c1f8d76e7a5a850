"""A screen and its genes, small enough to train on in a second."""

from __future__ import annotations

import pytest
import small
import torch
from evaluation.screens import simulated
from tiny_training import NAMES

from grape_dgl.data.screen import Screen
from grape_dgl.model import GeneInputs


@pytest.fixture(scope="module")
def screen() -> Screen:
    return simulated(NAMES)


@pytest.fixture(scope="module")
def genes() -> GeneInputs:
    return small.inputs(60, dtype=torch.float32)
