"""Is work that is killed at any moment finished by the same command, with what it would have given?

Run: python tests/reliability/kills.py [train] [features] [benchmark] [fetch] [--kills 25] [--seed 0] [--out F]

Contract: a command on a small simulated screen is killed (SIGKILL) at a random moment between the start and the end of
the process and started again; every other time, the moment is when a file is being written. When one ends by itself,
its results are compared with those of one that was never stopped, and a new one begins, until ``--kills`` processes
were killed. ``train``: two models, with ``--resume``; weights, graph and scores. ``features``: text and DNA encoded
anew; vectors. ``benchmark``: three models, two seeds; scores. ``fetch``: from a slow server on this machine; the file.
JSON on stdout: kills, those within a write, commands that ended, and how many of them were identical. Exit code 1
where any is not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
from safetensors.torch import load_file

SCREEN = "demo:genes=80,conditions=14,cells=900"
SETTINGS = ["--epochs", "6", "--ensemble", "2", "--set", "training.patience=0", "--set", "alignment.epochs=2"]
SUITE = f"""
name = "kills"
splits = ["condition"]
seeds = 2
[[data]]
name = "demo"
path = "{SCREEN}"
[[model]]
name = "mean"
[[model]]
name = "linear"
[[model]]
name = "GRAPE"
settings = ["training.epochs=2", "alignment.epochs=2"]
"""


@dataclass(frozen=True)
class Work:
    """Words after ``grape-dgl``, in which {} is a folder, and the files below it that are its results."""

    words: tuple[str, ...]
    results: tuple[str, ...]
    own_cache: bool = False
    """Begin with an empty one."""


WORKS = {
    "train": Work(
        ("train", SCREEN, *SETTINGS, "--out", "{}/run", "--resume"),
        ("run/model/weights-0.safetensors", "run/model/weights-1.safetensors", "run/graph.tsv.gz", "run/metrics.csv"),
    ),
    "features": Work(("features", SCREEN, "--out", "{}/features.npz", "--force"), ("features.npz",), own_cache=True),
    "benchmark": Work(("benchmark", "{}/suite.toml", "--out", "{}/results"), ("results/summary.csv",)),
    "fetch": Work(("datasets", "fetch", "adamson"), ("cache/adamson.h5ad",), own_cache=True),
}


class Slow(BaseHTTPRequestHandler):
    """Sends a file in parts, over about a second."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        try:
            for start in range(0, len(self.body), len(self.body) // 50):
                self.wfile.write(self.body[start : start + len(self.body) // 50])
                time.sleep(0.02)
        except OSError:
            pass  # a client that was killed

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def server() -> Iterator[str]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    http.daemon_threads = True
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}/"
    http.shutdown()


def start(work: Work, folder: Path, mirror: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "suite.toml").write_text(SUITE, encoding="utf-8")
    env = os.environ | {"GRAPE_DGL_MIRROR": mirror}
    if work.own_cache:
        env["GRAPE_DGL_DATA"] = str(folder / "cache")
    command = [sys.executable, "-m", "grape_dgl", *(word.format(folder) for word in work.words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)


def content(path: Path) -> object:
    """Without the order of names in the head of safetensors, and the times in those of gzip and zip."""
    if path.suffix == ".safetensors":
        return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def writing(folder: Path) -> bool:
    return any(folder.glob("**/.part-*")) or any(folder.glob("**/.download-*/*"))


def finished(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"a command failed by itself:\n{said.decode()}")


def kill_and_go_on(work: Work, kills: int, draw: random.Random, place: Path, mirror: str) -> dict[str, int]:
    found = {"kills": 0, "while a file was written": 0, "finished": 0, "identical": 0}
    whole = place / "whole"
    began = time.monotonic()
    finished(start(work, whole, mirror))
    lasts = time.monotonic() - began
    while found["kills"] < kills:
        folder = place / f"run-{found['finished']}"
        while True:
            process, until = start(work, folder, mirror), time.monotonic() + draw.uniform(0, lasts)
            wait_for_write = draw.random() < 0.5
            while process.poll() is None and (time.monotonic() < until or (wait_for_write and not writing(folder))):
                time.sleep(0.0005 if time.monotonic() >= until else 0.01)
            if process.poll() is not None or found["kills"] >= kills:
                finished(process)
                break
            process.send_signal(signal.SIGKILL)
            process.wait()
            found["kills"] += 1
            found["while a file was written"] += writing(folder)
            print(json.dumps(found), file=sys.stderr)
        found["finished"] += 1
        found["identical"] += all(content(folder / name) == content(whole / name) for name in work.results)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills commands and starts them again.")
    parser.add_argument("works", nargs="*", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    draw, found = random.Random(given.seed), {}
    with tempfile.TemporaryDirectory() as folder, server() as mirror:
        place = Path(folder)
        simulated = subprocess.run(
            [sys.executable, "-m", "grape_dgl", "datasets", "fetch", SCREEN], check=True, capture_output=True, text=True
        )
        Slow.body = Path(simulated.stdout.strip()).read_bytes()
        for name in given.works:
            (place / name).mkdir()
            print(name, file=sys.stderr)
            found[name] = kill_and_go_on(WORKS[name], given.kills, draw, place / name, mirror)
    print(json.dumps(found))
    if given.out is not None:
        given.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    raise SystemExit(any(one["identical"] != one["finished"] for one in found.values()))


if __name__ == "__main__":
    main()
