"""Tiny language models of DNA with random weights, saved as their published kin are: the real loading code runs.

Each builder writes a folder. Weights are scaled up, or random networks would hardly look at their input.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

SIZE = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def save(model: Any, folder: Path) -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(value.numel())) * 0.5)
    model.save_pretrained(folder)


def nucleotide_transformer(folder: Path) -> Path:
    """ESM with absolute positions, words of six bases (single bases and N for what is left), [CLS], 40 tokens."""
    from transformers import EsmConfig, EsmModel, EsmTokenizer

    words = ["<unk>", "<pad>", "<mask>", "<cls>", "<eos>", "<bos>"]
    words += ["".join(bases) for bases in product("ATCG", repeat=6)] + list("ATCGN")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.txt").write_text("\n".join(words))
    tokenizer = EsmTokenizer(str(folder / "words.txt"), eos_token=None, model_max_length=40)
    tokenizer.save_pretrained(folder)
    (folder / "words.txt").unlink()
    config = EsmConfig(
        vocab_size=len(words),
        pad_token_id=1,
        mask_token_id=2,
        max_position_embeddings=42,
        position_embedding_type="absolute",
        token_dropout=False,
        emb_layer_norm_before=False,
        **SIZE,
    )
    save(EsmModel(config), folder)
    return folder


def words_tokenizer(folder: Path, longest: int) -> int:
    """[CLS], words of 1 to 3 bases, the longest first, [SEP]; anything else is [UNK]. Returns the number of words."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *"ACGT", "AA", "CG", "TTT", "GCG"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("TTT|GCG|AA|CG|."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, mask_token="[MASK]", model_max_length=longest, **names
    ).save_pretrained(folder)
    return len(words)


def gena_lm(folder: Path) -> Path:
    """BigBird with sparse attention over blocks of 2 tokens: inputs of up to 14 tokens get full attention."""
    from transformers import BigBirdConfig, BigBirdModel

    words = words_tokenizer(folder, 64)
    sparse = {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 1}
    config = BigBirdConfig(
        vocab_size=words, max_position_embeddings=64, pad_token_id=0, sep_token_id=3, **sparse, **SIZE
    )
    save(BigBirdModel(config), folder)
    return folder


def bert(folder: Path) -> Path:
    from transformers import BertConfig, BertModel

    save(BertModel(BertConfig(vocab_size=words_tokenizer(folder, 32), max_position_embeddings=32, **SIZE)), folder)
    return folder


def hyena(folder: Path, marker: Path) -> Path:
    """Stands for HyenaDNA: code of its own, one token per base and [SEP], left padding, causal, deaf to
    masks.

    Every module writes its name to ``marker`` when it is imported.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, code in (("configuration", CONFIGURATION), ("modeling", MODELING), ("tokenization", TOKENIZATION)):
        spy = f"from pathlib import Path\nwith Path({str(marker)!r}).open('a') as file:\n    file.write('{name} ')\n"
        (folder / f"{name}_x.py").write_text(spy + dedent(code))
    config = {"model_type": "grape_hyena", "d_model": 6, "max_seq_len": 32, "vocab_size": 12}
    config["auto_map"] = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.XModel"}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {"tokenizer_class": "XTokenizer", "model_max_length": 32, "padding_side": "left"}
    tokenizer["auto_map"] = {"AutoTokenizer": ["tokenization_x.XTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(0)
    shapes = {"embedding.weight": (12, 6), "mix.weight": (6, 12), "mix.bias": (6,)}
    weights = {name: torch.randn(shape, generator=draw) * 0.5 for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def own_modules(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """transformers copies the code that it runs to ``folder``, and knows of none from tests before."""
    import transformers.dynamic_module_utils as modules

    monkeypatch.setattr(modules, "HF_MODULES_CACHE", str(folder))
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)


CONFIGURATION = """
    from transformers import PretrainedConfig

    class XConfig(PretrainedConfig):
        model_type = "grape_hyena"

        def __init__(self, vocab_size=12, d_model=6, max_seq_len=32, **others):
            self.vocab_size, self.d_model, self.max_seq_len = vocab_size, d_model, max_seq_len
            super().__init__(**others)
"""
MODELING = """
    import torch
    from transformers import PreTrainedModel
    from transformers.modeling_outputs import BaseModelOutput

    from .configuration_x import XConfig

    class XModel(PreTrainedModel):
        config_class = XConfig

        def __init__(self, config):
            super().__init__(config)
            self.embedding = torch.nn.Embedding(config.vocab_size, config.d_model)
            self.mix = torch.nn.Linear(2 * config.d_model, config.d_model)
            self.post_init()

        def forward(self, input_ids, attention_mask=None):
            bases = self.embedding(input_ids)
            seen = bases.cumsum(1) / 4
            return BaseModelOutput(last_hidden_state=torch.tanh(self.mix(torch.cat([bases, seen], -1))))
"""
TOKENIZATION = """
    from transformers import PreTrainedTokenizer

    class XTokenizer(PreTrainedTokenizer):
        model_input_names = ["input_ids", "attention_mask"]

        def __init__(self, model_max_length=32, padding_side="left", **others):
            special = ["[CLS]", "[SEP]", "[BOS]", "[MASK]", "[PAD]", "[RESERVED]", "[UNK]"]
            self.ids = {word: number for number, word in enumerate([*special, *"ACGTN"])}
            names = {"bos": "[BOS]", "eos": "[SEP]", "sep": "[SEP]", "cls": "[CLS]", "pad": "[PAD]", "mask": "[MASK]"}
            names = {f"{name}_token": word for name, word in names.items()}
            others = {"unk_token": "[UNK]", **names, **others}
            super().__init__(model_max_length=model_max_length, padding_side=padding_side, **others)

        @property
        def vocab_size(self):
            return len(self.ids)

        def get_vocab(self):
            return dict(self.ids)

        def _tokenize(self, text):
            return list(text)

        def _convert_token_to_id(self, token):
            return self.ids.get(token, 6)

        def _convert_id_to_token(self, number):
            return list(self.ids)[number]

        def build_inputs_with_special_tokens(self, first, second=None):
            return first + [self.sep_token_id]

        def save_vocabulary(self, folder, filename_prefix=None):
            return ()
"""
