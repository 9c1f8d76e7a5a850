"""Every setting with its default, range and meaning; a frozen tree of dataclasses that reads and writes TOML.

A default lives here and nowhere else. Precedence: defaults < preset < TOML file < ``--set section.key=value``.
The preset ``paper`` has the numbers of the paper where it gives one, the authors' released value otherwise; ``best``
puts a response in closed form under the network (docs/accuracy.md). The
defaults differ from it in the cells of a step and in the read-out: it reads the difference from the unmasked pass and
is solved as a ridge regression, since learned as printed it stays at the mean of the training conditions (README).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tomli_w

from grape_dgl.errors import ConfigError, did_you_mean
from grape_dgl.settings import check, convert, read_toml

Ablation = Literal["none", "only_seq", "only_text", "only_fusion", "no_gsl", "no_biotype"]
EngineName = Literal["auto", "dgl", "torch"]
Device = Literal["auto", "cpu", "cuda", "mps"]
SplitKind = Literal["single", "condition", "gene", "simulation", "custom"]


@dataclass(frozen=True)
class SplitConfig:
    """How conditions are divided into train, validation and test."""

    kind: SplitKind = "condition"
    train: float = 0.7
    """Share of the conditions (or target genes) for training and validation together."""
    validation: float = 0.15
    """Share of the training part that is cut off for validation, by the same rule as the test part."""

    def __post_init__(self) -> None:
        check(0 < self.train < 1, "split.train", self.train, "a share between 0 and 1")
        check(0 <= self.validation < 1, "split.validation", self.validation, "a share from 0 to below 1")


@dataclass(frozen=True)
class FeatureConfig:
    """Which encoders turn descriptions and DNA sequences into vectors."""

    text_model: str = "minilm"
    """``minilm`` (packaged, nothing is downloaded) or a local folder / hub name of a BERT-type model."""
    text_pooling: Literal["mean", "cls"] = "mean"
    dna_model: str = "kmer"
    """``kmer``, ``cispliceai`` (packaged), or a local folder / hub name of a DNA language model of transformers."""
    dna_pooling: Literal["mean_std", "mean", "max", "first", "last"] = "mean_std"
    """Over CI-SpliceAI's bases (mean, mean_std) or a language model's tokens; k-mer spectra have no pooling.
    ``first`` is for comparison: in a causal model such as HyenaDNA the first token has seen a single base."""
    kmer: int = 5
    """Longest k of the k-mer spectra (1..k, both strands counted together)."""
    window: int = 0
    """Bases that a DNA language model sees at once; 0 for as many as it takes."""
    stride: int = 0
    """Bases from one window to the next; 0 for ``window``, without overlap."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of weights and states of language models and CI-SpliceAI. ``bf16`` pays off on processors that have it only
    (AVX512-BF16, AMX); elsewhere it is many times slower."""
    remote_code: str = ""
    """Lets the code of a DNA language model run, or of the text model where DNA has a packaged one: the commit of a hub
    name (40 hex digits), or the sha256 of a folder (64). Empty: no such code runs."""

    def __post_init__(self) -> None:
        check(1 <= self.kmer <= 8, "features.kmer", self.kmer, "a whole number from 1 to 8")
        check(self.window >= 0, "features.window", self.window, "0 or more bases")
        most = self.window or math.inf
        check(0 <= self.stride <= most, "features.stride", self.stride, "0 to features.window: no base is left out")
        if self.remote_code:
            expected = "a commit (40 hex digits), the sha256 of a folder (64), or an empty string"
            fits = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", self.remote_code) is not None
            check(fits, "features.remote_code", self.remote_code, expected)
            own = self.text_model != "minilm" or not self.packaged_dna
            check(own, "features.remote_code", self.remote_code, "an empty string: packaged models bring no code")

    @property
    def packaged_dna(self) -> bool:
        """Whether DNA needs no model from a folder or the hub."""
        return self.dna_model in ("kmer", "cispliceai")


@dataclass(frozen=True)
class AlignmentConfig:
    """Eq. 1: contrastive pre-training of the projection heads."""

    epochs: int = 10
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check(self.epochs >= 0, "alignment.epochs", self.epochs, "0 or more")
        check(self.batch >= 2, "alignment.batch", self.batch, "2 or more")
        check(self.temperature > 0, "alignment.temperature", self.temperature, "a number above 0")


@dataclass(frozen=True)
class StructureConfig:
    """Eq. 3-10: the prior graph and the learned graph."""

    heads: int = 4
    """Similarity heads T; each is ``model.hidden / heads`` wide."""
    hops: int = 3
    """GCN layers and graph channels K."""
    sparsity: str = "degree:20"
    """``degree:D`` (target mean degree) or a threshold epsilon >= 0.01, for every similarity matrix."""
    min_neighbours: int = 0
    """Adds every gene's k most similar genes to the learned graph (departs from Eq. 9)."""
    max_edges: int = 2_000_000
    """More undirected edges than this is an error, never a silent cut."""
    gradient: Literal["task", "regulariser"] = "task"
    """``task`` lets an edge's similarity enter the attention, so the prediction loss trains the structure."""
    regulariser: float = 1.0
    """Weight lambda of Eq. 10."""

    def __post_init__(self) -> None:
        check(self.heads >= 1, "structure.heads", self.heads, "1 or more")
        check(self.hops >= 1, "structure.hops", self.hops, "1 or more")
        check(self.min_neighbours >= 0, "structure.min_neighbours", self.min_neighbours, "0 or more")
        check(self.regulariser >= 0, "structure.regulariser", self.regulariser, "0 or more")
        self.degree  # noqa: B018  both properties validate
        self.epsilon  # noqa: B018

    @property
    def degree(self) -> float | None:
        """Target mean degree, or None where the sparsity is a threshold."""
        if not self.sparsity.startswith("degree:"):
            return None
        try:
            value = float(self.sparsity.removeprefix("degree:"))
        except ValueError:
            value = -1.0
        check(value > 0, "structure.sparsity", self.sparsity, "'degree:D' with D above 0, or a threshold >= 0.01")
        return value

    @property
    def epsilon(self) -> float | None:
        """Threshold, or None where the sparsity is a degree."""
        if self.sparsity.startswith("degree:"):
            return None
        try:
            value = float(self.sparsity)
        except ValueError:
            value = -1.0
        check(0.01 <= value <= 1, "structure.sparsity", self.sparsity, "'degree:D' or a threshold from 0.01 to 1")
        return value


