"""Numbers of another tool for our tests, from the real package in an environment of its own. TOOL: cell_eval or pertpy.

Run: python -m venv VENV && VENV/bin/pip install -r benchmarks/TOOL/requirements.txt   (pertpy: Python 3.12 or newer)
     python benchmarks/reference.py TOOL VENV/bin/python [tests/evaluation/TOOL.json]

benchmarks/TOOL/score.py scores the pair that tests/evaluation/test_cell_eval.py builds; tests/evaluation/test_TOOL.py
compares our metrics with the file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from evaluation.test_cell_eval import small_pair  # noqa: E402

from grape_dgl.evaluation.cell_eval import write_pair  # noqa: E402


def main() -> None:
    tool, python, *to = sys.argv[1:]
    out = Path(*to) if to else ROOT / "tests" / "evaluation" / f"{tool}.json"
    with tempfile.TemporaryDirectory() as folder:
        write_pair(Path(folder), *small_pair())
        subprocess.run([python, str(ROOT / "benchmarks" / tool / "score.py"), folder, str(out)], check=True)


if __name__ == "__main__":
    main()
