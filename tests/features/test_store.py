"""The cache: nothing is encoded twice, and a damaged file costs time only."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError
from grape_dgl.features import store
from grape_dgl.features.store import FILE, encode_all


class Lengths:
    """Encodes a text as (its length, its first letter); remembers what it was asked."""

    dim, batch = 2, 2

    def __init__(self, version: int = 1) -> None:
        self.source = {"encoder": "lengths", "version": version}
        self.asked: list[str] = []

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        self.asked += inputs
        if "boom" in inputs:
            raise KeyboardInterrupt
        return np.array([[len(text), ord(text[0])] for text in inputs], dtype=np.float32)


TEXTS = ["abc", "", "de", "abc", "f"]
EXPECTED = [[3, 97], [0, 0], [2, 100], [3, 97], [1, 102]]


def test_rows_are_those_of_the_inputs_and_kept(tmp_path: Path) -> None:
    first, second = Lengths(), Lengths()
    assert encode_all(TEXTS, first, tmp_path, "text").tolist() == EXPECTED
    assert sorted(first.asked) == ["abc", "de", "f"]
    again = encode_all([*TEXTS, "new"], second, tmp_path, "text")
    assert again.tolist() == [*EXPECTED, [3, 110]] and second.asked == ["new"] and again.dtype == np.float32
    assert len(list(tmp_path.iterdir())) == 1


def test_without_cache_and_with_nothing_to_do(tmp_path: Path) -> None:
    assert encode_all(TEXTS, Lengths(), None, "text").tolist() == EXPECTED
    assert encode_all(["", ""], Lengths(), tmp_path / "none", "text").tolist() == [[0, 0], [0, 0]]
    assert not (tmp_path / "none").exists()


def test_another_encoder_has_other_vectors_in_the_same_file(tmp_path: Path) -> None:
    for version in (1, 2):
        encoder = Lengths(version)
        encode_all(TEXTS, encoder, tmp_path, "text")
        assert len(encoder.asked) == 3
    encoder = Lengths(1)
    assert encode_all(TEXTS, encoder, tmp_path, "seq").tolist() == EXPECTED and not encoder.asked
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", [b"\x00" * 5000, b"hello" * 200, b"SQLite format 3\x00" + b"x" * 999])
def test_a_file_that_is_no_store_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    for asked in (3, 0):
        encoder = Lengths()
        assert encode_all(TEXTS, encoder, tmp_path, "text").tolist() == EXPECTED and len(encoder.asked) == asked
    assert caplog.text.count("is damaged") == 1
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == content


def test_no_damage_gives_a_wrong_vector(tmp_path: Path) -> None:
    """Wherever the file is cut or overwritten."""
    encode_all(TEXTS, Lengths(), tmp_path, "text")
    path = tmp_path / FILE
    whole = path.read_bytes()
    for start in range(0, len(whole), 500):
        for damaged in (whole[:start], whole[:start] + b"\x07" * 500 + whole[start + 500 :]):
            path.write_bytes(damaged)
            assert encode_all(TEXTS, Lengths(), tmp_path, "text").tolist() == EXPECTED, start


def test_a_vector_that_is_not_whole_is_encoded_again(tmp_path: Path) -> None:
    encode_all(TEXTS, Lengths(), tmp_path, "text")
    with sqlite3.connect(tmp_path / FILE) as database:
        key = hashlib.sha256(b"de").digest()
        database.execute("UPDATE vector SET value = ? WHERE input = ?", (b"1234", key))
    encoder = Lengths()
    assert encode_all(TEXTS, encoder, tmp_path, "text").tolist() == EXPECTED and encoder.asked == ["de"]


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_all(["long text", "longer text", "boom"], Lengths(), tmp_path, "text")
    encoder = Lengths()
    encode_all(["long text", "longer text"], encoder, tmp_path, "text")
    assert not encoder.asked


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "grape_dgl"):
        assert encode_all(TEXTS, Lengths(), tmp_path / "file", "text").tolist() == EXPECTED
    assert "without it" in caplog.text


def test_a_store_that_stops_working_costs_its_use_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the file for longer than anybody waits."""
    monkeypatch.setattr(store, "WAIT", 0.05)

    class Holding(Lengths):
        def encode(self, inputs: Sequence[str]) -> np.ndarray:
            holder.execute("BEGIN EXCLUSIVE")
            return super().encode(inputs)

    encode_all(["old"], Lengths(), tmp_path, "text")
    holder = sqlite3.connect(tmp_path / FILE)
    assert encode_all(["abc", "de"], Holding(), tmp_path, "text").tolist() == [[3, 97], [2, 100]]
    assert "locked" in caplog.text and "without it" in caplog.text
    holder.close()


def test_two_processes_share_the_file_and_a_killed_one_damages_nothing(tmp_path: Path) -> None:
    """Two writers, one of them killed again and again: in the end all is there and each vector is right."""
    code = """
import sys, time, numpy as np, pathlib
from grape_dgl.features.store import encode_all
class Slow:
    source, dim, batch = {"encoder": "slow"}, 4, 1
    def encode(self, inputs):
        time.sleep(0.002)
        return np.array([[len(t), *map(ord, t[:3])] for t in inputs], dtype=np.float32)
texts = [f"{i:03d}" + "x" * i for i in range(150)]
rows = encode_all(texts, Slow(), pathlib.Path(sys.argv[1]), "text")
assert all(row.tolist() == [len(t), *map(ord, t[:3])] for row, t in zip(rows, texts))
"""
    run = [sys.executable, "-c", code, str(tmp_path)]
    steady = subprocess.Popen(run)
    draw = np.random.default_rng(0)
    for _ in range(4):
        victim = subprocess.Popen(run)
        time.sleep(draw.uniform(0.1, 0.8))
        victim.kill()
        victim.wait()
    assert steady.wait() == 0
    assert subprocess.run(run, check=False).returncode == 0
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT COUNT(*) FROM vector").fetchone() == (150,)


def test_features_are_checked() -> None:
    with pytest.raises(DataError, match="expected \\[genes, d\\]"):
        Features(np.zeros((3, 2), np.float32), np.ones(2, bool), {})
    with pytest.raises(DataError, match="not finite"):
        Features(np.full((2, 2), np.nan, np.float32), np.ones(2, bool), {"encoder": "x"})
