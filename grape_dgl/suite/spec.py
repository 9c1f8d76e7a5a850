"""What a benchmark runs: a TOML file of models, data sets, split kinds and seeds, checked once at the door."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from pooch import file_hash

from grape_dgl.config import SplitKind
from grape_dgl.data.catalog import CATALOG, resolve
from grape_dgl.errors import ConfigError, DataError, DownloadError, did_you_mean
from grape_dgl.evaluation.catalogue import CELL_SCORES, check_names
from grape_dgl.settings import read_toml

log = logging.getLogger("grape_dgl")

KINDS = (
    *("control", "mean", "additive", "linear", "neighbours"),
    *("kernel_ridge_fixed", "kernel_ridge", "response", "sams_vae", "graph_vci", "GRAPE", "peer", "ceiling"),
)
"""Kinds of models; ``ceiling`` is none, but how well any of them can score (evaluation.ceiling)."""
SIMPLE = ("additive", "linear", "neighbours", "kernel_ridge_fixed", "kernel_ridge")
"""Kinds among which the best simple model is looked for."""
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "neighbours": ("kernel", "k"),
    "kernel_ridge_fixed": ("kernels", "penalty"),
    "kernel_ridge": ("kernels",),
    "response": ("settings", "priors"),
    "sams_vae": ("settings",),
    "graph_vci": ("settings", "priors"),
    "GRAPE": ("preset", "settings", "priors"),
    "peer": ("folder", "settings", "time_limit"),
}
"""Kind -> what it may be told."""
KERNELS = ("identity", "text", "seq", "go")


@dataclass(frozen=True)
class DataSpec:
    """One data set, and what is known about its genes."""

    name: str
    path: str
    """A file, or a name of the catalog, which wins over a file or folder of that name."""
    annotation: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    go: str = ""
    """GO annotation for the kernel ``go`` and for peers that need it."""
    read: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``read_screen``."""
    null_conditions: int = 0
    """Above 0: control cells only, so many fake conditions of them (null test)."""
    null_cells: int = 30


@dataclass(frozen=True)
class ModelSpec:
    """One model: its name in tables, its kind, and what it is told."""

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    """So many of the suite's seeds only."""
    data: tuple[str, ...] = ()
    """These data sets only."""


@dataclass(frozen=True)
class Suite:
    """A benchmark."""

    name: str
    data: tuple[DataSpec, ...]
    models: tuple[ModelSpec, ...]
    splits: tuple[SplitKind, ...]
    seeds: int
    """Seeds 0, 1, ... of the splits, of the halves of the controls and of the models."""
    exclude_targets: bool = False
    metrics: tuple[str, ...] = ()
    """Scores beyond those that every suite has (``evaluation.catalogue``); of cells, for models that predict cells."""

    @classmethod
    def read(cls, path: str | Path, folders: Sequence[Path] = ()) -> Suite:
        """The suite of a TOML file. Files are looked for beside it, then in ``folders``.

        Raises ConfigError for what is missing, unknown or of a wrong type.
        """
        path = Path(path)
        tree = read_toml(path, "suite")
        where = f"suite '{path}'"
        _known(tree, ("name", "splits", "seeds", "exclude_targets", "metrics", "data", "model"), where)
        places = (path.parent, *folders)
        suite = cls(
            name=_get(tree, "name", str, where, path.stem),
            data=tuple(_data(entry, places, where) for entry in _get(tree, "data", list, where)),
            models=tuple(_model(entry, places, where) for entry in _get(tree, "model", list, where)),
            splits=tuple(_get(tree, "splits", list, where, ["condition"])),
            seeds=_get(tree, "seeds", int, where, 1),
            exclude_targets=_get(tree, "exclude_targets", bool, where, False),
            metrics=tuple(map(str, _get(tree, "metrics", list, where, []))),
        )
        suite._check(where)
        return suite

    def _check(self, where: str) -> None:
        for what, names in (("data set", self.data), ("model", self.models)):
            if not names:
                raise ConfigError(f"{where} has no {what}; expected at least one [[{what.split()[0]}]]")
            twice = [name for name, number in Counter(one.name for one in names).items() if number > 1]
            if twice:
                raise ConfigError(f"{where}: two entries are called '{twice[0]}'; give each {what} its own name")
            files: dict[str, str] = {}
            for one in names:
                other = files.setdefault(in_file_name(one.name).casefold(), one.name)
                if other != one.name:
                    raise ConfigError(
                        f"{where}: '{other}' and '{one.name}' would share their files; give each {what} a name that "
                        "differs in letters, digits, '+', '-' or '_'"
                    )
        kinds = [kind for kind in get_args(SplitKind) if kind != "custom"]
        for kind in self.splits:
            if kind not in kinds:
                raise ConfigError(
                    f"{where}: unknown split '{kind}'{did_you_mean(str(kind), kinds)}; {', '.join(kinds)}"
                )
        try:
            check_names([name for name in self.metrics if name not in CELL_SCORES])
        except DataError as error:
            raise ConfigError(f"{where}: {error}") from None
        if self.seeds < 1 or not self.splits:
            raise ConfigError(f"{where}: {self.seeds} seeds and {len(self.splits)} splits; expected at least one each")
        known = [one.name for one in self.data]
        for model in self.models:
            for name in model.data:
                if name not in known:
                    raise ConfigError(f"{where}: model '{model.name}' names no data set: '{name}'")


