"""The cache: nothing is encoded twice, and a damaged file costs time only."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.errors import DataError
from grape_dgl.features.store import Features, encode_all


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


def test_another_encoder_or_modality_has_another_file(tmp_path: Path) -> None:
    for version, label in ((1, "text"), (2, "text"), (2, "seq")):
        encoder = Lengths(version)
        encode_all(TEXTS, encoder, tmp_path, label)
        assert encoder.asked
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "noise", "other"])
def test_a_damaged_file_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    encode_all(TEXTS, Lengths(), tmp_path, "text")
    (path,) = tmp_path.iterdir()
    if damage == "other":
        encode_all(TEXTS, Lengths(2), tmp_path / "other", "text")
        (other,) = (tmp_path / "other").iterdir()
        path.write_bytes(other.read_bytes())
    else:
        path.write_bytes(path.read_bytes()[:-20] if damage == "cut" else b"\x00" * 5000)
    encoder = Lengths()
    assert encode_all(TEXTS, encoder, tmp_path, "text").tolist() == EXPECTED
    assert len(encoder.asked) == 3 and "encoded again" in caplog.text
    caplog.clear()
    encoder = Lengths()
    encode_all(TEXTS, encoder, tmp_path, "text")
    assert not encoder.asked and not caplog.text


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_all(["long text", "longer text", "boom"], Lengths(), tmp_path, "text")
    encoder = Lengths()
    encode_all(["long text", "longer text"], encoder, tmp_path, "text")
    assert not encoder.asked and not list(tmp_path.glob("*.part"))


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "grape_dgl"):
        assert encode_all(TEXTS, Lengths(), tmp_path / "file", "text").tolist() == EXPECTED
    assert "without it" in caplog.text


def test_features_are_checked() -> None:
    with pytest.raises(DataError, match="expected \\[genes, d\\]"):
        Features(np.zeros((3, 2), np.float32), np.ones(2, bool), {})
    with pytest.raises(DataError, match="not finite"):
        Features(np.full((2, 2), np.nan, np.float32), np.ones(2, bool), {"encoder": "x"})
