"""Contrastive pre-training of the projection heads, alone and before everything else (Eq. 1, Sec. 4.5)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm import tqdm

from grape_dgl.config import AlignmentConfig
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.nn.alignment import alignment_loss

log = logging.getLogger("grape_dgl")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches are small: threads that wait for each other, and for other processes, cost more than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_one_thread()
def align(model: GRAPE, genes: GeneInputs, config: AlignmentConfig, seed: int) -> list[float]:
    """Optimise Eq. 1 over the genes that have both modalities; returns the mean loss of every epoch.

    Heads and discriminators are trained, nothing else; with fewer than two modalities or genes it does nothing.
    """
    if set(model.modalities) != {"seq", "text"}:
        return []
    both = torch.nonzero(genes.present["seq"] & genes.present["text"]).squeeze(1)
    if len(both) < 2:
        log.warning("alignment skipped: fewer than two genes have both a description and a sequence")
        return []
    heads = [*model.project.parameters(), *model.discriminate.parameters()]
    optimiser = torch.optim.AdamW(heads, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    draw = torch.Generator().manual_seed(seed)
    history = []
    epochs = tqdm(range(config.epochs), desc="align", file=sys.stderr, disable=not sys.stderr.isatty())
    for _ in epochs:
        total, count = 0.0, 0
        for rows in both[torch.randperm(len(both), generator=draw).to(both.device)].split(config.batch):
            if len(rows) < 2:
                continue  # a single gene has nothing to be told from
            seq, text = (model.discriminate[m](model.project[m](genes.values[m][rows])) for m in ("seq", "text"))
            loss = alignment_loss(seq, text, config.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, count = total + float(loss.detach()) * len(rows), count + len(rows)
        history.append(total / count)
        epochs.set_postfix(loss=f"{history[-1]:.3f}")
    return history
