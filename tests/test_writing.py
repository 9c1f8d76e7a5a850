"""JSON as it is written, and folders whose files are replaced: whole or not at all, whatever stops it."""

from __future__ import annotations

import json
import multiprocessing
import os
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from grape_dgl.errors import DataError
from grape_dgl.writing import only_one, replacing, write_beside, write_json


def test_numbers_of_numpy_and_paths(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"sum": np.float32(1e4), "cells": np.int64(3), "file": Path("x"), "none": None})
    assert json.loads(path.read_text()) == {"sum": 1e4, "cells": 3, "file": "x", "none": None}


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mask_of_permissions_decides_who_may_read(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_beside(tmp_path / "a.safetensors", lambda path: save_file({"a": np.zeros(2)}, path))
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf")])
def test_what_is_not_finite_is_refused_and_the_old_file_stays(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": value})
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


PATTERNS = ("a*", "deep")


def old_run(folder: Path) -> dict[str, str]:
    """Three artefacts, and a file that is none."""
    (folder / "deep").mkdir(parents=True)
    for name in ("a1", "a2", "deep/b", "mine"):
        (folder / name).write_text(f"old {name}")
    return contents(folder)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def alone(folder: Path) -> bool:
    return [path.name for path in folder.parent.iterdir()] == [folder.name]


def replace(folder: Path, go_on: bool = False) -> AbstractContextManager[None]:
    run = folder / "run"
    return replacing(run, PATTERNS, complete=run / "a3", begun=run / "a0", go_on=go_on)


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    old_run(tmp_path / "run")
    with replace(tmp_path):
        assert contents(tmp_path / "run") == {"mine": "old mine"}
        (tmp_path / "run" / "a3").write_text("new")
    assert contents(tmp_path / "run") == {"a3": "new", "mine": "old mine"} and alone(tmp_path / "run")


@pytest.mark.parametrize(("ready", "kept"), [(False, "old"), (True, "new")])
def test_a_failure_brings_back_what_was_there_until_the_new_one_is_complete(
    tmp_path: Path, ready: bool, kept: str
) -> None:
    before = old_run(tmp_path / "run")
    with pytest.raises(KeyError), replace(tmp_path):
        (tmp_path / "run" / ("a3" if ready else "a1")).write_text("new")
        raise KeyError
    wanted = before if kept == "old" else {"a3": "new", "mine": "old mine"}
    assert contents(tmp_path / "run") == wanted and alone(tmp_path / "run")


def test_a_failure_leaves_no_folder_that_was_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyError), replace(tmp_path):
        (tmp_path / "run" / "a1").write_text("new")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_what_can_be_gone_on_with_stays_and_what_was_before_is_kept_until_it_is_complete(tmp_path: Path) -> None:
    before = old_run(tmp_path / "run")
    with pytest.raises(KeyError), replace(tmp_path):
        (tmp_path / "run" / "a0").write_text("begun")
        raise KeyError
    for _ in range(2):
        with pytest.raises(KeyError), replace(tmp_path, go_on=True):
            (tmp_path / "run" / "a4").write_text("more")
            raise KeyError
        assert contents(tmp_path / "run") == {"a0": "begun", "a4": "more", "mine": "old mine"}
    with pytest.raises(ValueError), replace(tmp_path):  # noqa: PT011 - begun anew, and it fails at once
        raise ValueError
    assert contents(tmp_path / "run") == before and alone(tmp_path / "run")
    with pytest.raises(KeyError), replace(tmp_path):
        (tmp_path / "run" / "a0").write_text("begun")
        raise KeyError
    with replace(tmp_path, go_on=True):
        (tmp_path / "run" / "a3").write_text("new")
    assert contents(tmp_path / "run") == {"a0": "begun", "a3": "new", "mine": "old mine"} and alone(tmp_path / "run")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("call", range(12))
def test_a_process_that_is_killed_anywhere_loses_nothing(
    tmp_path: Path, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before the n-th change of a name; the next one fails by itself, and the old run is there again."""
    before, calls = old_run(tmp_path / "run"), 0

    def dying(real):  # noqa: ANN001, ANN202
        def change(*given, **more):  # noqa: ANN002, ANN003, ANN202
            nonlocal calls
            if calls >= call:
                raise Killed
            calls += 1
            return real(*given, **more)

        return change

    with monkeypatch.context() as patch:
        for name in ("rename", "unlink", "rmdir", "mkdir"):
            patch.setattr(Path, name, dying(getattr(Path, name)))
        try:
            with replace(tmp_path):
                (tmp_path / "run" / "a1").write_text("half")
                raise KeyError
        except (Killed, KeyError):
            pass
    with pytest.raises(ValueError), replace(tmp_path):  # noqa: PT011
        raise ValueError
    assert contents(tmp_path / "run") == before and alone(tmp_path / "run")


def hold(folder: Path, entered: multiprocessing.Event, die: bool) -> None:  # type: ignore[valid-type]
    with only_one(folder):
        entered.set()  # type: ignore[attr-defined]
        if die:
            os._exit(9)
        multiprocessing.Event().wait(60)


def test_a_second_process_is_refused_and_a_crash_blocks_nobody(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for die in (False, True):
        entered = context.Event()
        process = context.Process(target=hold, args=(tmp_path / "run", entered, die))
        process.start()
        assert entered.wait(60)
        if not die:
            with pytest.raises(DataError, match="another process is writing"), only_one(tmp_path / "run"):
                pass
            process.kill()
        process.join(60)
        with only_one(tmp_path / "run"):
            pass
