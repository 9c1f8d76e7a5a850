"""The whole model: what must hold whatever its weights are."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import pytest
import small
import torch
from engines import BOTH, ENGINES, needs_dgl
from torch import Tensor

import grape_dgl.model
from grape_dgl.config import Ablation
from grape_dgl.engine import Engine, TorchRelation
from grape_dgl.errors import ConfigError
from grape_dgl.graph.hetero import GeneGraph, Pairs, Prior
from grape_dgl.graph.similarity import head_units
from grape_dgl.losses import structure_loss
from grape_dgl.model import GRAPE, GeneInputs, mask_perturbed
from grape_dgl.nn.incremental import affected_edges

CONDITIONS: tuple[tuple[int, ...], ...] = ((), (0,), (1, 2), (7,), (21,), (4, 5, 6))


def change(
    model: GRAPE, genes: GeneInputs, conditions: Sequence[Sequence[int]] = CONDITIONS, plain: bool = False
) -> Tensor:
    z = model.represent(genes)
    return model.propagate(model.graph(model.learn_graph(z).pairs, genes.coding), z.fused, conditions, plain=plain)


def gradients(model: GRAPE, loss: Tensor) -> dict[str, Tensor]:
    """Of every parameter; zeros where the loss does not reach it."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


def assert_same_gradients(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=tolerance, atol=tolerance, msg=name)


def edges(pairs: Pairs) -> dict[tuple[int, int], float]:
    ends = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return dict(zip(ends, pairs.value.tolist(), strict=True))


def graph_edges(graph: GeneGraph) -> dict[tuple[int, int], float]:
    """Directed edges of a torch-engine graph in global ids."""
    found = {}
    for source, relation, target in graph.schema.relations:
        handle = graph.handle[source, relation, target]
        assert isinstance(handle, TorchRelation)
        for a, b, v in zip(handle.src.tolist(), handle.dst.tolist(), graph.similarity[relation].tolist(), strict=True):
            found[int(graph.order[source][a]), int(graph.order[target][b])] = v
    return found


def test_masking_by_hand() -> None:
    """Both rows of A+B are zero in their column, every other row is untouched, the empty condition is unmasked."""
    fused = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    masked = mask_perturbed(fused, [(0, 2), (), (1,)])
    assert masked[:, 0].tolist() == [[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]
    assert torch.equal(masked[:, 1], fused)
    assert masked[:, 2].tolist() == [[1.0, 2.0], [0.0, 0.0], [5.0, 6.0]]


@needs_dgl
@pytest.mark.parametrize("ablation", ["none", "no_gsl", "no_biotype", "only_fusion"])
@pytest.mark.parametrize("gradient", ["task", "regulariser"])
def test_both_engines_agree(ablation: Ablation, gradient: str) -> None:
    """Float32, the whole model, 1e-6."""
    genes = small.inputs(dtype=torch.float32)
    sections = {"model": {"ablation": ablation}, "structure": {"gradient": gradient}}
    one, other = (small.model(e, dtype=torch.float32, **sections) for e in BOTH)
    other.load_state_dict(one.state_dict())
    torch.testing.assert_close(change(one, genes), change(other, genes), rtol=1e-6, atol=1e-6)
    assert edges(one(genes, [()])[1].pairs).keys() == edges(other(genes, [()])[1].pairs).keys()


@needs_dgl
def test_both_engines_have_the_same_gradients() -> None:
    genes = small.inputs()
    one, other = (small.model(engine) for engine in BOTH)
    losses = [m(genes, CONDITIONS) for m in (one, other)]
    first, second = (x.square().sum() + structure_loss(s) for x, s in losses)
    assert_same_gradients(gradients(one, first), gradients(other, second))


@pytest.mark.parametrize("readout", ["centred", "plain"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("engine", ENGINES)
def test_one_pass_for_all_conditions_equals_a_pass_each(engine: Engine, dropout: float, readout: str) -> None:
    """Incremental = plain, values and gradients, with the same dropout masks."""
    genes, model = small.inputs(), small.model(engine, model={"dropout": dropout, "readout": readout})
    model.train()
    found = []
    for plain in (False, True):
        torch.manual_seed(11)
        out = change(model, genes, plain=plain)
        found.append((out, gradients(model, out.square().sum())))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-11)
    assert_same_gradients(found[0][1], found[1][1], 1e-8)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch, dropout: float) -> None:
    genes, model = small.inputs(), small.model(model={"dropout": dropout})
    model.train()
    found = []
    for elements in (2**25, 1):
        monkeypatch.setattr(grape_dgl.model, "CHUNK_ELEMENTS", elements)
        torch.manual_seed(11)
        out = change(model, genes, plain=True)
        found.append((out, gradients(model, out.square().sum())))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-10, atol=1e-12)
    assert_same_gradients(found[0][1], found[1][1])


