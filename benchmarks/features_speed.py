"""How fast are the encoders? Descriptions, k-mers and bases of CI-SpliceAI per second, in fp32 and bf16.

Run: python benchmarks/features_speed.py [--texts 320] [--genes 200] [--splice-kb 20] [--repeats 3] [--out speed.json]

Contract: nothing comes from a cache. Each measurement is one warm-up on 8 of its inputs, cut to 200 letters (models are
loaded by then), and ``--repeats`` passes over all of them; median, least and largest rate of the passes are given, so
other work on the machine shows as spread. Texts: descriptions of ``--descriptions`` (columns symbol, description;
adamson_genes.tsv.gz in GRAPE_DGL_TEST_DATA unless another is named), drawn with seed 0; generated ones of 5 to 20 words
where there is no such table. DNA: random A, C, G, T, seed 0, 20 kb per gene for k-mers. The difference of bf16 from
fp32 is the largest over inputs of |a - b| / |a|, norms of whole vectors. Seconds for the targets (5,000 descriptions in
180 s, k-mers of 5,000 genes x 20 kb in 10 s) are extrapolated from the median. bf16 is slower than fp32 on a processor
without bf16 instructions (``processor`` AVX2): take few texts and bases there.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch

from grape_dgl.features.dna import SpliceEncoder
from grape_dgl.features.kmer import KmerEncoder
from grape_dgl.features.store import Encoder, encode_all
from grape_dgl.features.text import TextEncoder

TABLE = Path(os.environ.get("GRAPE_DGL_TEST_DATA", ".")) / "adamson_genes.tsv.gz"


def rates(encoder: Encoder, inputs: Sequence[str], amount: float, repeats: int) -> tuple[dict[str, float], np.ndarray]:
    """``amount`` per second over repeated passes, and the vectors."""
    encode_all([text[:200] for text in inputs[:8]], encoder, None, "warm-up")
    found, rows = [], np.empty(0)
    for _ in range(repeats):
        start = time.perf_counter()
        rows = encode_all(inputs, encoder, None, "inputs")
        found.append(amount / (time.perf_counter() - start))
    return {"median": median(found), "least": min(found), "largest": max(found)}, rows


def both(make: Callable[[str], Encoder], inputs: Sequence[str], amount: float, repeats: int) -> dict[str, Any]:
    """Rates in either precision, and how far the vectors are apart."""
    full, rows = rates(make("fp32"), inputs, amount, repeats)
    half, others = rates(make("bf16"), inputs, amount, repeats)
    apart = np.linalg.norm(rows - others, axis=1) / np.linalg.norm(rows, axis=1)
    return {"fp32": full, "bf16": half, "bf16_differs": float(apart.max())}


def descriptions(table: Path, number: int) -> list[str]:
    """Different ones."""
    draws = np.random.default_rng(0)
    if table.exists():
        rows = pd.read_csv(table, sep="\t").dropna(subset=["symbol", "description"])
        texts = (rows["symbol"] + ": " + rows["description"]).unique()
        return [str(text) for text in draws.permutation(texts)[:number]]
    words = ["receptor", "ribosomal", "protein", "subunit", "kinase", "family", "member", "zinc", "finger", "factor"]
    return [f"G{gene}: " + " ".join(draws.choice(words, draws.integers(5, 21))) for gene in range(number)]


def dna(number: int, length: int) -> list[str]:
    letters = np.random.default_rng(0).choice(np.frombuffer(b"ACGT", dtype=np.uint8), (number, length))
    return [row.tobytes().decode() for row in letters]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=320)
    parser.add_argument("--descriptions", type=Path, default=TABLE)
    parser.add_argument("--genes", type=int, default=200, help="of 20 kb, for k-mers")
    parser.add_argument("--kmer", type=int, default=5)
    parser.add_argument("--splice-kb", type=int, default=20, help="of all genes together, for CI-SpliceAI")
    parser.add_argument("--splice-genes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    texts = descriptions(given.descriptions, given.texts)
    bases = dna(given.splice_genes, given.splice_kb * 1000 // given.splice_genes)
    answer: dict[str, Any] = {
        "contract": __doc__,
        "settings": {name: str(value) for name, value in vars(given).items()},
        "threads": torch.get_num_threads(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "load_before": os.getloadavg(),
        "versions": {name: version(name) for name in ("grape_dgl", "numpy", "torch", "transformers")},
        "texts_per_s": both(lambda p: TextEncoder("minilm", "mean", p), texts, len(texts), given.repeats),
        "kmer_genes_per_s": rates(KmerEncoder(given.kmer), dna(given.genes, 20_000), given.genes, given.repeats)[0],
        "splice_kb_per_s": both(lambda p: SpliceEncoder("mean_std", p), bases, given.splice_kb, given.repeats),
    }
    answer["target_seconds"] = {
        "5,000 descriptions (180)": 5000 / answer["texts_per_s"]["fp32"]["median"],
        "k-mers of 5,000 genes x 20 kb (10)": 5000 / answer["kmer_genes_per_s"]["median"],
    }
    text = json.dumps(answer, indent=1)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
