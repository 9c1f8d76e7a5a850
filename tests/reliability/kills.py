"""Is a training that is killed at any moment finished by ``--resume`` with the weights that it would have had?

Run: python tests/reliability/kills.py [--kills 25] [--seed 0] [--out F]

Contract: ``grape-dgl train`` on a small simulated screen, two models, is killed (SIGKILL) at a random moment between
the start and the end of the process and started again with ``--resume``; every other time, the moment is when a file is
being written (a ``.part-`` file is there). When a run ends by itself, weights, graph and scores are compared byte by
byte with those of a run that was never stopped, and a new one begins, until ``--kills`` processes were killed. JSON on
stdout: kills, those within a write, runs that ended, and how many of them were identical. Exit code 1 where any is not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

SCREEN = "demo:genes=80,conditions=14,cells=900"
SETTINGS = ["--epochs", "6", "--ensemble", "2", "--set", "training.patience=0", "--set", "alignment.epochs=2"]
COMPARED = ("model/weights-0.safetensors", "model/weights-1.safetensors", "graph.tsv.gz", "metrics.csv")


def start(out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "grape_dgl", "train", SCREEN, *SETTINGS, "--out", str(out), "--resume"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def content(path: Path) -> object:
    """Without the order of names in the head of safetensors, and the time in that of gzip."""
    if path.suffix == ".safetensors":
        return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def writing(folder: Path) -> bool:
    return any(folder.glob("**/.part-*"))


def finished(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run failed by itself:\n{said.decode()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills trainings and lets them go on.")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    found = {"kills": 0, "while a file was written": 0, "runs": 0, "identical": 0}
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        began = time.monotonic()
        finished(start(whole))
        lasts = time.monotonic() - began
        while found["kills"] < given.kills:
            out = Path(place) / f"run-{found['runs']}"
            while True:
                process, until = start(out), time.monotonic() + draw.uniform(0, lasts)
                wait_for_write = draw.random() < 0.5
                while process.poll() is None and (time.monotonic() < until or (wait_for_write and not writing(out))):
                    time.sleep(0.0005 if time.monotonic() >= until else 0.01)
                if process.poll() is not None or found["kills"] >= given.kills:
                    finished(process)
                    break
                process.send_signal(signal.SIGKILL)
                process.wait()
                found["kills"] += 1
                found["while a file was written"] += writing(out)
                print(json.dumps(found), file=sys.stderr)
            found["runs"] += 1
            found["identical"] += all(content(out / name) == content(whole / name) for name in COMPARED)
    print(json.dumps(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    raise SystemExit(found["identical"] != found["runs"])


if __name__ == "__main__":
    main()