@pytest.mark.parametrize("plain", [True, False])
def test_a_prediction_does_not_depend_on_the_batch(plain: bool) -> None:
    genes, model = small.inputs(), small.model().eval()
    together = change(model, genes, plain=plain)
    for row, condition in enumerate(CONDITIONS):
        torch.testing.assert_close(change(model, genes, [condition], plain)[0], together[row], rtol=1e-10, atol=1e-12)
    assert len({tuple(row) for row in together.tolist()}) >= 5  # and they do differ (21 is a gene without neighbours)


def test_order_of_targets_does_not_matter() -> None:
    genes, model = small.inputs(), small.model().eval()
    one, other = change(model, genes, [(1, 2, 9), (9, 1, 2)])
    assert torch.equal(one, other)


@pytest.mark.parametrize("plain", [True, False])
def test_control_is_the_unmasked_pass(plain: bool) -> None:
    """Eq. 12 on unmasked states; nothing but the bias where the read-out is centred on them."""
    genes, model = small.inputs(), small.model(model={"readout": "plain"}).eval()
    z = model.represent(genes)
    graph = model.graph(model.learn_graph(z).pairs, genes.coding)
    wanted = model.readout(model.messages(graph, z.fused[:, None]))
    torch.testing.assert_close(change(model, genes, [()], plain), wanted, rtol=1e-10, atol=1e-12)
    assert bool(wanted.any())
    centred = small.model().eval()
    centred.readout.bias.data = torch.randn(small.MEASURED, dtype=torch.float64)
    torch.testing.assert_close(change(centred, genes, [()], plain)[0], centred.readout.bias, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("plain", [True, False])
def test_the_centred_readout_is_the_plain_one_with_another_bias(plain: bool) -> None:
    """``b_i - <w_i, p_i>`` of the unmasked state in place of ``b_i``: the same function."""
    genes, centred, other = small.inputs(), small.model().eval(), small.model(model={"readout": "plain"}).eval()
    other.load_state_dict(centred.state_dict())
    unmasked = change(other, genes, [()])[0]
    torch.testing.assert_close(
        change(centred, genes, plain=plain), change(other, genes) - unmasked, rtol=1e-9, atol=1e-11
    )


def test_training_path_is_the_prediction_path() -> None:
    """In eval mode, with dropout configured: forward gives what the stages give, and twice the same."""
    genes, model = small.inputs(), small.model(model={"dropout": 0.4}).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(genes, CONDITIONS)[0], change(model, genes), rtol=0, atol=0)
    model.train()
    assert not torch.equal(change(model, genes), change(model, genes))


