"""The whole of a benchmark: the jobs that are missing, then the long table, its summary and a run card."""

from __future__ import annotations

import logging
import os
import platform
from pathlib import Path
from typing import Any

import pandas as pd

from grape_dgl.pipeline import versions
from grape_dgl.suite.jobs import collect, failures, jobs_of
from grape_dgl.suite.queue import run_jobs
from grape_dgl.suite.spec import Suite, described
from grape_dgl.suite.summary import by_seen, costs, summarise
from grape_dgl.writing import write_beside, write_json

log = logging.getLogger("grape_dgl")

TABLE, SUMMARY, SEEN, COSTS, CARD = "results.parquet", "summary.csv", "by_seen.csv", "costs.csv", "card.json"


def benchmark(suite: Suite, out: Path, cache: Path, workers: int = 1, retry: bool = False) -> pd.DataFrame:
    """Do the jobs of ``suite`` that are not done in ``out`` yet, and write what all of them say; the summary.

    A job is done when its file is in ``out/jobs``, failed ones too unless ``retry``. Written are ``results.parquet``
    (long table), ``summary.csv``, ``by_seen.csv``, ``costs.csv`` and ``card.json`` (specification, sha256 of its files,
    versions, machine, failures).
    """
    jobs = jobs_of(suite)
    if retry:
        done = [job for job in jobs if job.result(out).is_file()]
        failed = [job for job in done if (pd.read_parquet(job.result(out), columns=["metric"])["metric"] == "").any()]
        for job in failed:
            job.result(out).unlink()
    todo = [job for job in jobs if not job.result(out).is_file()]
    log.info("suite '%s': %d jobs, %d of them done before", suite.name, len(jobs), len(jobs) - len(todo))
    if todo:
        run_jobs(todo, out, cache, workers)
    table = collect(jobs, out)
    found, cost = summarise(table), costs(table)
    write_beside(out / TABLE, lambda path: table.to_parquet(path, index=False))
    write_beside(out / SUMMARY, lambda path: found.to_csv(path, index=False))
    write_beside(out / SEEN, lambda path: by_seen(table).to_csv(path, index=False))
    write_beside(out / COSTS, lambda path: cost.to_csv(path, index=False))
    bad = [{name: row[name] for name in ("data", "split", "seed", "model", "reason")} for row in failures(table)]
    write_json(out / CARD, described(suite) | {"versions": versions(), "machine": _machine(workers), "failed": bad})
    for row in bad:
        log.warning(
            "failed: %s on %s, split %s, seed %d: %s", *(row[n] for n in ("model", "data", "split", "seed", "reason"))
        )
    return found


def _machine(workers: int) -> dict[str, Any]:
    return {"system": platform.platform(), "cores": os.cpu_count(), "workers": workers}
