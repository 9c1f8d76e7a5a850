"""One job of a suite: one model on one split of one data set, from fitting to scored rows in a file of its own."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from grape_dgl.baselines.control import ControlBaseline
from grape_dgl.baselines.protocol import CellModel, training_changes
from grape_dgl.config import SplitConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split, make_split
from grape_dgl.errors import DataError, GrapeError
from grape_dgl.evaluation.catalogue import CELL_SCORES, metric_names
from grape_dgl.evaluation.ceiling import ceiling
from grape_dgl.evaluation.cells import MOST, cell_scores
from grape_dgl.evaluation.evaluate import evaluate
from grape_dgl.evaluation.null import null_screen
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.memory import peak_mb, reset_peak
from grape_dgl.pipeline import observed_beside
from grape_dgl.suite.models import Bench, make_model
from grape_dgl.suite.spec import DataSpec, ModelSpec, Suite, fingerprint, in_file_name
from grape_dgl.suite.versions import row_versions
from grape_dgl.writing import write_beside, write_text

log = logging.getLogger("grape_dgl")

COLUMNS = ("model", "kind", "data", "split", "seed", "condition", "seen", "metric", "value", "reason", "seconds",
           "threads", "peak_memory_mb", "tuned", "trials", "configuration", "versions")  # fmt: skip
"""Of the long table. A failed job is one row without condition and metric, its reason in ``reason``."""
WORDS = ("model", "kind", "data", "split", "condition", "seen", "metric", "reason", "tuned", "configuration",
         "versions")  # fmt: skip
"""Columns of text."""
_OWN = "the model's own cells"
"""Beside the names ``control`` and ``ceiling`` of evaluation.cells, which a model of a suite may have too."""


@dataclass(frozen=True)
class Job:
    """What one worker does at a time."""

    data: DataSpec
    model: ModelSpec
    split: SplitConfig
    seed: int
    exclude_targets: bool
    metrics: tuple[str, ...]
    """Beyond those that every suite has."""
    fingerprint: str
    """Of all of this: a changed specification is another job."""

    @property
    def name(self) -> str:
        """Of its files: readable, and its own."""
        words = (self.data.name, self.split.kind, f"{self.seed:03d}", self.model.name, self.fingerprint)
        return ".".join(map(in_file_name, words))

    def result(self, out: Path) -> Path:
        """File of its rows, which is there when it is done."""
        return out / "jobs" / f"{self.name}.parquet"

    def row(self, **values: Any) -> dict[str, Any]:
        """What stands in each of its rows."""
        known = {"model": self.model.name, "kind": self.model.kind, "data": self.data.name, "split": self.split.kind}
        return {**known, "seed": self.seed, "configuration": self.fingerprint, **values}


def jobs_of(suite: Suite, files: Mapping[str, str] | None = None) -> list[Job]:
    """Seed by seed, so that what an unfinished suite has done compares all models on the same splits.

    ``files``: what names of the catalog stand for (:func:`catalog_files`); their content is part of the fingerprint.
    """
    found, files = [], files or {}
    for seed in range(suite.seeds):
        for data in suite.data:
            for kind in suite.splits:
                for model in suite.models:
                    if (model.seeds is None or seed < model.seeds) and (not model.data or data.name in model.data):
                        split = SplitConfig(kind=kind)
                        known = replace(data, path=files.get(data.path, data.path))
                        how = (suite.exclude_targets, suite.metrics)
                        parts = (known, model.kind, model.options, split, seed, *how)
                        found.append(Job(data, model, split, seed, *how, fingerprint(*parts)))
    return found


def run_job(job: Job, bench: Bench, out: Path) -> None:
    """Fit, predict, score and write the rows. A failure of the model or its input is a row that says why.

    Predictions are kept for seed 0, and what the model wrote, for the report; of a failure too, as its reason may name
    a log.
    """
    folder = out / "models" / job.name
    try:
        table = _scored(job, bench, folder, out)
    except Exception as error:  # a job of hours must not take the others with it; the trace is kept beside the row
        reason = str(error) if isinstance(error, GrapeError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, GrapeError):
            trace = "".join(traceback.format_exception(error))
            write_text(job.result(out).with_suffix(".log"), trace)
        write_failure(job, out, " ".join(reason.split()))
        return
    if job.seed:
        shutil.rmtree(folder, ignore_errors=True)
    _write(table, job.result(out))


def write_failure(job: Job, out: Path, reason: str) -> None:
    """The one row of a job that failed; a result that is there stays."""
    if not job.result(out).is_file():
        row = job.row(condition="", metric="", reason=reason, versions=row_versions())
        _write(pd.DataFrame([row]), job.result(out))


def _scored(job: Job, bench: Bench, folder: Path, out: Path) -> pd.DataFrame:
    screen = bench.screen
    if job.data.null_conditions:  # each seed draws its own
        screen = null_screen(screen, job.data.null_conditions, job.data.null_cells, job.seed)
    split = make_split(screen.conditions, job.split, job.seed)
    control = screen.control_halves(job.seed)
    trained = training_changes(screen, [*split.train, *split.val], control)
    of_cells = set(job.metrics) & set(CELL_SCORES)
    metrics = [*metric_names(trained=True), *(name for name in job.metrics if name not in of_cells)]
    how: dict[str, Any] = {"exclude_targets": job.exclude_targets, "trained": trained, "metrics": metrics}
    if job.model.kind == "ceiling":
        scores = ceiling(screen, control, split.test, job.seed, **how)
        if of_cells:
            known = ControlBaseline()
            known.fit(screen, split, control)
            scores = pd.concat([scores, _cell_rows(job, known, screen, split, control, "ceiling")])
        return _rows(job, split, scores, tuned="nothing", trials=0)
    bench.features  # noqa: B018  read before the clock starts, as every model may use them
    if job.model.kind == "GRAPE":
        import grape_dgl.training.fit  # noqa: F401  likewise: seconds of imports
    if job.model.kind in ("sams_vae", "graph_vci"):
        import grape_dgl.baselines.graph_vci
        import grape_dgl.baselines.sams_vae  # noqa: F401
    gc.collect()
    reset_peak()
    started = time.monotonic()
    model = make_model(job.model, bench, job.seed, folder)
    model.fit(screen, split, control)
    change = model.predict(split.test)
    seconds = time.monotonic() - started
    peak = getattr(model, "peak_memory_mb", None) or peak_mb()
    if job.seed == 0:
        bare = Predictions(
            conditions=split.test, genes=screen.genes.symbol[: screen.genes.measured], change=change,
            control=screen.control_mean(control.model), expected=change, info={"model": job.model.name, "seed": 0},
        )  # fmt: skip
        observed_beside(bare, screen, control).write(out / "predictions" / f"{job.name}.h5ad")
    scores = evaluate(screen, control, {job.model.name: change}, split.test, job.seed, **how)
    if of_cells and isinstance(model, CellModel):
        scores = pd.concat([scores, _cell_rows(job, model, screen, split, control, _OWN)])
    notes = getattr(model, "notes", {})
    said = zip(scores["reason"], scores["condition"].map(notes.get), strict=True)
    scores["reason"] = ["; ".join(filter(None, words)) for words in said]
    spent, used = getattr(model, "seconds", None) or seconds, getattr(model, "versions", None)
    return _rows(job, split, scores, used, seconds=spent, peak_memory_mb=peak, tuned=model.tuned, trials=model.trials)


def _cell_rows(
    job: Job, model: CellModel, screen: Screen, split: Split, control: ControlHalves, who: str
) -> pd.DataFrame:
    """Scores of the cells that ``model`` predicts, or of those that stand beside them (``evaluation.cells``)."""
    cells, names = model.predict_cells(split.test, MOST), {name: name for name in split.test}
    found = cell_scores(screen, control, cells, names, _OWN, job.seed, exclude_targets=job.exclude_targets)
    return found[(found["model"] == who) & found["metric"].isin(job.metrics)].assign(model=job.model.name)


def _rows(
    job: Job, split: Split, scores: pd.DataFrame, used: Mapping[str, str] | None = None, **values: Any
) -> pd.DataFrame:
    """Scores as rows of the long table; ``used``: the versions of a model that runs elsewhere."""
    own = json.dumps(used, sort_keys=True) if used else row_versions()
    known = job.row(**values, threads=torch.get_num_threads(), versions=own)
    known["seen"] = [split.classes.get(name, "") for name in scores["condition"]]
    return scores.assign(**{name: value for name, value in known.items() if name != "model"})


def collect(jobs: Sequence[Job], out: Path) -> pd.DataFrame:
    """The long table of the jobs that are done, one row per model, data set, split, seed, condition and metric."""
    parts = [pd.read_parquet(path) for job in jobs if (path := job.result(out)).is_file()]
    if not parts:
        raise DataError(f"no job of the suite is done in '{out}'")
    table = pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))
    return table.assign(**{column: table[column].fillna("").astype("category") for column in WORDS})


def failures(table: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    """The rows of failed jobs."""
    yield from table[table["metric"] == ""].to_dict("records")


def _write(table: pd.DataFrame, path: Path) -> None:
    write_beside(path, lambda beside: table.reindex(columns=list(COLUMNS)).to_parquet(beside, index=False))
