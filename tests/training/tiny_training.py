"""The tiny screen that trainings are tried on."""

from __future__ import annotations

from pathlib import Path

from grape_dgl.training.fit import FitFiles

NAMES = ("G00", "G01", "G00+G02", "G03")
TRAIN, VAL = ("G00", "G00+G02", "G01"), ("G03",)


def files(folder: Path) -> FitFiles:
    return FitFiles(folder / "w.safetensors", folder / "log.csv", folder / "progress.safetensors")
