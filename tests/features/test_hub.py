"""What is run and read of a model: no code unasked, no pickles, and an identity that follows every file."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import bert, hyena, own_modules

from grape_dgl.config import FeatureConfig
from grape_dgl.errors import ConfigError, DataError
from grape_dgl.features.dna_language import DnaLanguageEncoder
from grape_dgl.features.encode import _encoder
from grape_dgl.features.hub import dtype, find
from grape_dgl.features.text import TextEncoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENCODERS = {"text": TextEncoder, "DNA": DnaLanguageEncoder}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_modules(monkeypatch, tmp_path / "modules")


def plain_identity(folder: Path) -> str:
    """As it was before a model's code could run: caches of that time stay valid."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix not in (".py", ".bin"))
    lines = [f"{name} {hashlib.sha256((folder / name).read_bytes()).hexdigest()}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("kind", ["text", "DNA"])
def test_code_runs_only_with_the_sha256_of_its_folder(tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "marker"
    folder = hyena(tmp_path / f"own-{kind}", marker)
    with pytest.raises(ConfigError, match="needs code of its own, which is not run unasked") as error:
        ENCODERS[kind](str(folder), "mean").encode(["ACGT"])
    value = str(error.value).rpartition("features.remote_code=")[2]
    for wrong in (COMMIT, "0" * 64, plain_identity(folder)):
        with pytest.raises(ConfigError, match=f"features.remote_code' is '{wrong}'.*now {value}"):
            ENCODERS[kind](str(folder), "mean", remote_code=wrong)
    assert not marker.exists()
    encoder = ENCODERS[kind](str(folder), "mean", remote_code=value)
    assert encoder.source["sha256"] == value and not marker.exists()
    assert encoder.encode(["ACGT", "GGA"]).shape == (2, 6)
    assert set(marker.read_text().split()) == {"configuration", "modeling", "tokenization"}


@pytest.mark.parametrize("kind", ["text", "DNA"])
def test_a_known_model_runs_no_code_that_lies_beside_it(tmp_path: Path, kind: str) -> None:
    """A BERT whose files point at code: the class of transformers is loaded, with the same values."""
    marker, folder = tmp_path / "marker", bert(tmp_path / "bert")
    expected = ENCODERS[kind](str(folder), "mean").encode(["ACGT"])
    evil = hyena(tmp_path / "evil", marker)
    for code in evil.glob("*.py"):
        shutil.copy(code, folder)
    for name in ("config.json", "tokenizer_config.json"):
        classes = json.loads((evil / name).read_text())["auto_map"]
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | {"auto_map": classes}))
    encoder = ENCODERS[kind](str(folder), "mean")
    np.testing.assert_array_equal(encoder.encode(["ACGT"]), expected)
    assert encoder.source["sha256"] == plain_identity(folder) and not marker.exists()