@dataclass(frozen=True)
class ModelConfig:
    """Eq. 2, 11, 12: representation and message passing."""

    hidden: int = 256
    """Width d of the gene representation; each GCN layer keeps it."""
    layers: int = 2
    """Message-passing layers."""
    heads: int = 4
    """Attention heads H."""
    width: int = 64
    """Width of each attention head."""
    dropout: float = 0.4
    """On features and attention."""
    readout: Literal["centred", "plain"] = "centred"
    """``centred`` reads a gene's state minus its state in the unmasked pass, ``plain`` the state itself (Eq. 12)."""
    ablation: Ablation = "none"

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "width"):
            check(getattr(self, name) >= 1, f"model.{name}", getattr(self, name), "1 or more")
        check(0 <= self.dropout < 1, "model.dropout", self.dropout, "a share from 0 to below 1")

    @property
    def only(self) -> str | None:
        """The one modality that the model may know of a gene; None: all there are."""
        only = self.ablation.removeprefix("only_")
        return only if only in ("seq", "text") else None


@dataclass(frozen=True)
class ResponseConfig:
    """What is expected of a condition before the graph speaks (``training.response``)."""

    kind: Literal["none", "additive"] = "none"
    """``additive``: common change and one effect per target, in closed form; the network learns what is left."""
    penalty: float = 0.05
    """Of the ridge regression, as a share of the mean diagonal of its kernel."""
    control_noise: float = 0.6
    """Share of the median change that is taken out as noise of the control mean, at most."""
    gene_noise: float = 1.0
    """How much of the sampling noise of condition means counts where genes are shrunk; 0 shrinks none."""
    common: Literal["shared", "mean", "none"] = "shared"
    """Of the mean change: the share that conditions have in common, all of it, or nothing."""
    knowledge: float = 0.3
    """Share of the effects that is alike where the knowledge of genes is, if it passes the gate; 0: never."""
    own: Literal["fold", "none"] = "fold"
    """Change of a target's own expression: one ``fold`` for all targets, or nothing beside its effect."""
    gate: float = 2.0
    """Standard errors over conditions (many; of few, as many as chance makes as rare) by which errors must be smaller:
    of left-out conditions by knowledge of genes, of validation conditions by the network, which is silent else."""

    def __post_init__(self) -> None:
        check(0 < self.penalty < math.inf, "response.penalty", self.penalty, "a number above 0")
        check(0 <= self.control_noise <= 1, "response.control_noise", self.control_noise, "a share from 0 to 1")
        check(0 <= self.gene_noise < math.inf, "response.gene_noise", self.gene_noise, "0 or more")
        check(0 <= self.knowledge < 1, "response.knowledge", self.knowledge, "a share from 0 to below 1")
        check(self.gate >= 0, "response.gate", self.gate, "0 or more")


