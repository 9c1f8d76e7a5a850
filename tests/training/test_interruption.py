"""Signals in this process: what stands before is there again, and what was finished is kept."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import grape_dgl.pipeline as pipeline
from grape_dgl.config import Config
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.catalog import resolve
from grape_dgl.data.read import read_screen
from grape_dgl.run import Run
from grape_dgl.training.interruption import Interruption

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
SMALL = [
    "features.kmer=2", "model.hidden=16", "model.width=4", "model.heads=2", "structure.heads=2", "alignment.epochs=1",
    "training.epochs=1", "training.device=cpu",
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_and_second_signal(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), Interruption() as interruption:
        assert not interruption.received
        os.kill(os.getpid(), number)
        assert interruption.received
        os.kill(os.getpid(), number)
        pytest.fail("the second signal did not stop it")
    assert signal.getsignal(number) is before


def trained(folder: Path, cache: Path, **training: Any) -> Run:
    source = resolve("demo:genes=40,conditions=12,cells=900", cache=cache)
    screen = read_screen(source.path, annotation=Annotation.from_files(source.annotation, source.sequences))
    return pipeline.train(screen, folder, Config.resolve(settings=SMALL, training=training), cache=cache)


def test_handlers_are_as_before_after_a_training(tmp_path: Path) -> None:
    """Lightning sets some of its own."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trained(tmp_path / "run", tmp_path)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_between_members_keeps_those_that_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    align, calls = pipeline.align, []

    def interrupted(*args: Any) -> list[float]:
        calls.append(args)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return align(*args)

    monkeypatch.setattr(pipeline, "align", interrupted)
    run = trained(tmp_path / "run", tmp_path, ensemble=3)
    assert len(calls) == 2 and len(run.ensemble.members) == 1
    assert len(Run.load(tmp_path / "run").ensemble.members) == 1
    assert (tmp_path / "run" / "metrics.json").exists()
