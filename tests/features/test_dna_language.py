"""DNA language models of four kinds, saved by the test, against the model itself window by window."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import bert, gena_lm, hyena, nucleotide_transformer, own_modules

from grape_dgl.config import FeatureConfig
from grape_dgl.errors import ConfigError, DataError
from grape_dgl.features.dna_language import DnaLanguageEncoder
from grape_dgl.features.encode import _encoder
from grape_dgl.features.hub import find
from grape_dgl.features.windows import fresh, spans

POOLINGS = ("mean_std", "mean", "max", "first", "last")
Maker = Callable[..., DnaLanguageEncoder]


def draw(length: int, seed: int, bases: str = "ACGT") -> str:
    return "".join(np.random.default_rng(seed).choice(list(bases), length))


SEQUENCES = [draw(500, 0), draw(7, 1), draw(34, 2, "ACGTN"), draw(90, 3), "A", draw(34, 4)]


@pytest.fixture(scope="module", params=["nucleotide", "bigbird", "bert", "hyena"])
def maker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Makes encoders of one model."""
    folder = tmp_path_factory.mktemp("models") / request.param
    if request.param != "hyena":
        {"nucleotide": nucleotide_transformer, "bigbird": gena_lm, "bert": bert}[request.param](folder)
        return lambda *settings: DnaLanguageEncoder(str(folder), *settings)
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    own_modules(patch, folder.parent / "modules")
    hyena(folder, folder.parent / "marker")
    code = wanted(folder)
    return lambda *settings: DnaLanguageEncoder(str(folder), *settings, remote_code=code)


def wanted(folder: Path) -> str:
    """The value that the message about a wrong one names."""
    with pytest.raises(ConfigError, match="now [0-9a-f]{64}") as error:
        find(str(folder), "DNA", "0" * 64)
    return str(error.value)[-64:]


@torch.inference_mode()
def slowly(encoder: DnaLanguageEncoder, sequence: str) -> np.ndarray:
    """One window after the other through the model as it was loaded, pooled in numpy; no window needs halving."""
    model = encoder._loaded
    cuts = spans(len(sequence), model.window, model.stride)
    windows = []
    for start, end in cuts:
        if hasattr(model.network, "set_attention_type"):
            model.network.set_attention_type("block_sparse")
        ids = model.tokenizer(sequence[start:end])["input_ids"]
        assert len(ids) <= model.longest
        states = model.network(input_ids=torch.tensor([ids])).last_hidden_state[0].double().numpy()
        words = model.tokenizer.convert_ids_to_tokens(ids)
        outside = ("<cls>", "[CLS]", "[SEP]", "<pad>", "[PAD]")
        windows.append(states[[word not in outside for word in words]])
    if encoder.pooling in ("mean", "mean_std"):
        weights = np.concatenate(
            [np.full(len(x), share / len(x)) for x, share in zip(windows, fresh(cuts), strict=True)]
        )
        every = np.concatenate(windows)
        mean = np.average(every, 0, weights)
        std = np.sqrt(np.average((every - mean) ** 2, 0, weights))
        return np.concatenate([mean, std]) if encoder.pooling == "mean_std" else mean
    if encoder.pooling == "max":
        return np.concatenate(windows).max(0)
    return windows[0][0] if encoder.pooling == "first" else windows[-1][-1]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("window", "stride"), [(0, 0), (25, 0), (25, 10)])
def test_as_the_model_window_by_window(maker: Maker, pooling: str, window: int, stride: int) -> None:
    if not window:  # here unknown bases and rare words need no halving
        sequences = [SEQUENCES[1], SEQUENCES[4], SEQUENCES[5][:25]]
        sequences += [draw(500, 5)] if maker("mean")._loaded.longest > 64 else []
    else:
        sequences = SEQUENCES
    encoder = maker(pooling, window, stride)
    rows = encoder.encode(sequences)
    assert rows.shape == (len(sequences), encoder.dim) and rows.dtype == np.float32
    for row, sequence in zip(rows, sequences, strict=True):
        np.testing.assert_allclose(row, slowly(encoder, sequence), atol=2e-6)