@dataclass(frozen=True)
class TrainingConfig:
    """Eq. 14-18 and the optimiser."""

    epochs: int = 100
    patience: int = 10
    """Epochs without a better validation score before training stops; 0 never stops early."""
    cells_per_step: int = 2000
    """Cells of one optimisation step (the paper: 64). Cells of a condition share their prediction."""
    least_steps: int = 5
    """Steps of an epoch at the least: a small screen passes its cells several times."""
    readout: Literal["ridge", "gradient"] = "ridge"
    """``ridge`` solves the read-out before the first epoch and after each, ``gradient`` learns it with the rest."""
    lr: float = 1e-3
    weight_decay: float = 1e-4
    huber_delta: float = 0.7
    """delta of Eq. 16."""
    seed: int = 0
    device: Device = "auto"
    engine: EngineName = "auto"
    ensemble: int = 1
    """Models trained with seeds seed, seed + 1, ...; their mean predicts, their standard deviation is reported."""

    def __post_init__(self) -> None:
        for name in ("epochs", "cells_per_step", "least_steps", "ensemble"):
            check(getattr(self, name) >= 1, f"training.{name}", getattr(self, name), "1 or more")
        for name in ("lr", "huber_delta"):
            check(getattr(self, name) > 0, f"training.{name}", getattr(self, name), "a number above 0")
        check(self.patience >= 0, "training.patience", self.patience, "0 or more")


@dataclass(frozen=True)
class Config:
    """The whole configuration of a run; the resolved one is written beside every result."""

    split: SplitConfig = field(default_factory=SplitConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    structure: StructureConfig = field(default_factory=StructureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    response: ResponseConfig = field(default_factory=ResponseConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check(
            self.model.hidden % self.structure.heads == 0,
            "structure.heads",
            self.structure.heads,
            f"a divisor of model.hidden = {self.model.hidden}",
        )
        check(
            self.response.kind == "none" or self.training.readout == "ridge",
            "training.readout",
            self.training.readout,
            "'ridge' with response.kind = 'additive', which decides by it whether the network speaks",
        )
        check(
            not (self.model.ablation == "no_gsl" and self.structure.min_neighbours),
            "structure.min_neighbours",
            self.structure.min_neighbours,
            "0 with the ablation no_gsl, which learns no graph",
        )

    @property
    def gate(self) -> float | None:
        """``response.gate`` where there is a response, under which the network may be silent."""
        return self.response.gate if self.response.kind != "none" else None

    @classmethod
    def resolve(
        cls,
        preset: str = "default",
        toml: str | Path | None = None,
        settings: Iterable[str] = (),
        **sections: Mapping[str, Any],
    ) -> Config:
        """Defaults < ``preset`` < ``toml`` file < ``settings`` (``"structure.heads=8"``) < keyword sections.

        Keyword sections are nested values (``training={"epochs": 3}``); None values are skipped.
        Raises ConfigError for an unknown preset, section, key or a value out of range.
        """
        if preset not in PRESETS:
            raise ConfigError(
                f"unknown preset '{preset}'{did_you_mean(preset, PRESETS)}; there are: {', '.join(PRESETS)}"
            )
        tree: dict[str, dict[str, Any]] = {}
        _merge(tree, PRESETS[preset])
        if toml is not None:
            _merge(tree, read_toml(Path(toml), "configuration"))
        for item in settings:
            key, sign, value = item.partition("=")
            section, dot, name = key.strip().partition(".")
            if not sign or not dot:
                raise ConfigError(f"setting '{item}' is not of the form section.key=value, such as structure.heads=8")
            _merge(tree, {section: {name: value.strip()}})
        _merge(tree, {s: {k: v for k, v in values.items() if v is not None} for s, values in sections.items()})
        return cls.from_dict(tree)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Mapping[str, Any]]) -> Config:
        """Build from nested values; text is converted to each field's type."""
        sections = {f.name: f for f in dataclasses.fields(cls)}
        built = {}
        for section, values in tree.items():
            if section not in sections:
                raise ConfigError(f"unknown section '{section}'{did_you_mean(section, sections)}")
            if not isinstance(values, Mapping):
                raise ConfigError(f"'{section}' is {values!r}; expected a section such as [{section}]")
            kind: Any = sections[section].default_factory
            hints = get_type_hints(kind)
            for name in values:
                if name not in hints:
                    raise ConfigError(f"unknown setting '{section}.{name}'{did_you_mean(name, hints)}")
            built[section] = kind(**{n: convert(hints[n], v, f"{section}.{n}") for n, v in values.items()})
        return cls(**built)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, as in the TOML file."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """The whole tree as TOML text."""
        return tomli_w.dumps(self.to_dict())


PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "paper": {
        "model": {"readout": "plain"},
        "training": {"readout": "gradient", "cells_per_step": 64, "least_steps": 1},
    },
    "best": {"response": {"kind": "additive"}, "training": {"patience": 4}},
}


def _merge(tree: dict[str, dict[str, Any]], more: Mapping[str, Mapping[str, Any]]) -> None:
    for section, values in more.items():
        if not isinstance(values, Mapping):
            raise ConfigError(f"'{section}' is {values!r}; expected a section such as [{section}]")
        tree.setdefault(section, {}).update(values)
