"""Contrastive pre-training of the projection heads, alone and before everything else (Eq. 1, Sec. 4.5)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor
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

    Every other modality is aligned to the text, or to the first modality where there is no text. Heads and
    discriminators are trained, nothing else; with fewer than two modalities or genes it does nothing.
    """
    anchor = "text" if "text" in model.modalities else model.modalities[0]
    both = {}
    for name in model.modalities:
        if name != anchor:
            rows = torch.nonzero(genes.present[name] & genes.present[anchor]).squeeze(1)
            if len(rows) < 2:
                log.warning("alignment of %s to %s skipped: fewer than two genes have both", name, anchor)
            else:
                both[name] = rows
    if not both:
        return []
    heads = [*model.project.parameters(), *model.discriminate.parameters()]
    optimiser = torch.optim.AdamW(heads, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    draw = torch.Generator("cpu").manual_seed(seed)
    history = []
    epochs = tqdm(range(config.epochs), desc="align", file=sys.stderr, disable=not sys.stderr.isatty())
    for _ in epochs:
        total, count = 0.0, 0
        for name, rows in _batches(both, config.batch, draw):
            other, text = (model.discriminate[m](model.project[m](genes.values[m][rows])) for m in (name, anchor))
            loss = alignment_loss(other, text, config.temperature)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total, count = total + float(loss.detach()) * len(rows), count + len(rows)
        history.append(total / count)
        epochs.set_postfix(loss=f"{history[-1]:.3f}")
    return history


def _batches(both: Mapping[str, Tensor], size: int, draw: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Every modality's genes in random order; a single gene has nothing to be told from."""
    for name, genes in both.items():
        for rows in genes[torch.randperm(len(genes), generator=draw, device="cpu").to(genes.device)].split(size):
            if len(rows) > 1:
                yield name, rows
