"""What does ``grape-dgl --keep-memory`` gain and cost?

Run: python benchmarks/speed/allocator.py [--width 64] [--steps 5] [--repeats 3] [--out F]

Contract: 4 heads x ``--width``, the 5,060 genes of ``--table``. ``step``: one of step.py (60 conditions, 2,000 cells),
the median of ``--steps`` after one as warm-up. ``predictions``: all genes once as prediction.py has them, after ten as
warm-up. Each in a new process, without and with the option in turn; ``--repeats`` rounds. Seconds, their ratio within a
round, and the peak memory of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import measure
import torch
from prediction import everything
from scaling import alone, timed
from step import Step

from grape_dgl.memory import keep_freed, peak_mb
from grape_dgl.model import GeneInputs
from grape_dgl.training.ensemble import ready

KINDS = {"plain": False, "--keep-memory": True}
Took = dict[str, float | None]


def step(table: Path, width: int, number: int, threads: int, keep: bool) -> Took:
    genes = _started(keep, table, threads)
    one = Step(measure.new_model(genes, "dgl", model={"width": width}), genes)
    return _took(one.fast, one.fast, number)


def predictions(table: Path, width: int, number: int, threads: int, keep: bool) -> Took:
    genes = _started(keep, table, threads)
    ensemble = ready([measure.new_model(genes, "dgl", model={"width": width})], genes)
    return _took(lambda: everything(ensemble), lambda: everything(ensemble, 10), 1)


def _started(keep: bool, table: Path, threads: int) -> GeneInputs:
    if keep and not keep_freed():
        raise SystemExit("--keep-memory has no effect on this system")
    torch.set_num_threads(threads)
    return measure.text_genes(table, 5060)


def _took(job: Callable[[], object], warm_up: Callable[[], object], number: int) -> Took:
    warm_up()
    return {"seconds": timed(job, number)["median"], "peak_memory_mb": peak_mb()}


def main() -> None:
    parser = measure.arguments("Times an option of the memory allocator.")
    parser.add_argument("--table", type=Path, default=measure.TABLE)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    found, words = {}, (given.table, given.width, given.steps, given.threads)
    for job in (step, predictions):
        rounds = [{name: alone(job, *words, keep) for name, keep in KINDS.items()} for _ in range(given.repeats)]
        plain, kept = ([one[name]["seconds"] for one in rounds] for name in KINDS)
        found[job.__name__] = {"times_faster": measure.ratio(plain, kept)} | {
            name: {what: measure.spread([one[name][what] for one in rounds]) for what in ("seconds", "peak_memory_mb")}
            for name in KINDS
        }
    measure.report("allocator", given, found)


if __name__ == "__main__":
    main()
