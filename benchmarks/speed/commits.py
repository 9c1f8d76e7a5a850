"""Is one commit slower than another? The same commands of both, in turn.

Run: python benchmarks/speed/commits.py BASE [HEAD] [--jobs help demo genes predict] [--repeats 5] [--out F]

Contract: each commit is checked out into a temporary folder and run from there by this interpreter, with the packages
and the folder of downloads and vectors that are installed. One warm-up of every job on both; then in each of
``--repeats`` rounds every job runs once on both, base first in odd rounds, head first in even ones. ``wall`` and
``cpu`` (user and system seconds of the process and its children) are ratios head / base within a round: median and
extremes. A ratio whose least value is above 1 was slower in every round. ``help``: ``grape-dgl --help``; ``demo``: two
epochs of ``train demo``; ``genes``: one epoch at 2,000 genes; ``predict``: all single perturbations of its model.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure

TOP = Path(__file__).parents[2]
JOBS = {
    "help": ["--help"],
    "demo": ["train", "demo", "--epochs", "2", "--out", "demo", "--force"],
    "genes": ["train", "demo:genes=2000,conditions=20,cells=4000", "--epochs", "1", "--out", "genes", "--force"],
    "predict": ["predict", "genes", "--all-single", "--out", "predictions.h5ad", "--force"],
}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=TOP, check=True, capture_output=True, text=True).stdout.strip()


def seconds(code: Path, job: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command of the package in ``code``; it leaves its files beside that."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "grape_dgl", *JOBS[job]]
    done = subprocess.run(
        command, cwd=code.parent, env=os.environ | {"PYTHONPATH": str(code)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{code.parent.name}: grape-dgl {' '.join(JOBS[job])} failed\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, sum(after[:2]) - sum(before[:2])


def main() -> None:
    parser = measure.arguments("Compares two commits.", repeats=5)
    parser.add_argument("base")
    parser.add_argument("head", nargs="?", default="HEAD")
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    commits = {side: git("rev-parse", "--short", rev) for side, rev in (("base", given.base), ("head", given.head))}
    took: dict[tuple[str, str], list[tuple[float, float]]] = {(job, side): [] for job in given.jobs for side in commits}
    with tempfile.TemporaryDirectory() as folder:
        code = {side: Path(folder) / side / "code" for side in commits}
        try:
            for side, commit in commits.items():
                git("worktree", "add", "--detach", str(code[side]), commit)
            for number in range(given.repeats + 1):
                for job in given.jobs:
                    for side in sorted(commits, reverse=number % 2 == 0):
                        took[job, side].append(seconds(code[side], job))
                        wall, cpu = took[job, side][-1]
                        print(f"round {number}: {job} of {side}: {wall:.2f} s, CPU {cpu:.2f} s", file=sys.stderr)
        finally:
            for place in code.values():
                git("worktree", "remove", "--force", str(place))
    found = {}
    for job in given.jobs:
        base, head = (list(zip(*took[job, side][1:], strict=True)) for side in ("base", "head"))
        found[job] = {
            name: {"base": measure.spread(base[part]), "head_over_base": measure.ratio(head[part], base[part])}
            for part, name in enumerate(("wall", "cpu"))
        }
    measure.report("commits", given, {"commits": commits, "jobs": found})


if __name__ == "__main__":
    main()