def test_a_row_is_its_sequence_s_own(maker: Maker) -> None:
    """Neither order nor company matters, and different sequences differ."""
    encoder = maker("mean_std")
    rows = encoder.encode(SEQUENCES)
    np.testing.assert_allclose(encoder.encode(SEQUENCES[::-1]), rows[::-1], atol=2e-6)
    for row, sequence in zip(rows, SEQUENCES, strict=True):
        np.testing.assert_allclose(encoder.encode([sequence])[0], row, atol=2e-6)
    distances = np.abs(rows[:, None] - rows).max(-1) + np.eye(len(rows))
    assert distances.min() > 1e-3


def test_a_base_anywhere_matters(maker: Maker) -> None:
    """No base is cut off: changing the last, or one inside, changes the mean."""
    encoder = maker("mean")
    sequence = SEQUENCES[0]
    for place in (499, 260, 0):
        other = sequence[:place] + ("A" if sequence[place] != "A" else "C") + sequence[place + 1 :]
        first, second = encoder.encode([sequence, other])
        assert np.abs(first - second).max() > 1e-5


def test_source_and_bf16(maker: Maker) -> None:
    plain, half = maker("mean", 25, 10), maker("mean", 25, 10, "bf16")
    assert plain.source | {"precision": "bf16"} == half.source
    assert {"encoder", "model", "sha256", "pooling", "window", "stride"} == set(plain.source)
    first, second = plain.encode(SEQUENCES), half.encode(SEQUENCES)
    assert 0 < np.abs(first - second).max() < 0.1 * np.abs(first).max()


def test_windows_with_too_many_tokens_are_halved(tmp_path: Path) -> None:
    """Of six-mers 234 bases fit, of N only 39."""
    encoder = DnaLanguageEncoder(str(nucleotide_transformer(tmp_path)), "mean")
    assert (encoder._loaded.longest, encoder._loaded.window) == (40, 234)
    sequence = draw(300, 0) + "N" * 90
    windows, tokens = encoder._windows(sequence)
    assert max(map(len, tokens)) <= 40 and len(windows) > 2
    assert sum(fresh(windows)) == 390 and windows[-1][1] == 390
    assert np.isfinite(encoder.encode([sequence])).all()


def test_first_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = str(bert(tmp_path))
    DnaLanguageEncoder(folder, "last").encode(SEQUENCES)
    assert not caplog.text
    with caplog.at_level(logging.WARNING, "grape_dgl"):
        DnaLanguageEncoder(folder, "first").encode(SEQUENCES)
    assert caplog.text.count("has seen a single base") == 1


def test_the_first_token_of_a_causal_model_sees_one_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the warning says, and that padding on the left never moves it."""
    own_modules(monkeypatch, tmp_path / "modules")
    folder = hyena(tmp_path / "causal", tmp_path / "marker")
    rows = DnaLanguageEncoder(str(folder), "first", remote_code=wanted(folder)).encode(["A" + s for s in SEQUENCES])
    np.testing.assert_allclose(rows, np.tile(rows[0], (len(rows), 1)), atol=1e-6)


def test_what_cannot_be(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    with pytest.raises(ConfigError, match=r"'features\.stride' is 40; expected at most 3\d, the bases of a window"):
        DnaLanguageEncoder(str(folder), "mean", 0, 40).encode(["ACGT"])
    words = folder / "tokenizer.json"
    words.write_text(words.read_text().replace('"A":', '"Q":'))
    with pytest.raises(DataError, match="does not know A, C, G, T"):
        DnaLanguageEncoder(str(folder), "mean").encode(["ACGT"])


def test_a_model_that_names_no_length_needs_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from grape_dgl.features import hub

    folder = str(bert(tmp_path))
    monkeypatch.setattr(hub, "_longest", lambda tokenizer, model: int(1e30))
    with pytest.raises(ConfigError, match=r"set features\.window"):
        DnaLanguageEncoder(folder, "mean").encode(["ACGT"])
    assert DnaLanguageEncoder(folder, "mean", 20).encode(["ACGT" * 20]).shape == (1, 8)


def test_settings_reach_the_encoder(tmp_path: Path) -> None:
    folder = str(bert(tmp_path))
    encoder = _encoder("seq", FeatureConfig(dna_model=folder, dna_pooling="max", window=20, stride=5, precision="bf16"))
    source = encoder.source
    assert (source["pooling"], source["window"], source["stride"], source["precision"]) == ("max", 20, 5, "bf16")
    with pytest.raises(ConfigError, match="CI-SpliceAI has mean and mean_std"):
        _encoder("seq", FeatureConfig(dna_model="cispliceai", dna_pooling="max"))
