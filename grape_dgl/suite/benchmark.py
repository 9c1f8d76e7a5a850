"""The whole of a benchmark: the jobs that are missing, then the long table, its summary and a run card."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from grape_dgl.errors import DataError
from grape_dgl.pipeline import versions
from grape_dgl.suite.check import check
from grape_dgl.suite.jobs import collect, failures, jobs_of
from grape_dgl.suite.lock import locked
from grape_dgl.suite.peers import Peer
from grape_dgl.suite.queue import run_jobs
from grape_dgl.suite.spec import Suite, catalog_files, described
from grape_dgl.suite.summary import by_seen, costs, summarise
from grape_dgl.suite.versions import difference, rows_by_versions
from grape_dgl.writing import write_beside, write_json

log = logging.getLogger("grape_dgl")

TABLE, SUMMARY, SEEN, COSTS, CARD = "results.parquet", "summary.csv", "by_seen.csv", "costs.csv", "card.json"


def benchmark(suite: Suite, out: Path, cache: Path, workers: int = 1, retry: bool = False) -> pd.DataFrame:
    """Do the jobs of ``suite`` that are not done in ``out`` yet, and write what all of them say; the summary.

    A job is done when its file is in ``out/jobs``, failed ones too unless ``retry``. Written are ``results.parquet``
    (long table), ``summary.csv``, ``by_seen.csv``, ``costs.csv`` and ``card.json`` (specification, sha256 of its files,
    versions, those of the rows, peers, machine, failures). GrapeError where another benchmark works in ``out``, and for
    what would make every job of a model or data set fail, as far as it can be known before.
    """
    check(suite)
    with locked(out) as lock:
        _remove_leftovers(out)
        catalog = catalog_files(suite, cache)
        jobs = jobs_of(suite, catalog)
        if retry:
            for job in jobs:
                path = job.result(out)
                if path.is_file() and (pd.read_parquet(path, columns=["metric"])["metric"] == "").any():
                    path.unlink()
        todo = [job for job in jobs if not job.result(out).is_file()]
        log.info("suite '%s': %d jobs, %d of them done before", suite.name, len(jobs), len(jobs) - len(todo))
        if todo:
            run_jobs(todo, out, cache, lock, workers)
        table = collect(jobs, out)
        found, cost = summarise(table), costs(table)
        write_beside(out / TABLE, lambda path: table.to_parquet(path, index=False))
        write_beside(out / SUMMARY, lambda path: found.to_csv(path, index=False))
        write_beside(out / SEEN, lambda path: by_seen(table).to_csv(path, index=False))
        write_beside(out / COSTS, lambda path: cost.to_csv(path, index=False))
        bad = [{name: row[name] for name in ("data", "split", "seed", "model", "reason")} for row in failures(table)]
        rows = rows_by_versions(table)
        folders = dict.fromkeys(str(model.options["folder"]) for model in suite.models if model.kind == "peer")
        facts = [{"name": one.name, "source": one.source, "licence": one.licence} for one in map(Peer.read, folders)]
        known = {"versions": versions(), "rows": rows, "peers": facts, "machine": _machine(workers), "failed": bad}
        write_json(out / CARD, described(suite, catalog) | known)
    for row in bad:
        log.warning(
            "failed: %s on %s, split %s, seed %d: %s", *(row[n] for n in ("model", "data", "split", "seed", "reason"))
        )
    if several := difference(rows_by_versions(table[table["kind"] != "peer"])):
        log.warning("the rows are not all of the same versions: %s", several)
    if len(bad) == len(jobs):
        raise DataError(f"every job failed, the first of them: {bad[0]['reason']}; all are in '{out / CARD}'")
    return found


def read_table(path: Path) -> pd.DataFrame:
    """``summary.csv``, ``by_seen.csv`` or ``costs.csv``, in which a model called ``NA`` is one."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _remove_leftovers(out: Path) -> None:
    """What jobs that were killed were about to write or to replace."""
    for folder in out.glob("models/.*-before-*"):
        shutil.rmtree(folder)
    for file in list(out.rglob(".part-*")):
        file.unlink()


def _machine(workers: int) -> dict[str, Any]:
    return {"system": platform.platform(), "cores": os.cpu_count(), "workers": workers}
