"""Modalities that genes have or lack, and what is said about them."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.config import FeatureConfig
from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError
from grape_dgl.features import encode as module
from grape_dgl.features.encode import encode
from grape_dgl.features.kmer import spectrum


def genes(descriptions: list[str], sequences: list[str], measured: int) -> Genes:
    symbols = np.array([f"G{number}" for number in range(len(descriptions))])
    empty = np.full(len(symbols), "")
    return Genes(symbols, empty, empty, np.array(descriptions), tuple(sequences), measured)


@pytest.fixture(autouse=True)
def quick_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Letter counts stand for the language model."""
    real = module._encoder

    class Letters:
        source, dim, batch = {"encoder": "letters"}, 26, 4

        def encode(self, inputs: list[str]) -> np.ndarray:
            letters = "abcdefghijklmnopqrstuvwxyz"
            return np.array([[text.count(letter) for letter in letters] for text in inputs], dtype=np.float32)

    monkeypatch.setattr(module, "_encoder", lambda label, config: Letters() if label == "text" else real(label, config))


def test_both_modalities(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    some = genes(["aab", "", "c", ""], ["ACGT", "GGTA", "NNN", ""], 4)
    for _ in range(2):
        features = encode(some, FeatureConfig(kmer=3), tmp_path)
        assert list(features) == ["text", "seq"]
        assert features["text"].present.tolist() == [True, False, True, False]
        assert features["seq"].present.tolist() == [True, True, False, False]
        assert features["text"].values[0, :3].tolist() == [2, 1, 0] and not features["text"].values[1].any()
        np.testing.assert_array_equal(features["seq"].values[1], spectrum("GGTA", 3))
    for said in (
        "1 of 4 genes have no description or DNA sequence",
        "2 of 4 genes have no description",
        "2 of 4 genes have no DNA sequence",
    ):
        assert said in caplog.text


def test_a_modality_that_no_gene_has_is_dropped() -> None:
    assert list(encode(genes(["a", "b"], ["", ""], 2), FeatureConfig())) == ["text"]
    assert list(encode(genes(["", ""], ["A", "C"], 2), FeatureConfig())) == ["seq"]
    with pytest.raises(DataError, match="no gene has a description or DNA sequence"):
        encode(genes(["", ""], ["", "N"], 2), FeatureConfig())


def test_a_target_needs_a_modality() -> None:
    bare = genes(["a", "", ""], ["", "", ""], 2)
    with pytest.raises(DataError, match=r"1 perturbed genes \(G2\)"):
        encode(bare, FeatureConfig())
    with pytest.raises(DataError, match=r"2 perturbed genes \(G1, G2\)"):
        encode(bare, FeatureConfig(), targets=["G1"])
    assert encode(genes(["a", "", "b"], ["", "", ""], 2), FeatureConfig(), targets=["G0"])


def test_only_the_wanted_modalities_are_encoded_and_count(caplog: pytest.LogCaptureFixture) -> None:
    some = genes(["a", "", "b"], ["ACGT", "ACG", ""], 2)
    assert list(encode(some, FeatureConfig(kmer=2), only="text")) == ["text"]
    assert list(encode(some, FeatureConfig(kmer=2), only="seq")) == ["seq"]
    assert "no DNA sequence is known of 1 perturbed genes (G2): this model cannot tell them apart" in caplog.text
    with pytest.raises(DataError, match="no gene has a DNA sequence"):
        encode(genes(["a", "b"], ["", ""], 2), FeatureConfig(), only="seq")


def test_vectors_of_the_user_join_the_encoded_or_replace_them() -> None:
    some = genes(["a", "", ""], ["ACGT", "", ""], 3)
    values, has = np.array([[1, 2], [0, 0], [3, 4]], np.float32), np.array([True, False, True])
    brought = Features(values, has, {"encoder": "file"})
    both = encode(dataclasses.replace(some, vectors={"esm": brought}), FeatureConfig(kmer=2), targets=["G2"])
    assert list(both) == ["text", "seq", "esm"] and both["esm"] is brought
    instead = encode(dataclasses.replace(some, vectors={"text": brought}), FeatureConfig(kmer=2), targets=["G2"])
    assert list(instead) == ["seq", "text"] and instead["text"] is brought
    assert list(encode(dataclasses.replace(some, vectors={"esm": brought}), FeatureConfig(), only="text")) == ["text"]
    with pytest.raises(DataError, match=r"no description or DNA sequence or esm vector is known of 1 .*\(G1\)"):
        encode(dataclasses.replace(some, vectors={"esm": brought}), FeatureConfig(kmer=2), targets=["G1"])
    with pytest.raises(DataError, match="different lengths"):
        dataclasses.replace(some, vectors={"esm": Features(values[:2], has[:2], {})})


def test_relabelling_genes_only_relabels() -> None:
    order = [2, 0, 1]
    texts, sequences = ["a", "bb", "cab"], ["ACG", "TTT", ""]
    first = encode(genes(texts, sequences, 3), FeatureConfig())
    second = encode(genes([texts[i] for i in order], [sequences[i] for i in order], 3), FeatureConfig())
    for name in first:
        letters = slice(None) if name == "seq" else slice(0, 3)
        np.testing.assert_array_equal(second[name].values[:, letters], first[name].values[order][:, letters])
        np.testing.assert_array_equal(second[name].present, first[name].present[order])