@pytest.mark.parametrize("engine", ENGINES)
def test_relabelling_genes_only_relabels_the_output(engine: Engine) -> None:
    """Measured genes among themselves (their own read-out moves with them), the others among themselves."""
    genes, model = small.inputs(), small.model(engine, structure={"sparsity": "0.4"}).eval()
    draw = torch.Generator().manual_seed(4)
    measured = torch.randperm(small.MEASURED, generator=draw)
    order = torch.cat([measured, small.MEASURED + torch.randperm(small.GENES - small.MEASURED, generator=draw)])
    moved = GeneInputs(
        {m: x[order] for m, x in genes.values.items()},
        {m: x[order] for m, x in genes.present.items()},
        genes.coding[order],
    )
    now = torch.argsort(order)  # where an old gene is now
    plain = change(model, genes)
    model.readout.weight.data = model.readout.weight.data[measured]
    model.readout.bias.data = model.readout.bias.data[measured]
    found = change(model, moved, [[int(now[t]) for t in targets] for targets in CONDITIONS])
    torch.testing.assert_close(found, plain[:, measured], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("plain", [True, False])
def test_a_perturbation_stays_within_its_reach(layers: int, plain: bool) -> None:
    """Nothing changes further than ``layers`` hops away, everything within does."""
    genes = small.inputs()
    model = small.model(model={"layers": layers}, structure={"sparsity": "degree:1.5"}).eval()
    pairs = model(genes, [()])[1].pairs
    near = torch.eye(small.GENES, dtype=torch.bool)
    near[pairs.first, pairs.second] = near[pairs.second, pairs.first] = True
    reach = torch.eye(small.GENES, dtype=torch.bool)
    for _ in range(layers):
        reach = (reach.int() @ near.int()) > 0
    out = change(model, genes, [(), *((g,) for g in range(small.GENES))], plain)
    differs = (out[1:] - out[0]).abs() > 1e-9
    assert not (differs & ~reach[:, : small.MEASURED]).any()
    assert (differs == reach[:, : small.MEASURED]).float().mean() > 0.95
    assert (~reach).any()


GROUPS = (
    "project.seq", "project.text", "fuse.layers", "fuse.placeholder", "structure.similarity.seq",
    "structure.similarity.text", "structure.similarity.fus", "structure.gcn", "structure.channel_similarity",
    "structure.channel_attention", "messages.layers", "messages.norms", "readout",
)  # fmt: skip


def reached(model: GRAPE, loss: Tensor) -> set[str]:
    """Groups of which some parameter has a gradient; every parameter must belong to one."""
    found = set()
    for name, gradient in gradients(model, loss).items():
        group = next((g for g in (*GROUPS, "discriminate") if name.startswith(g)), None)
        assert group is not None, name
        if gradient.abs().max() > 1e-12:
            found.add(group)
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_the_prediction_loss_reaches_every_group(engine: Engine) -> None:
    """METHOD decision 2; the discriminators belong to the alignment alone."""
    genes, model = small.inputs(), small.model(engine)
    assert reached(model, model(genes, CONDITIONS)[0].square().sum()) == set(GROUPS)


def test_only_the_regulariser_reaches_the_structure_where_asked() -> None:
    genes, model = small.inputs(), small.model(structure={"gradient": "regulariser"})
    out, structure = model(genes, CONDITIONS)
    by_task, by_regulariser = reached(model, out.square().sum()), reached(model, structure_loss(structure))
    assert not any(group.startswith("structure") for group in by_task) and "fuse.layers" in by_task
    assert {group for group in GROUPS if group.startswith("structure")} <= by_regulariser
    assert not by_regulariser & {"messages.layers", "messages.norms", "readout"}


ABLATIONS: dict[Ablation, tuple[str, ...]] = {
    "none": ("seq", "text", "fus"),
    "only_seq": ("seq",),
    "only_text": ("text",),
    "only_fusion": ("fus",),
    "no_gsl": ("seq", "text", "fus"),
    "no_biotype": ("seq", "text", "fus"),
}


def test_ablations_do_what_they_say_and_differ() -> None:
    genes, seen = small.inputs(), []
    for ablation, members in ABLATIONS.items():
        model = small.model(model={"ablation": ablation}).eval()
        out, structure = model(genes, CONDITIONS)
        assert model.structure.members == members, ablation
        assert torch.isfinite(out).all()
        assert bool(structure.units) == (ablation != "no_gsl")
        assert model.schema.node_types == (("g",) if ablation == "no_biotype" else ("c", "n"))
        seen.append(out)
    for i, one in enumerate(seen):
        assert not any(torch.allclose(one, other) for other in seen[:i])


@pytest.mark.parametrize(("ablation", "other"), [("only_seq", "text"), ("only_text", "seq")])
def test_an_ablated_modality_is_never_looked_at(ablation: Ablation, other: str) -> None:
    genes, model = small.inputs(), small.model(model={"ablation": ablation}).eval()
    changed = dataclasses.replace(genes, values=dict(genes.values) | {other: genes.values[other] + 5})
    assert torch.equal(change(model, genes), change(model, changed))


def test_missing_modalities() -> None:
    """Gene 22 has neither modality: its self-loop only. Values of an absent modality are never looked at."""
    genes, model = small.inputs(), small.model(structure={"sparsity": "0.01"}).eval()
    structure = model(genes, [()])[1]
    assert all(22 not in pair for pair in (*edges(structure.pairs), *edges(structure.prior)))
    assert any(3 in pair for pair in edges(structure.prior)) and any(5 in pair for pair in edges(structure.prior))
    z = model.represent(genes)
    other = GeneInputs({m: x.clone() for m, x in genes.values.items()}, genes.present, genes.coding)
    other.values["seq"][3] = 7.0
    torch.testing.assert_close(model.represent(other).fused, z.fused)
    torch.testing.assert_close(change(model, other), change(model, genes))


def third(genes: GeneInputs) -> GeneInputs:
    """The same genes with a third modality, which gene 7 lacks, and a prior graph, which knows genes 0 to 9."""
    draw = torch.Generator().manual_seed(5)
    vector = torch.randn(len(genes), 7, generator=draw).to(genes.values["text"])
    has = torch.arange(len(genes)) != 7
    pairs = Pairs(torch.tensor([0, 2, 8]), torch.tensor([1, 5, 9]), torch.tensor([0.9, 0.2, 0.5], dtype=vector.dtype))
    prior = Prior("go", pairs, torch.arange(len(genes)) < 10)
    return GeneInputs(
        {**genes.values, "esm": vector * has[:, None]}, {**genes.present, "esm": has}, genes.coding, (prior,)
    )


def test_eq5_with_a_third_modality_and_a_prior_graph() -> None:
    """G_agg is the mean over the members that both genes have, against loops over all pairs."""
    genes = third(small.inputs())
    model = small.model(genes=genes, structure={"sparsity": "0.1"}).eval()
    assert model.modalities == ("seq", "text", "esm") and model.structure.members == ("seq", "text", "esm", "fus")
    z = model.represent(genes)
    found = edges(model.learn_graph(z).prior)
    prior = dict(zip([(0, 1), (2, 5), (8, 9)], [0.9, 0.2, 0.5], strict=True))
    for i in range(small.GENES):
        for j in range(i + 1, small.GENES):
            values = []
            for member in model.structure.members:
                if z.present[member][i] and z.present[member][j]:
                    u = head_units(z.z[member], model.structure.similarity[member])
                    value = (u[i] @ u[j]).item()
                    values.append(value if value >= 0.1 else 0.0)
            if i < 10 and j < 10:
                values.append(prior.get((i, j), 0.0))
            wanted = sum(values) / len(values) if values else 0.0
            assert found.get((i, j), 0.0) == pytest.approx(wanted, abs=1e-12)


def test_a_third_modality_is_fused_and_learned() -> None:
    genes = third(small.inputs())
    model = small.model(genes=genes)
    other = dataclasses.replace(genes, values=dict(genes.values) | {"esm": genes.values["esm"] + 1.0})
    assert not torch.allclose(change(model.eval(), other), change(model, genes))
    grads = gradients(model, change(model, genes).square().sum())
    assert all(grads[name] is not None and grads[name].any() for name in grads if name.startswith("project.esm"))
    alone = small.model(genes=genes, model={"ablation": "only_text"}).eval()
    assert torch.equal(change(alone, other), change(alone, genes))


def test_a_gene_attached_later_has_no_prior_edges_and_changes_no_edge() -> None:
    genes, new = third(small.inputs()), small.inputs(genes=2, seed=9)
    new = dataclasses.replace(
        new,
        values=dict(new.values) | {"esm": torch.ones(2, 7, dtype=torch.float64)},
        present=dict(new.present) | {"esm": torch.tensor([True, False])},
    )
    model = small.model(genes=genes, structure={"sparsity": "0.2"}).eval()
    graph, _ = model.extend(genes, new)
    before = graph_edges(model.graph(model.learn_graph(model.represent(genes)).pairs, genes.coding))
    after = graph_edges(graph)
    assert {pair: value for pair, value in after.items() if max(pair) < small.GENES} == before
    assert any(max(pair) >= small.GENES and min(pair) < small.GENES for pair in after)


def test_too_many_edges_names_the_degree() -> None:
    with pytest.raises(ConfigError, match=r"mean degree \d+\); structure.max_edges allows 5"):
        small.model(structure={"max_edges": 5, "sparsity": "0.01"})


@pytest.mark.parametrize("ablation", ["none", "no_gsl"])
def test_extend_changes_no_edge_between_other_genes(ablation: Ablation) -> None:
    genes, new = small.inputs(), small.inputs(genes=2, seed=9)
    model = small.model(model={"ablation": ablation}, structure={"sparsity": "0.2"}).eval()
    graph, fused = model.extend(genes, new)
    z = model.represent(genes)
    before = graph_edges(model.graph(model.learn_graph(z).pairs, genes.coding))
    after = graph_edges(graph)
    kept = {pair: value for pair, value in after.items() if max(pair) < small.GENES}
    assert kept == pytest.approx(before, rel=1e-12)
    attached = {pair for pair in after if max(pair) >= small.GENES and pair[0] != pair[1]}
    assert attached and {(b, a) for a, b in attached} == attached
    torch.testing.assert_close(fused, torch.cat([z.fused, model.represent(new).fused]))


def test_extend_with_an_unlinked_gene_predicts_as_before() -> None:
    genes, model = small.inputs(), small.model().eval()
    new = small.inputs(genes=1, seed=9)
    new = dataclasses.replace(new, present={m: torch.zeros(1, dtype=torch.bool) for m in new.present})
    graph, fused = model.extend(genes, new)
    with torch.no_grad():
        out = model.propagate(graph, fused, [*CONDITIONS, (small.GENES,)])
    torch.testing.assert_close(out[:-1], change(model, genes), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(out[-1], out[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_whole_pass_under_autocast(engine: Engine) -> None:
    genes = small.inputs(dtype=torch.float32)
    model = small.model(engine, dtype=torch.float32, model={"readout": "plain"}).eval()
    plain = change(model, genes, plain=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = change(model, genes, plain=True)
    assert torch.isfinite(out).all()
    assert torch.corrcoef(torch.stack([out.float().flatten(), plain.flatten()]))[0, 1] > 0.9


@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_of_a_model_predicts_the_same(engine: Engine) -> None:
    genes, model = small.inputs(), small.model(engine).eval()
    assert torch.equal(change(copy.deepcopy(model), genes), change(model, genes))


def hub_and_chain(genes: int) -> Pairs:
    """Gene 0 is linked to five sixths of all genes; the others form a chain."""
    ends = 5 * genes // 6
    first, second = [0] * ends + list(range(ends + 1, genes - 1)), [*range(1, ends + 1), *range(ends + 2, genes)]
    value = torch.linspace(0.2, 0.9, len(first), dtype=torch.float64)
    return Pairs(torch.tensor(first), torch.tensor(second), value)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hub_takes_full_passes_and_changes_nothing(engine: Engine) -> None:
    """A condition that perturbs a hub is cheaper in full, others are corrected; together they equal a pass each."""
    genes = dataclasses.replace(small.inputs(60), given=hub_and_chain(60))
    sections = {"model": {"ablation": "no_gsl", "dropout": 0.3}, "structure": {"sparsity": "0.01"}}
    model = small.model(engine, genes=genes, **sections)
    model.train()
    conditions = [(0,), (55,), (5, 58), (), (0, 45), (59,)]
    graph = model.graph(model.learn_graph(model.represent(genes)).pairs, genes.coding)
    edges = sum(len(value) for value in graph.similarity.values())
    heavy = affected_edges(graph, conditions, 2) > 2 * edges
    assert heavy.tolist() == [True, False, False, False, True, False]
    found = []
    for plain in (False, True):
        torch.manual_seed(11)
        out = change(model, genes, conditions, plain)
        found.append((out, gradients(model, out.square().sum())))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-9, atol=1e-11)
    assert_same_gradients(found[0][1], found[1][1], 1e-8)


@pytest.mark.parametrize("engine", ENGINES)
def test_min_neighbours_links_every_known_gene(engine: Engine) -> None:
    """Every gene's two best pairs are edges, those of a gene attached later too; all else is as before."""
    genes, new = small.inputs(), small.inputs(genes=2, seed=9)
    sections = {"sparsity": "degree:1", "min_neighbours": 2}
    model = small.model(engine, structure=sections).eval()
    structure = model(genes, [()])[1]
    degrees = structure.pairs.degrees(small.GENES)
    known = torch.arange(small.GENES) != 22
    assert (degrees[known] >= 2).all() and degrees[22] == 0
    without = small.model(engine, structure={"sparsity": "degree:1"}).eval()
    fewer = without(genes, [()])[1].pairs
    assert edges(fewer).items() <= edges(structure.pairs).items() and (fewer.degrees(small.GENES)[known] < 2).any()
    torch.testing.assert_close(change(model, genes), change(model, genes, plain=True), rtol=1e-9, atol=1e-11)
    graph, _ = model.extend(genes, new)
    added = sum(len(value) for value in graph.similarity.values()) - (2 * len(structure.pairs) + small.GENES)
    assert added >= 2 * (2 * 2) + 2  # two edges both ways and a self-loop for each new gene


def test_no_conditions_at_all() -> None:
    assert change(small.model(), small.inputs(), []).shape == (0, small.MEASURED)
