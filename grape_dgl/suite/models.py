"""The models of a suite, made from their specification; GRAPE as one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from grape_dgl.baselines.additive import AdditiveBaseline
from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.kernel_ridge import (
    KernelRidgeBaseline,
    TunedKernelRidgeBaseline,
    identity_kernel,
    jaccard_kernel,
)
from grape_dgl.baselines.linear import LinearBaseline
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.baselines.neighbours import NeighboursBaseline
from grape_dgl.baselines.protocol import Model
from grape_dgl.baselines.response import Knowledge, ResponseBaseline
from grape_dgl.config import Config, FeatureConfig
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.catalog import resolve
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError
from grape_dgl.features.encode import encode
from grape_dgl.graph.go import read_go
from grape_dgl.graph.hetero import Prior
from grape_dgl.graph.prior_spec import read_prior
from grape_dgl.pipeline import joined, train
from grape_dgl.run import gene_inputs
from grape_dgl.settings import settings_of
from grape_dgl.suite.peers import Peer, PeerModel
from grape_dgl.suite.spec import DataSpec, ModelSpec
from grape_dgl.training.knowledge import Kernel, knowledge, linear_kernel
from grape_dgl.training.probe import PENALTIES


class Bench:
    """One data set with everything that models of it need, read and encoded when first asked for."""

    def __init__(self, spec: DataSpec, cache: Path) -> None:
        self.spec, self.cache = spec, cache

    @cached_property
    def screen(self) -> Screen:
        spec = self.spec
        source = resolve(spec.path, cache=self.cache)
        annotation = Annotation.from_files([*spec.annotation, *source.annotation], [*spec.sequences, *source.sequences])
        try:
            return read_screen(source.path, annotation=annotation, labels_warning=source.labels_warning, **spec.read)
        except TypeError as error:
            raise DataError(f"data set '{spec.name}': 'read' does not fit read_screen: {error}") from error

    @cached_property
    def features(self) -> dict[str, Features]:
        """Text and DNA by the default encoders."""
        return encode(self.screen.genes, FeatureConfig(), self.cache / "features")

    def kernel(self, name: str) -> Kernel:
        """A kernel by its name in a suite. Raises DataError where the data set lacks what it needs."""
        if name == "identity":
            return identity_kernel
        if name == "go":
            if not self.spec.go:
                raise DataError(f"data set '{self.spec.name}' names no GO file, which the kernel 'go' needs")
            return jaccard_kernel(self._terms)
        if name not in self.features:
            raise DataError(f"no gene of data set '{self.spec.name}' has what the kernel '{name}' needs")
        return linear_kernel(self.features[name].values, self.features[name].present)

    def knowledge(self, priors: Sequence[str]) -> Knowledge:
        """What a GRAPE that is trained on this data set and ``priors`` knows of genes."""

        def kernels(screen: Screen, control: ControlHalves) -> dict[str, Kernel]:
            graphs = [read_prior(one, screen, control) for one in priors]
            return knowledge(gene_inputs(screen.genes, self.features, graphs))

        return kernels

    @cached_property
    def _terms(self) -> Any:
        return read_go(Path(self.spec.go), self.screen.genes, None)


def make_model(spec: ModelSpec, bench: Bench, seed: int, folder: Path) -> Model:
    """The model of ``spec``, untrained; ``folder`` is where it may leave what it makes."""
    options = dict(spec.options)
    if spec.kind == "GRAPE":
        return GrapeModel(spec.name, bench, seed, folder, **options)
    if spec.kind == "peer":
        return _peer(spec, bench, seed, folder)
    if spec.kind == "neighbours":
        return NeighboursBaseline(bench.kernel(options.get("kernel", "text")), options.get("k", 5), spec.name)
    if spec.kind == "kernel_ridge_fixed":
        kernels = [bench.kernel(name) for name in options["kernels"]]
        return KernelRidgeBaseline(kernels, float(options["penalty"]), spec.name)
    if spec.kind == "kernel_ridge":
        return TunedKernelRidgeBaseline({name: bench.kernel(name) for name in options["kernels"]}, spec.name)
    if spec.kind == "response":
        settings = Config.resolve(settings=options.get("settings", ())).response
        response = ResponseBaseline(settings, bench.knowledge(options.get("priors", ())))
        response.name = spec.name
        return response
    if spec.kind in ("sams_vae", "graph_vci"):
        cells = cell_model(spec, seed)
        cells.name = spec.name
        return cells
    made: Model = {
        "control": ControlBaseline,
        "mean": MeanBaseline,
        "additive": AdditiveBaseline,
        "linear": lambda: LinearBaseline(joined(bench.features)),
    }[spec.kind]()
    made.name = spec.name
    return made


def peer_of(spec: ModelSpec, data: DataSpec) -> tuple[Peer, dict[str, str], dict[str, str]]:
    """The peer of a model, its files (the GO file of the data set as ``gene2go``) and its settings."""
    peer = Peer.read(str(spec.options["folder"]))
    settings = {name: value for name, _, value in (item.partition("=") for item in spec.options.get("settings", ()))}
    return peer, {name: data.go for name in peer.files if name == "gene2go" and data.go}, settings


def cell_model(spec: ModelSpec, seed: int) -> Model:
    """A model of cells; ConfigError where it does not take its settings."""
    from grape_dgl.baselines.graph_vci import GraphVciBaseline, GraphVciSettings  # seconds of imports, for these only
    from grape_dgl.baselines.sams_vae import SamsVaeBaseline, SamsVaeSettings

    given, priors = spec.options.get("settings", ()), spec.options.get("priors", ())
    if spec.kind == "sams_vae":
        return SamsVaeBaseline(settings_of(SamsVaeSettings, given), seed)

    def graphs(screen: Screen, control: ControlHalves) -> list[Prior]:
        return [read_prior(one, screen, control) for one in priors]

    return GraphVciBaseline(settings_of(GraphVciSettings, given), graphs, seed)


def _peer(spec: ModelSpec, bench: Bench, seed: int, folder: Path) -> Model:
    """A program in an environment of its own."""
    peer, files, settings = peer_of(spec, bench.spec)
    made = PeerModel(
        peer, files=files, settings=settings, seed=seed, logs=folder, cache=bench.cache / "peers",
        time_limit=spec.options.get("time_limit"),
    )  # fmt: skip
    made.name = spec.name
    return made


class GrapeModel(Model):
    """GRAPE by the main job, in a run folder of its own; early stopping on the validation conditions."""

    def __init__(
        self,
        name: str,
        bench: Bench,
        seed: int,
        folder: Path,
        preset: str = "default",
        settings: Sequence[str] = (),
        priors: Sequence[str] = (),
    ) -> None:
        self.name, self._bench, self._folder = name, bench, folder
        self._config = Config.resolve(preset=preset, settings=settings, training={"seed": seed})
        self._priors = priors
        solved = self._config.training.readout == "ridge"
        self.tuned = f"epoch{' and penalty of the read-out' if solved else ''}, on validation conditions"
        if self._config.response.kind != "none" and self._config.response.knowledge:
            self.tuned += "; knowledge, by leave-one-out of the training conditions"
        self.trials = len(PENALTIES) if solved else 0

    @property
    def settings(self) -> Mapping[str, Any]:
        """The whole configuration."""
        return self._config.to_dict()

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        cache = self._bench.cache / "features"
        priors = [read_prior(one, screen, control) for one in self._priors]
        self._run = train(screen, self._folder, self._config, split, control, priors=priors, cache=cache, force=True)
        report = json.loads((self._folder / "metrics.json").read_text(encoding="utf-8"))
        if report["interrupted"]:
            raise KeyboardInterrupt  # a training cut short is no result
        spent = report["seconds"]
        self.seconds = spent["total"] - spent["baselines"] - spent["score"]  # which the other models do not have

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return self._run.predict(conditions).change
