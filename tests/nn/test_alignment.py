"""Eq. 1-2: projection, contrastive alignment, fusion."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from grape_dgl.nn.alignment import Discriminator, Fusion, Projection, alignment_loss


def test_eq1_by_hand() -> None:
    """Two genes, tau = 0.5: rows of cosines (1, 0) and (0.6, 0.8), so logits (2, 0) and (1.2, 1.6)."""
    seq = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    first = -math.log(math.exp(2) / (math.exp(2) + 1))
    second = -math.log(math.exp(1.6) / (math.exp(1.2) + math.exp(1.6)))
    assert float(alignment_loss(seq, text, 0.5)) == pytest.approx((first + second) / 2, rel=1e-6)


def test_eq1_sums_over_the_texts_of_a_sequence() -> None:
    """It is not symmetric: row i compares sequence i with every text."""
    seq, text = F.normalize(torch.randn(4, 3), dim=1), F.normalize(torch.randn(4, 3), dim=1)
    wanted = 0.0
    for i in range(4):
        wanted -= math.log(math.exp(seq[i] @ text[i]) / sum(math.exp(seq[i] @ text[j]) for j in range(4))) / 4
    assert float(alignment_loss(seq, text, 1.0)) == pytest.approx(wanted, rel=1e-5)
    assert float(alignment_loss(text, seq, 1.0)) != pytest.approx(wanted, rel=1e-5)


def test_alignment_is_least_for_matching_pairs() -> None:
    rows = torch.eye(4)
    assert float(alignment_loss(rows, rows, 0.05)) < 1e-6 < float(alignment_loss(rows, rows.roll(1, 0), 0.05))


def test_discriminator_gives_unit_rows_of_its_mlp() -> None:
    module, z = Discriminator(4), torch.randn(5, 4)
    a, b = module.layers[0], module.layers[2]
    raw = torch.relu(z @ a.weight.T + a.bias) @ b.weight.T + b.bias
    torch.testing.assert_close(module(z), raw / raw.norm(dim=1, keepdim=True))


def test_statistics_come_from_the_genes_that_have_the_modality() -> None:
    """Rows (1, 5) and (3, 5): mean (2, 5), population deviation (1, 0 -> 1); the third row is absent."""
    head = Projection(2, 4)
    head.freeze_statistics(torch.tensor([[1.0, 5.0], [3.0, 5.0], [900.0, -900.0]]), torch.tensor([True, True, False]))
    assert head.mean.tolist() == [2.0, 5.0] and head.scale.tolist() == [1.0, 1.0]
    head.freeze_statistics(torch.tensor([[0.0, 0.0], [8.0, 2.0]]), torch.tensor([True, True]))
    assert head.mean.tolist() == [4.0, 1.0] and head.scale.tolist() == [4.0, 1.0]
    torch.testing.assert_close(head(torch.tensor([[8.0, 3.0]])), head.layers(torch.tensor([[1.0, 2.0]])))


def test_a_gene_is_projected_alone() -> None:
    """No batch statistics: METHOD decision 5."""
    head, x = Projection(3, 4), torch.randn(6, 3)
    head.freeze_statistics(x, torch.ones(6, dtype=torch.bool))
    torch.testing.assert_close(head(x)[2:3], head(x[2:3]))


def test_eq2_by_hand_with_placeholder() -> None:
    """Gene 1 lacks the sequence: the learned placeholder stands in, whatever its row holds."""
    fuse = Fusion(("seq", "text"), 3)
    z = {"seq": torch.randn(2, 3), "text": torch.randn(2, 3)}
    present = {"seq": torch.tensor([True, False]), "text": torch.tensor([True, True])}
    out = fuse(z, present)
    first = fuse.layers(torch.cat([z["seq"][0], z["text"][0]]))
    second = fuse.layers(torch.cat([fuse.placeholder["seq"], z["text"][1]]))
    torch.testing.assert_close(out, torch.stack([first, second]))
    z["seq"][1] = 1e6
    assert torch.equal(fuse(z, present), out)


def test_placeholder_learns_only_where_it_stands() -> None:
    fuse = Fusion(("seq", "text"), 3)
    z = {m: torch.randn(2, 3) for m in ("seq", "text")}
    present = {"seq": torch.tensor([True, False]), "text": torch.tensor([True, True])}
    fuse(z, present).square().sum().backward()
    assert fuse.placeholder["seq"].grad is not None and fuse.placeholder["seq"].grad.any()
    assert not fuse.placeholder["text"].grad.any()