def test_code_that_changes_after_the_check_is_not_run(tmp_path: Path) -> None:
    folder = hyena(tmp_path / "own", tmp_path / "marker")
    with pytest.raises(ConfigError) as error:
        find(str(folder), "DNA", COMMIT)
    value = str(error.value)[-64:]
    encoder = DnaLanguageEncoder(str(folder), "mean", remote_code=value)
    with (folder / "modeling_x.py").open("a") as file:
        file.write("# more")
    with pytest.raises(DataError, match="changed since they were checked"):
        encoder.encode(["ACGT"])
    with pytest.raises(ConfigError, match="the sha256 of its files as you read them"):
        find(str(folder), "DNA", value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("reference", ["someone/else--modeling_x.XModel", "/tmp/modeling.XModel", "../x.XModel", 5])
def test_code_from_elsewhere_is_refused(tmp_path: Path, reference: object) -> None:
    """The hash of a folder says nothing of it."""
    folder = hyena(tmp_path / "own", tmp_path / "marker")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": reference}}))
    with pytest.raises(ConfigError) as error:
        find(str(folder), "DNA", "0" * 64)
    with pytest.raises(ConfigError, match="names code that is not in the folder"):
        find(str(folder), "DNA", str(error.value)[-64:])


class Hub:
    """Stands for the hub: remembers what was asked, and gives a folder named by a commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked = name, revision, allow_patterns
        return str(self.folder)


def test_a_hub_name_needs_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    hub = Hub(hyena(tmp_path / "snapshots" / COMMIT, tmp_path / "marker"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    for wrong in ("main", "0" * 64, COMMIT.upper(), COMMIT[:7]):
        with pytest.raises(ConfigError, match="40 hex digits"):
            find("lab/model", "DNA", wrong)
    encoder = DnaLanguageEncoder("lab/model", "mean", remote_code=COMMIT)
    assert hub.asked[:2] == ("lab/model", COMMIT) and "*.py" in hub.asked[2] and "*.bin" not in hub.asked[2]
    assert (encoder.source["model"], encoder.source["revision"]) == ("lab/model", COMMIT)
    assert encoder.encode(["ACGT"]).shape == (1, 6) and (tmp_path / "marker").exists()
    with pytest.raises(ConfigError, match=f"the hub gave '{COMMIT}'"):  # a branch with the name of a commit
        find("lab/model", "DNA", COMMIT[::-1])


def test_a_hub_name_without_a_commit_brings_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    hub = Hub(hyena(tmp_path / "snapshots" / COMMIT, tmp_path / "marker"))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub)
    with pytest.raises(ConfigError, match=f"huggingface.co/lab/model/tree/{COMMIT}, then set .*={COMMIT}$"):
        DnaLanguageEncoder("lab/model", "mean").encode(["ACGT"])
    assert hub.asked[1] is None and "*.py" not in hub.asked[2] and not (tmp_path / "marker").exists()


def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*_: Any, **__: Any) -> str:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(
        DataError, match=r"\(no network\); did you mean 'kmer'\?; try 'kmer' or 'cispliceai', or the path"
    ):
        find("kmers", "DNA")
    with pytest.raises(DataError, match="text model 'minilml' is no folder.* try 'minilm', or the path"):
        find("minilml", "text")


def test_identity_without_code_is_as_ever(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    (folder / "modeling.py").write_text("raise SystemExit")
    assert find(str(folder), "text").sha256 == plain_identity(folder)
    assert TextEncoder(str(folder), "mean").source == {
        "encoder": "bert-mean",
        "model": "bert",
        "sha256": plain_identity(folder),
        "pooling": "mean",
    }


def test_what_is_not_read(tmp_path: Path) -> None:
    """Pickles, weights outside the folder, kernels of the hub, adapters."""
    folder = bert(tmp_path / "bert")
    index, config = folder / "model.safetensors.index.json", json.loads((folder / "config.json").read_text())
    for weights in ({"a": "pytorch_model.bin"}, {"a": "../other.safetensors"}, ["model.safetensors"]):
        index.write_text(json.dumps({"weight_map": weights}))
        with pytest.raises(DataError, match=r"no \*\.safetensors file beside it"):
            find(str(folder), "DNA")
    index.unlink()
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "someone/kernel"}))
    with pytest.raises(DataError, match="attn_implementation 'someone/kernel'; expected 'eager' or 'sdpa'"):
        find(str(folder), "DNA")
    (folder / "config.json").write_text("[]")
    with pytest.raises(DataError, match="no JSON object"):
        find(str(folder), "DNA")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="has an adapter"):
        find(str(folder), "DNA")
    (folder / "adapter_config.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="pickled weights are not read"):
        find(str(folder), "DNA")


def test_layers_without_weights_are_said(tmp_path: Path) -> None:
    """transformers would draw them at random. A pooler is above the states and may be missing."""
    from safetensors.numpy import load_file, save_file

    folder = bert(tmp_path / "bert")
    file = folder / "model.safetensors"
    weights, expected = load_file(file), TextEncoder(str(folder), "mean").encode(["ACGT"])
    some = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(some) < len(weights)
    save_file(some, file, metadata={"format": "pt"})
    np.testing.assert_array_equal(TextEncoder(str(folder), "mean").encode(["ACGT"]), expected)
    del some["encoder.layer.1.output.dense.weight"]
    save_file(some, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"no weights for 1 of its layers \(encoder.layer.1.output.dense.weight\)"):
        TextEncoder(str(folder), "mean").encode(["ACGT"])


def test_a_model_that_cannot_do_it_is_said(tmp_path: Path) -> None:
    folder = hyena(tmp_path / "own", tmp_path / "marker")
    code = folder / "modeling_x.py"
    code.write_text(code.read_text().replace("last_hidden_state=torch", "logits=torch"))
    with pytest.raises(ConfigError) as error:
        find(str(folder), "DNA", COMMIT)
    with pytest.raises(DataError, match="fails on 5 tokens"):
        DnaLanguageEncoder(str(folder), "mean", remote_code=str(error.value)[-64:]).encode(["ACGT"])


def test_the_flag_is_for_one_model(tmp_path: Path) -> None:
    """The DNA model's, or the text model's where DNA has a packaged one."""
    text, dna = hyena(tmp_path / "text", tmp_path / "marker"), hyena(tmp_path / "dna", tmp_path / "marker")
    with pytest.raises(ConfigError) as error:
        find(str(text), "text", COMMIT)
    value = str(error.value)[-64:]
    assert _encoder("text", FeatureConfig(text_model=str(text), remote_code=value)).source["sha256"] == value
    both = FeatureConfig(text_model=str(text), dna_model=str(dna), remote_code=value)
    assert _encoder("text", both).source["sha256"] == plain_identity(text)
    assert _encoder("seq", both).source["sha256"] == value  # the same files under another name


@pytest.mark.parametrize(("processor", "said"), [("AVX2", True), ("AVX512", False)])
def test_bf16_that_costs_time_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, processor: str, said: bool
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: processor)
    assert (dtype("fp32"), dtype("bf16")) == (torch.float32, torch.bfloat16)
    assert ("fp32 is many times faster here" in caplog.text) == said
