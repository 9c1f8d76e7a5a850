"""What does ``grape-dgl --keep-memory`` gain and cost?

Run: python benchmarks/speed/allocator.py [--genes 5060] [--width 64] [--steps 5] [--repeats 3] [--out F]

Contract: ``--steps`` steps of step.py (60 conditions, 2,000 cells, 4 heads x ``--width``) on normal features (seed 0),
after one as warm-up, in a new process of each kind, in turn; ``--repeats`` rounds. Median seconds of a step of each
process, and their ratio within a round; peak memory of the process.
"""

from __future__ import annotations

import measure
import torch
from scaling import alone, timed
from step import Step

from grape_dgl.memory import keep_freed, peak_mb

KINDS = {"plain": False, "--keep-memory": True}


def steps(keep: bool, genes: int, width: int, number: int, threads: int) -> dict[str, float | None]:
    """Of one process."""
    if keep and not keep_freed():
        raise SystemExit("--keep-memory has no effect on this system")
    torch.set_num_threads(threads)
    inputs = measure.random_genes(genes)
    step = Step(measure.new_model(inputs, "dgl", model={"width": width}), inputs)
    step.fast()
    return {"seconds": timed(step.fast, number)["median"], "peak_memory_mb": peak_mb()}


def main() -> None:
    parser = measure.arguments("Times an option of the memory allocator.")
    parser.add_argument("--genes", type=int, default=5060)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    given = parser.parse_args()
    rounds = [
        {name: alone(steps, keep, given.genes, given.width, given.steps, given.threads) for name, keep in KINDS.items()}
        for _ in range(given.repeats)
    ]
    found = {
        name: {what: measure.spread([one[name][what] for one in rounds]) for what in ("seconds", "peak_memory_mb")}
        for name in KINDS
    }
    plain, kept = ([one[name]["seconds"] for one in rounds] for name in KINDS)
    measure.report("allocator", given, {**found, "times_faster": measure.ratio(plain, kept)})


if __name__ == "__main__":
    main()
