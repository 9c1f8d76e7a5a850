"""Models that run as themselves: a folder with a program, its pinned requirements and what is to be known about it.

``run.py`` is called in an environment of its own, ``python run.py --screen screen.h5ad --split split.json --out
predictions.h5ad --seed N [--set key=value ...]``; docs/peers.md shows how to write one.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grape_dgl.baselines.protocol import Model
from grape_dgl.data.catalog import default_cache
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import ConfigError, DataError, ModelError, did_you_mean
from grape_dgl.settings import read_toml
from grape_dgl.suite.peer_environment import (
    base_python,
    clean_environment,
    environment_folder,
    interpreter,
    make_environment,
    pinned,
    python_version,
)
from grape_dgl.suite.peer_files import peer_screen, read_change
from grape_dgl.suite.peer_process import ending, last_line, run_logged

log = logging.getLogger("grape_dgl")

PROGRAM, FACTS, REQUIREMENTS = "run.py", "peer.toml", "requirements.txt"
TABLES = ("files", "settings", "environment")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Peer:
    """A folder with ``run.py``, ``peer.toml`` and ``requirements.txt``; the fields are those of ``peer.toml``."""

    folder: Path
    name: str
    """The name in tables."""
    source: str
    """Where the model is from: package and version, publication."""
    licence: str
    tuned: str
    """How its settings were chosen."""
    trials: int = 0
    """Settings that were tried to choose them, by us."""
    python: str = ""
    """Versions of Python that it runs on, such as ``>=3.10,<3.12``; empty: any."""
    time_limit: float = 3600.0
    """Seconds for one run."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Data files that it needs beside the screen: name -> what it is. The path is passed as ``--set name=path``."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Settings and their defaults, passed as ``--set key=value``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its runs; what is set already stays."""

    @classmethod
    def read(cls, folder: str | Path) -> Peer:
        """The peer of a folder; ConfigError where a file is missing or ``peer.toml`` does not say what it should."""
        folder = Path(folder).resolve()
        for name in (PROGRAM, FACTS, REQUIREMENTS):
            if not (folder / name).is_file():
                raise ConfigError(f"the peer '{folder}' has no '{name}'; expected {PROGRAM}, {FACTS}, {REQUIREMENTS}")
        path = folder / FACTS
        return cls(folder, **_checked(read_toml(path, "peer's file"), path))

    def interpreter(self, cache: Path | None = None) -> Path:
        """Interpreter of the peer's environment in ``cache`` (default: ``peers`` in the data cache), made on demand."""
        python, folder = self._place(cache)
        return make_environment(folder, self.folder / REQUIREMENTS, python)

    def is_ready(self, cache: Path | None = None) -> bool:
        """Whether the environment is there already."""
        return interpreter(self._place(cache)[1]).exists()

    def _place(self, cache: Path | None) -> tuple[Path, Path]:
        python, version = base_python(self.python)
        folder = default_cache() / "peers" if cache is None else cache
        return python, environment_folder(folder.resolve(), self.name, self.folder / REQUIREMENTS, version)

    def resolved(self, files: Mapping[str, str | Path], settings: Mapping[str, Any]) -> dict[str, str]:
        """Every ``--set`` of a run; ConfigError for an unknown name or a data file that is not there."""
        for what, given, known in (("setting", settings, self.settings), ("file", files, self.files)):
            for name in given:
                if name not in known:
                    raise ConfigError(f"peer '{self.name}' knows no {what} '{name}'{did_you_mean(name, known)}")
        for name, meaning in self.files.items():
            if name not in files:
                hint = " (in a suite: go = FILE of the data set)" if name == "gene2go" else ""
                raise ConfigError(f"peer '{self.name}' needs a file '{name}': {meaning}; give its path{hint}")
            if not Path(files[name]).is_file():
                raise ConfigError(f"peer '{self.name}': there is no file '{files[name]}'; expected {meaning}")
        chosen = {**self.settings, **{name: str(value) for name, value in settings.items()}}
        return chosen | {name: str(Path(path).resolve()) for name, path in files.items()}


