"""What can be known of a suite before its first job: that files are there and that models take what they are told."""

from __future__ import annotations

import inspect
from pathlib import Path

from grape_dgl.config import Config
from grape_dgl.data.catalog import CATALOG, is_name
from grape_dgl.data.read import read_screen
from grape_dgl.errors import ConfigError, did_you_mean
from grape_dgl.suite.models import cell_model, peer_of
from grape_dgl.suite.spec import DataSpec, ModelSpec, Suite


def check(suite: Suite) -> None:
    """ConfigError for the first thing that would make every job of a model or data set fail."""
    for data in suite.data:
        _check_data(data)
    for model in suite.models:
        _check_model(model, [data for data in suite.data if not model.data or data.name in model.data])


def _check_data(data: DataSpec) -> None:
    where = f"data set '{data.name}'"
    if not is_name(data.path):
        _check_file(data.path, where, f", or a name of the catalog: {', '.join(CATALOG)}")
    for file in (*data.annotation, *data.sequences, *filter(None, [data.go])):
        _check_file(file, where)
    own = {"source", "annotation", "labels_warning"}  # of the suite, and of the catalog
    known = [name for name in inspect.signature(read_screen).parameters if name not in own]
    for name in data.read:
        if name not in known:
            raise ConfigError(f"{where}: 'read' knows no '{name}'{did_you_mean(name, known)}")


def _check_file(file: str, where: str, more: str = "") -> None:
    if not Path(file).is_file():
        raise ConfigError(
            f"{where}: there is no file '{file}'; expected it beside the suite or in a --data folder{more}"
        )


def _check_model(model: ModelSpec, of: list[DataSpec]) -> None:
    options = model.options
    if "go" in (options.get("kernel"), *options.get("kernels", ())):
        for data in of:
            if not data.go:
                raise ConfigError(
                    f"model '{model.name}' has the kernel 'go' and data set '{data.name}' names no GO file; give it "
                    "go = FILE, or leave the data set out of the model's 'data'"
                )
    if model.kind == "response":
        for setting in options.get("settings", ()):
            if not setting.startswith("response.") or setting.startswith("response.kind"):
                raise ConfigError(
                    f"model '{model.name}', setting '{setting}': a response has no network; expected one of section "
                    "'response', but its kind"
                )
    if model.kind in ("GRAPE", "response"):
        Config.resolve(preset=options.get("preset", "default"), settings=options.get("settings", ()))
    if model.kind in ("sams_vae", "graph_vci"):
        cell_model(model, seed=0)
    for prior in options.get("priors", ()):
        if file := prior.partition(",")[0].partition("=")[2]:
            _check_file(file, f"model '{model.name}', prior '{prior}'")
    if model.kind == "peer":
        for data in of:
            peer, files, settings = peer_of(model, data)
            peer.resolved(files, settings)