def in_file_name(word: str) -> str:
    """``word`` with '-' for what does not belong in the name of a file."""
    return re.sub(r"[^\w+-]+", "-", word)


def catalog_files(suite: Suite, cache: Path) -> dict[str, str]:
    """Names of the catalog in ``suite`` that stand for a file, and its absolute path in ``cache``.

    It is downloaded where it is missing; where that fails, the name says so, and each job will say why.
    """
    found = {}
    for name in {data.path for data in suite.data if data.path in CATALOG and CATALOG[data.path].file}:
        try:
            found[name] = str(resolve(name, cache=cache).path.absolute())
        except DownloadError as error:
            log.warning("%s", error)
            found[name] = f"{name} (not there)"
    return found


def fingerprint(*parts: Any) -> str:
    """16 hex digits of what decides a result; a file or folder that was found counts by content, not by place."""
    plain = [_plain(part, _content) for part in parts]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def described(suite: Suite, catalog: Mapping[str, str]) -> dict[str, Any]:
    """``suite`` as JSON values with short names of its files, and ``files``: their sha256 by that name.

    Of a folder: of the names and sums of its files. ``catalog``: see :func:`catalog_files`.
    """
    files = {name: file_hash(path) for name, path in catalog.items() if Path(path).is_file()}

    def short(path: str) -> str:
        name = "/".join(Path(path).parts[-2:])
        files[name] = file_hash(path) if Path(path).is_file() else _content(path)
        return name

    return {"suite": _plain(suite, short), "files": files}


