"""How long does ``grape-dgl --help`` take, beyond the start of Python?

Run: python benchmarks/speed/start.py [--repeats 20] [--out F]

Contract: ``python -m grape_dgl --help`` and ``python -c pass``, in turn; one warm-up of both. ``own_seconds``: their
difference within a round, median and extremes. ``imported``: seconds by ``python -X importtime`` of each package that
took a hundredth of a second or more by itself and what it imports, in one run.
"""

from __future__ import annotations

import re
import subprocess
import sys

import measure


def python(*words: str) -> str:
    """Standard error."""
    return subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True).stderr


def main() -> None:
    given = measure.arguments("Times the start of the command.", repeats=20).parse_args()
    jobs = {"help": lambda: python("-m", "grape_dgl", "--help"), "python": lambda: python("-c", "pass")}
    for job in jobs.values():
        job()
    seconds = measure.paired(jobs, given.repeats)
    lines = re.findall(r"\|\s+(\d+) \| +(\S+)$", python("-X", "importtime", "-m", "grape_dgl", "--help"), re.MULTILINE)
    found = {
        "own_seconds": measure.spread([a - b for a, b in zip(seconds["help"], seconds["python"], strict=True)]),
        "imported": {name: int(took) / 1e6 for took, name in lines if int(took) >= 10_000},
    }
    measure.report("start", given, found)


if __name__ == "__main__":
    main()