class PeerModel(Model):
    """A peer as a model of the suite: ``fit`` runs it for the test conditions, ``predict`` hands its rows out.

    Args:
        files, settings: what ``peer.toml`` asks for, and what departs from its defaults.
        seed: passed on as ``--seed``.
        threads: for the numerical libraries of the peer; None leaves it to the environment variables.
        time_limit: seconds of one run instead of the peer's.
        logs: folder for what the peer says, one file per run; the default is in the cache.
        cache: folder of the environments; ``python``: an interpreter that takes their place, with the same packages.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        files: Mapping[str, str | Path] | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
        threads: int | None = None,
        time_limit: float | None = None,
        logs: Path | None = None,
        cache: Path | None = None,
        python: Path | None = None,
    ) -> None:
        self.peer, self.name, self.tuned, self.trials = peer, peer.name, peer.tuned, peer.trials
        self.settings = peer.resolved(files or {}, settings or {})
        own = peer.settings
        if changed := [f"{name}={self.settings[name]} instead of {own[name]}" for name in settings or {}]:
            self.tuned += f"; here {', '.join(changed)}"
        self.time_limit = peer.time_limit if time_limit is None else time_limit
        self.seconds: float | None = None
        """Wall time of the last run, without making the environment; None before."""
        self.peak_memory_mb: float | None = None
        """Resident size of the largest process of the last run."""
        self.versions: Mapping[str, str] = {}
        """Of Python and of the pinned packages in the last run."""
        self.log: Path | None = None
        """What the peer said in the last run."""
        self.notes: Mapping[str, str] = {}
        """Test condition -> what the peer says about its prediction (``obs["note"]``)."""
        self._seed, self._threads, self._cache, self._python = seed, threads, cache, python
        self._logs = default_cache() / "peers" / "logs" if logs is None else logs
        self._change: dict[str, np.ndarray] = {}

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        """Run the peer; ModelError with its reason and its log where it fails, is late or predicts what it should not.

        The files of the run are in a folder of their own, which is removed afterwards.
        """
        python = self.peer.interpreter(self._cache) if self._python is None else self._python.absolute()
        self._change, self.notes = {}, {}
        self.versions = {"python": python_version(str(python)), **pinned(self.peer.folder / REQUIREMENTS)}
        self.log = _new_log(self._logs, self.name)
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-") as place:
            folder = Path(place).resolve()
            peer_screen(screen, split, control).write_h5ad(folder / "screen.h5ad", compression="lzf")
            split.to_json(folder / "split.json")
            log.info("peer '%s' runs (at most %g s); its log: %s", self.name, self.time_limit, self.log)
            done = run_logged(
                self._arguments(python, folder), self.log, folder=folder,
                environment=self._environment(), time_limit=self.time_limit,
            )  # fmt: skip
            self.seconds, self.peak_memory_mb = done.seconds, done.peak_memory_mb
            if not done.in_time:
                raise self._failure(f"was stopped at its time limit of {self.time_limit:g} s")
            if done.code:
                raise self._failure(f"{ending(done.code)}: {last_line(self.log) or 'it said nothing'}")
            try:
                self._change, self.notes = read_change(folder / "predictions.h5ad", screen, control, split.test)
            except DataError as error:
                raise self._failure(f"finished, but {error}") from error
        for condition, note in self.notes.items():
            log.warning("peer '%s', condition '%s': %s", self.name, condition, note)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        if unknown := [name for name in conditions if name not in self._change]:
            raise ModelError(
                f"peer '{self.name}' was not asked for '{unknown[0]}'; it predicts the {len(self._change)} test "
                "conditions of the split that it was fitted on"
            )
        return np.stack([self._change[name] for name in conditions]).astype(np.float32)

    def _failure(self, reason: str) -> ModelError:
        return ModelError(f"peer '{self.name}' {reason} (log: {self.log})")

    def _arguments(self, python: Path, folder: Path) -> list[str]:
        named = {"screen": folder / "screen.h5ad", "split": folder / "split.json", "out": folder / "predictions.h5ad"}
        arguments = [str(python), str(self.peer.folder / PROGRAM)]
        for flag, value in (*named.items(), ("seed", self._seed)):
            arguments += [f"--{flag}", str(value)]
        for key, value in self.settings.items():
            arguments += ["--set", f"{key}={value}"]
        return arguments

    def _environment(self) -> dict[str, str]:
        threads = {} if self._threads is None else dict.fromkeys(THREADS, str(self._threads))
        return {"PYTHONHASHSEED": "0", **self.peer.environment, **clean_environment(), **threads}


def _new_log(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{name}-", suffix=".log", delete=False) as file:
        return Path(file.name)


def _checked(facts: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """``facts`` as arguments of `Peer`."""
    fields = {one.name: one for one in dataclasses.fields(Peer) if one.name != "folder"}
    kinds: dict[str, type | tuple[type, ...]] = {"trials": int, "time_limit": (int, float)}
    kinds |= dict.fromkeys(TABLES, dict)
    for name, value in facts.items():
        if name not in fields:
            raise ConfigError(f"'{path}': unknown entry '{name}'{did_you_mean(name, fields)}")
        if not isinstance(value, kinds.get(name, str)) or isinstance(value, bool):
            raise ConfigError(f"'{path}': '{name}' is {value!r}; expected what docs/peers.md says")
    for name in ("name", "source", "licence", "tuned"):
        if not facts.get(name):
            raise ConfigError(f"'{path}': no '{name}'; expected name, source, licence, tuned")
    if not re.fullmatch(r"[\w.-]+", facts["name"]):
        raise ConfigError(f"'{path}': 'name' is '{facts['name']}'; expected letters, digits, '_', '.' and '-' only")
    tables = {name: {k: str(v) for k, v in facts.get(name, {}).items()} for name in TABLES}
    return {**facts, **tables}
