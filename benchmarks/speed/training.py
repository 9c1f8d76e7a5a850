"""How long does a whole training take on a screen of the size of Adamson et al. 2016, and where does the time go?

Run: python benchmarks/speed/training.py [--table adamson_genes.tsv.gz] [--out F]

Contract: ``grape-dgl train adamson`` in a new process, all settings their defaults, on a simulated file in the exact
layout of the real one (benchmarks/gears_layout.py: 68,603 cells, 5,060 genes, 87 perturbations), with the descriptions
of ``--table`` and no DNA. Seconds by phase as ``metrics.json`` has them, to a run folder that is written; one run. The
cells are simulated: scores say nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import measure


def main() -> None:
    parser = measure.arguments("Times a whole training.", repeats=1)
    parser.add_argument("--table", type=Path, default=measure.TABLE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        screen, out = Path(place) / "adamson.h5ad", Path(place) / "run"
        layout = Path(__file__).parents[1] / "gears_layout.py"
        subprocess.run([sys.executable, layout, given.table, "--out", screen], check=True)
        env = os.environ | {"GRAPE_DGL_DATA": place, "OMP_NUM_THREADS": str(given.threads)}
        command = [sys.executable, "-m", "grape_dgl", "train", "adamson", "--annotation", str(given.table)]
        subprocess.run([*command, "--out", str(out)], check=True, env=env, stdout=subprocess.DEVNULL)
        report = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    kept = ("seconds", "training", "peak_memory_mb")
    measure.report("training", given, {name: report[name] for name in kept})


if __name__ == "__main__":
    main()
