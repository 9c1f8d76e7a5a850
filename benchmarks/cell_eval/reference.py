"""cell-eval's numbers on the small pair of the tests, from the real package in an environment of its own.

Run: python -m venv VENV && VENV/bin/pip install -r benchmarks/cell_eval/requirements.txt
     python benchmarks/cell_eval/reference.py VENV/bin/python [tests/evaluation/cell_eval.json]

The pair is the one that tests/evaluation/test_cell_eval.py builds; that test compares our metrics with the file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from evaluation.test_cell_eval import NUMBERS, small_pair  # noqa: E402

from grape_dgl.evaluation.cell_eval import write_pair  # noqa: E402


def main() -> None:
    python, out = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else NUMBERS
    with tempfile.TemporaryDirectory() as folder:
        write_pair(Path(folder), *small_pair())
        subprocess.run([python, str(ROOT / "benchmarks" / "cell_eval" / "score.py"), folder, str(out)], check=True)


if __name__ == "__main__":
    main()