def _plain(value: Any, of_path: Callable[[str], str]) -> Any:
    """As JSON values, dataclasses by their fields, absolute paths by what ``of_path`` makes of them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name), of_path) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one, of_path) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, of_path) for one in value]
    if isinstance(value, str):
        return "".join(of_path(piece) if Path(piece).is_absolute() else piece for piece in re.split("([=,])", value))
    return value


@lru_cache
def _content(path: str) -> str:
    """sha256 of a file, or of the files of a folder with their names; what Python compiles there does not count."""
    found, top = hashlib.sha256(), Path(path)
    files = [top] if top.is_file() else sorted(one for one in top.rglob("*") if one.is_file())
    files = [one for one in files if one.suffix != ".pyc" and "__pycache__" not in one.relative_to(top).parts]
    for one in files:
        found.update(f"{one.relative_to(top)}:{file_hash(str(one))};".encode())
    return found.hexdigest()


def _data(entry: Mapping[str, Any], places: Sequence[Path], where: str) -> DataSpec:
    names = [one.name for one in dataclasses.fields(DataSpec)]
    _known(entry, names, f"{where}, data")
    where = f"{where}, data set '{entry.get('name', '?')}'"
    path = _get(entry, "path", str, where)
    spec = DataSpec(
        name=_get(entry, "name", str, where),
        path=path if path in CATALOG else _find(path, places),
        annotation=tuple(_find(str(one), places) for one in _get(entry, "annotation", list, where, [])),
        sequences=tuple(_find(str(one), places) for one in _get(entry, "sequences", list, where, [])),
        go=_find(_get(entry, "go", str, where, ""), places),
        read=_get(entry, "read", dict, where, {}),
        null_conditions=_get(entry, "null_conditions", int, where, 0),
        null_cells=_get(entry, "null_cells", int, where, 30),
    )
    if not re.fullmatch(r"[\w.-]+", spec.name):
        raise ConfigError(f"{where}: expected a name of letters, digits, '-', '_', '.'")
    return spec


def _model(entry: Mapping[str, Any], places: Sequence[Path], where: str) -> ModelSpec:
    kind = _get(entry, "kind", str, f"{where}, model", str(entry.get("name", "")))
    if kind not in KINDS:
        raise ConfigError(f"{where}: unknown kind of model '{kind}'{did_you_mean(kind, KINDS)}; {', '.join(KINDS)}")
    where = f"{where}, model '{entry.get('name', kind)}'"
    allowed = OPTIONS.get(kind, ())
    _known(entry, ("name", "kind", "seeds", "data", *allowed), where)
    options = {name: entry[name] for name in allowed if name in entry}
    for name in ("kernels", "settings", "priors"):
        options |= {name: tuple(map(str, _get(entry, name, list, where)))} if name in options else {}
    if "priors" in options:
        options["priors"] = tuple(_prior(one, places) for one in options["priors"])
    for kernel in (*options.get("kernels", ()), *([options["kernel"]] if "kernel" in options else [])):
        if kernel not in KERNELS:
            hint = did_you_mean(str(kernel), KERNELS)
            raise ConfigError(f"{where}: unknown kernel '{kernel}'{hint}; {', '.join(KERNELS)}")
    if kind in ("kernel_ridge_fixed", "kernel_ridge") and not options.get("kernels"):
        raise ConfigError(f"{where}: expected kernels, some of {', '.join(KERNELS)}")
    if kind == "kernel_ridge_fixed":
        penalty = options.get("penalty")
        if not isinstance(penalty, float | int) or isinstance(penalty, bool) or not 0 < penalty < math.inf:
            raise ConfigError(f"{where}: the penalty is {penalty!r}; expected a number above 0, such as 0.1")
    if _get(entry, "k", int, where, 1) < 1 or _get(entry, "seeds", int, where, 1) < 1:
        raise ConfigError(f"{where}: expected 1 or more for 'k' and 'seeds'")
    if kind == "peer":
        options["folder"] = _find(_get(entry, "folder", str, where), places)
        if _get(entry, "time_limit", int, where, 1) < 1:
            raise ConfigError(f"{where}: a time limit of {entry['time_limit']}; expected seconds")
    seeds = entry.get("seeds")
    return ModelSpec(
        name=_get(entry, "name", str, where, kind),
        kind=kind,
        options=options,
        seeds=None if seeds is None else _get(entry, "seeds", int, where),
        data=tuple(_get(entry, "data", list, where, [])),
    )


def _prior(spec: str, places: Sequence[Path]) -> str:
    """``NAME=FILE,...`` with the file found."""
    name, sign, rest = spec.partition("=")
    file, comma, settings = rest.partition(",")
    return f"{name}{sign}{_find(file, places)}{comma}{settings}" if sign else spec


def _find(name: str, places: Sequence[Path]) -> str:
    """The file of this name in the first place that has it, else the name itself."""
    found = [place / name for place in places if name and (place / name).exists()]
    return str(found[0].resolve()) if found else name


def _known(entry: Any, names: Sequence[str], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is {entry!r}; expected a table")
    for name in entry:
        if name not in names:
            raise ConfigError(f"{where}: unknown entry '{name}'{did_you_mean(name, names)}")


def _get(entry: Mapping[str, Any], name: str, kind: type, where: str, default: Any = None) -> Any:
    value = entry.get(name, default)
    if value is None:
        raise ConfigError(f"{where}: '{name}' is missing")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        wanted = {int: "a whole number", bool: "true or false", str: "text", list: 'a list, such as ["epochs=3"]'}
        raise ConfigError(f"{where}: '{name}' is {value!r}; expected {wanted.get(kind, 'a table')}")
    return value
