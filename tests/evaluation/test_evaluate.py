"""The long table against numbers recomputed from the cells, and its behaviour where nothing was done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.screens import GENES, norman, simulated
from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.data.read import read_screen
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.errors import DataError
from grape_dgl.evaluation.catalogue import RANKS, all_names, metric_names
from grape_dgl.evaluation.evaluate import evaluate, null_screen, summary
from grape_dgl.evaluation.null import NULL_METRICS
from grape_dgl.evaluation.views import Views
from grape_dgl.evaluation.views import halves as cut


def _value(table: pd.DataFrame, metric: str, condition: str, model: str = "m") -> float:
    return float(table.set_index(["model", "condition", "metric"])["value"][(model, condition, metric)])


def _dense(screen: Screen, rows: np.ndarray) -> np.ndarray:
    return screen.expression[rows].toarray().astype(np.float64)


def _top(case: np.ndarray, control: np.ndarray, size: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        t = np.nan_to_num(stats.ttest_ind(case, control, equal_var=False).statistic)
    return np.argsort(-np.abs(t), kind="stable")[:size]


@pytest.fixture
def case() -> tuple[Screen, ControlHalves, np.ndarray]:
    screen = simulated()
    change = np.random.default_rng(5).normal(size=(1, len(GENES))).astype(np.float32)
    return screen, screen.control_halves(0), change


def test_every_lead_metric_by_hand(case: tuple[Screen, ControlHalves, np.ndarray]) -> None:
    screen, halves, change = case
    cells, own, reference = (_dense(screen, r) for r in (screen.cells("G01"), halves.model, halves.reference))
    observed, q = cells.mean(0) - reference.mean(0), change[0]
    table = evaluate(screen, halves, {"m": change}, ["G01"])
    assert _value(table, "rmse", "G01") == pytest.approx(np.sqrt(np.mean((own.mean(0) + q - cells.mean(0)) ** 2)))
    assert _value(table, "dac", "G01") == pytest.approx(np.mean(np.sign(q) == np.sign(observed)))
    assert _value(table, "dac_nonzero", "G01") == pytest.approx(np.mean((np.sign(q) == np.sign(observed))[:-5]))
    assert _value(table, "pcc_delta", "G01") == pytest.approx(np.corrcoef(q, observed)[0, 1])
    for size in (20, 40):
        top = _top(cells, reference, size)
        assert _value(table, f"pcc_delta_de{size}", "G01") == pytest.approx(np.corrcoef(q[top], observed[top])[0, 1])
        assert _value(table, f"dac_de{size}", "G01") == np.mean(np.sign(q[top]) == np.sign(observed[top]))


def test_shared_control_form_by_hand(case: tuple[Screen, ControlHalves, np.ndarray]) -> None:
    screen, halves, change = case
    cells, everyone = _dense(screen, screen.cells("G01")), _dense(screen, screen.control_cells)
    observed, q = cells.mean(0) - _dense(screen, halves.model).mean(0), change[0]
    table = evaluate(screen, halves, {"m": change}, ["G01"])
    top = _top(cells, everyone, 20)
    assert _value(table, "pcc_delta_shared_control", "G01") == pytest.approx(np.corrcoef(q, observed)[0, 1])
    assert _value(table, "pcc_delta_de20_shared_control", "G01") == pytest.approx(
        np.corrcoef(q[top], observed[top])[0, 1]
    )
    stored = dataclasses.replace(screen, stored_de={"G01": GENES[:30]})
    table = evaluate(stored, halves, {"m": change}, ["G01"])
    for size, used in ((20, 20), (40, 30)):
        expected = np.corrcoef(q[:used], observed[:used])[0, 1]
        assert _value(table, f"pcc_delta_de{size}_shared_control", "G01") == pytest.approx(expected)
    reasons = table.set_index("metric")["reason"]
    assert reasons["dac_de40_shared_control"] == "30 genes instead of 40"
    assert reasons["dac_de20_shared_control"] == ""


def test_the_scores_of_gears_have_our_names(case: tuple[Screen, ControlHalves, np.ndarray]) -> None:
    """GEARS' formulas on its stored DE genes: mse, mse_de, pearson_delta(_de), share of DE20 in the right direction."""
    screen, halves, change = case
    de20 = GENES[10:30]
    screen = dataclasses.replace(screen, stored_de={"G01": (*de20, *GENES[:10])})
    at = [GENES.index(gene) for gene in de20]
    ctrl, truth = _dense(screen, halves.model).mean(0), _dense(screen, screen.cells("G01")).mean(0)
    pred = ctrl + change[0]
    gears = {
        "mse": np.mean((pred - truth) ** 2),
        "mse_de20_shared_control": np.mean((pred[at] - truth[at]) ** 2),
        "pcc_delta_shared_control": stats.pearsonr(pred - ctrl, truth - ctrl).statistic,
        "pcc_delta_de20_shared_control": stats.pearsonr((pred - ctrl)[at], (truth - ctrl)[at]).statistic,
        "dac_de20_shared_control": np.mean(np.sign(pred - ctrl)[at] == np.sign(truth - ctrl)[at]),
        "pearson": stats.pearsonr(pred, truth).statistic,
    }
    table = evaluate(screen, halves, {"m": change}, ["G01"], metrics=list(gears))
    for name, value in gears.items():
        assert _value(table, name, "G01") == pytest.approx(value, rel=1e-5), name


def test_heldout_genes_are_chosen_on_cells_that_are_not_scored(
    case: tuple[Screen, ControlHalves, np.ndarray],
) -> None:
    screen, halves, change = case
    parts = Views(screen, halves, 0)
    first, second = cut(screen, "G01", screen.cells("G01"), 0)
    assert sorted([*first, *second]) == screen.cells("G01").tolist()
    assert sorted([*parts.choosing, *parts.scoring]) == halves.reference.tolist()
    top = _top(_dense(screen, first), _dense(screen, parts.choosing), 20)
    observed = _dense(screen, second).mean(0) - _dense(screen, parts.scoring).mean(0)
    table = evaluate(screen, halves, {"m": change}, ["G01"])
    assert _value(table, "pcc_delta_de20_heldout", "G01") == pytest.approx(
        np.corrcoef(change[0][top], observed[top])[0, 1]
    )
    assert not np.array_equal(first, cut(screen, "G01", screen.cells("G01"), 1)[0])


def test_halves_are_even_within_each_batch() -> None:
    screen = simulated(batches=3)
    first, second = cut(screen, "G01", screen.cells("G01"), 0)
    counts = [np.bincount(screen.batch[half], minlength=3) for half in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 1


def test_a_score_does_not_depend_on_what_else_is_scored() -> None:
    screen = simulated(batches=2)
    halves = screen.control_halves(3)
    change = np.random.default_rng(0).normal(size=(4, len(GENES)))
    names = list(screen.conditions)
    together = evaluate(screen, halves, {"a": change, "b": -change}, names)
    alone = evaluate(screen, halves, {"b": -change[2:3]}, names[2:3])
    there = together[(together.model == "b") & (together.condition == names[2])].reset_index(drop=True)
    ranks = alone["metric"].isin(RANKS)  # among the test conditions, which are others
    pd.testing.assert_frame_equal(there[~ranks], alone[~ranks])
    assert set(alone.loc[ranks, "reason"]) == {"a rank needs at least two test conditions"}
    assert list(together["metric"][: len(metric_names())]) == metric_names()
    assert list(dict.fromkeys(together["condition"])) == names
    assert len(together) == 2 * 4 * len(metric_names())


def test_truth_is_perfect_only_against_the_controls_it_is_taken_from() -> None:
    screen = simulated()
    halves = screen.control_halves(0)
    truth = np.stack([screen.mean(c) - screen.control_mean(halves.reference) for c in screen.conditions])
    scores = summary(evaluate(screen, halves, {"truth": truth}, screen.conditions))["test"]["truth"]
    for metric in ("dac", "dac_nonzero", "pcc_delta", "dac_de20", "pcc_delta_de40"):
        assert scores[metric] == pytest.approx(1, abs=1e-6)
    assert scores["pcc_delta_shared_control"] < 0.999
    difference = screen.control_mean(halves.reference) - screen.control_mean(halves.model)
    assert scores["rmse"] == pytest.approx(np.sqrt(np.mean(np.float64(difference) ** 2)), rel=1e-4)


def test_control_means_follow_the_batches_of_a_condition() -> None:
    screen = simulated(batches=2)
    batch = screen.batch.copy()
    batch[screen.cells("G01")] = 1
    screen = dataclasses.replace(screen, batch=batch)
    halves = screen.control_halves(0)
    rows = halves.reference[screen.batch[halves.reference] == 1]
    observed = screen.mean("G01") - _dense(screen, rows).mean(0)
    change = np.random.default_rng(0).normal(size=(1, len(GENES)))
    table = evaluate(screen, halves, {"m": change}, ["G01"])
    assert _value(table, "pcc_delta", "G01") == pytest.approx(np.corrcoef(change[0], observed)[0, 1], abs=1e-6)


def test_what_stands_beside_the_vectors_by_hand() -> None:
    """Weights, significance, the training mean and the other conditions are those of the cells."""
    screen = simulated(batches=2)
    halves = screen.control_halves(0)
    names = list(screen.conditions)
    rng = np.random.default_rng(5)
    change, trained = rng.normal(0, 0.3, (4, len(GENES))), rng.normal(0, 0.2, (6, len(GENES)))
    table = evaluate(screen, halves, {"m": change}, names, metrics=all_names(), trained=trained)
    at = names.index("G00+G02")
    cells, reference = (_dense(screen, rows) for rows in (screen.cells(names[at]), halves.reference))
    expression, predicted = cells.mean(0), screen.control_mean(halves.model, names[at]) + change[at]
    observed = expression - screen.control_mean(halves.reference, names[at])
    with np.errstate(all="ignore"):
        t = stats.ttest_ind(cells, reference, equal_var=False)
    weights = np.nan_to_num(np.abs(t.statistic)) / np.nanmax(np.abs(t.statistic))
    assert _value(table, "wmse", names[at]) == pytest.approx(
        np.average((predicted - expression) ** 2, weights=weights**2), rel=1e-5
    )
    for test, p in (("ttest", t.pvalue), ("wilcoxon", stats.mannwhitneyu(cells, reference).pvalue)):
        found = stats.false_discovery_control(np.nan_to_num(p, nan=1)) < 0.05
        assert 3 < found.sum() < 40
        match = np.mean((np.sign(change[at]) == np.sign(observed))[found])
        assert _value(table, f"direction_match_{test}", names[at]) == pytest.approx(match)
    mean = trained.mean(0)
    model_half = screen.control_mean(halves.model, names[at])
    left = np.corrcoef(change[at] - mean, expression - model_half - mean)[0, 1]
    assert _value(table, "pcc_perturbed_mean", names[at]) == pytest.approx(left, abs=1e-6)
    kept = [i for i, gene in enumerate(GENES) if gene not in ("G00", "G02")]
    observed_all = [screen.mean(c) - screen.control_mean(halves.reference, c) for c in names]
    distance = [np.abs(change[at] - other)[kept].sum() for other in observed_all]
    rank = sorted(distance).index(distance[at])
    assert _value(table, "discrimination_l1", names[at]) == pytest.approx(1 - rank / 4)


def test_asked_metrics_are_the_same_numbers_and_nothing_else() -> None:
    screen = simulated()
    halves = screen.control_halves(0)
    change = {"m": np.random.default_rng(0).normal(0, 0.2, (4, len(GENES)))}
    everything = evaluate(screen, halves, change, screen.conditions)
    for asked in (["pcc_delta_de40_heldout"], ["wmse", "dac_de20_shared_control"], ["discrimination_l2"]):
        few = evaluate(screen, halves, change, screen.conditions, metrics=asked)
        there = everything[everything["metric"].isin(asked)].reset_index(drop=True)
        pd.testing.assert_frame_equal(few, there)
    assert not {"overlap_at_N_wilcoxon", "pcc_perturbed_mean"} & {*everything["metric"]}
    with pytest.raises(DataError, match="no metric 'pcc_dleta'; did you mean 'pcc_delta'"):
        evaluate(screen, halves, change, screen.conditions, metrics=["pcc_dleta"])
    with pytest.raises(DataError, match="needs the changes of the training conditions"):
        evaluate(screen, halves, change, screen.conditions, metrics=["pcc_perturbed_mean"])
    with pytest.raises(DataError, match=r"training conditions have shape \(2, 3\)"):
        evaluate(screen, halves, change, screen.conditions, trained=np.zeros((2, 3)))


def test_target_genes_can_be_left_out(case: tuple[Screen, ControlHalves, np.ndarray]) -> None:
    screen, halves, change = case
    wild = change.copy()
    wild[0, GENES.index("G01")] = 100
    with_target = evaluate(screen, halves, {"m": wild}, ["G01"])
    without = evaluate(screen, halves, {"m": wild}, ["G01"], exclude_targets=True)
    plain = evaluate(screen, halves, {"m": change}, ["G01"], exclude_targets=True)
    pd.testing.assert_frame_equal(without, plain)
    assert _value(with_target, "rmse", "G01") > 5 > _value(without, "rmse", "G01")


def test_undefined_is_missing_with_a_reason_and_counted() -> None:
    screen = simulated()
    table = evaluate(screen, screen.control_halves(0), {"none": np.zeros((4, len(GENES)))}, screen.conditions)
    pcc = table[table.metric == "pcc_delta"]
    assert pcc["value"].isna().all()
    assert set(pcc["reason"]) == {"the predicted change is the same for every gene"}
    scores = summary(table)
    assert scores["test"]["none"]["pcc_delta"] is None
    assert scores["n_undefined"]["none"]["pcc_delta"] == 4
    assert scores["n_undefined"]["none"]["rmse"] == 0


def test_too_few_cells_for_a_t_test_are_said() -> None:
    screen = simulated(cells=1)
    table = evaluate(screen, screen.control_halves(0), {"m": np.ones((1, len(GENES)))}, ["G01"])
    reasons = table.set_index("metric")["reason"]
    assert "at least two cells" in reasons["dac_de20"]
    assert table.set_index("metric")["value"].isna()["dac_de20_heldout"]
    assert not np.isnan(_value(table, "dac", "G01"))


@pytest.mark.parametrize(
    ("change", "message"),
    [(np.zeros((1, 3)), r"'m' have shape \(1, 3\); expected \(1 conditions"), (np.full((1, 60), np.nan), "NaN.*'G01'")],
)
def test_bad_changes_are_refused(change: np.ndarray, message: str) -> None:
    screen = simulated()
    with pytest.raises(DataError, match=message):
        evaluate(screen, screen.control_halves(0), {"m": change}, ["G01"])


def test_an_unknown_condition_is_refused() -> None:
    screen = simulated()
    with pytest.raises(DataError, match="G77"):
        evaluate(screen, screen.control_halves(0), {"m": np.zeros((1, len(GENES)))}, ["G77"])


NULL = (*NULL_METRICS, "pcc_delta_shared_control", "dac_de20_shared_control", "dac_de20")


def _null_scores(screen: Screen, repeats: int) -> pd.DataFrame:
    """Mean score of the mean baseline per repeat (rows) and metric."""
    rows = []
    for seed in range(repeats):
        null = null_screen(screen, 12, 80, seed)
        halves = null.control_halves(seed)
        model = MeanBaseline()
        model.fit(null, Split(null.conditions[:8], (), null.conditions[8:], "condition", seed), halves)
        test = null.conditions[8:]
        table = evaluate(null, halves, {"mean": model.predict(test)}, test, seed, metrics=NULL)
        rows.append(summary(table)["test"]["mean"])
    return pd.DataFrame(rows)


def _check_null(scores: pd.DataFrame) -> None:
    error = 3 * scores.sem()
    for metric in NULL_METRICS:
        assert abs(scores[metric].mean()) < error[metric], metric
    assert scores["pcc_delta_shared_control"].mean() > max(0.3, 10 * error["pcc_delta_shared_control"] / 3)
    assert scores["dac_de20_shared_control"].mean() > 0.65
    assert scores["dac_de20"].mean() == pytest.approx(0.5, abs=0.06)


def test_nothing_done_scores_zero_with_disjoint_controls_only(shared_data: Callable[[str], Path]) -> None:
    screen = read_screen(shared_data("papalexi_subset.h5ad"), target_sum=1000)
    rows = np.concatenate([screen.control_cells[:1060], screen.cells("BRD4")])  # 960 pose as conditions, 100 stay
    few = dataclasses.replace(
        screen,
        expression=screen.expression[rows],
        condition=np.repeat([-1, 0], [1060, len(rows) - 1060]),
        conditions=("BRD4",),
        batch=np.zeros(len(rows), dtype=np.int64),
        rank=None,
    )
    _check_null(_null_scores(few, 40))


def test_nothing_done_scores_zero_on_simulated_cells() -> None:
    _check_null(_null_scores(simulated(controls=1060), 40))


def test_null_conditions_are_named_after_genes_of_which_something_is_known() -> None:
    screen = simulated(controls=200)
    genes = screen.genes
    assert len(genes) == genes.measured
    description = np.where(np.arange(len(genes)) < 6, "known", "").astype(object)
    sequence = tuple("ACGT" if place in (7, 8) else "" for place in range(len(genes)))
    some = dataclasses.replace(screen, genes=dataclasses.replace(genes, description=description, sequence=sequence))
    assert set(null_screen(some, 8, 4, seed=0).conditions) == set(genes.symbol[[0, 1, 2, 3, 4, 5, 7, 8]])
    with pytest.raises(DataError, match="found 8 genes"):
        null_screen(some, 9, 4, seed=0)
    nothing = dataclasses.replace(genes, description=np.full(len(genes), "", object), sequence=("",) * len(genes))
    assert len(null_screen(dataclasses.replace(screen, genes=nothing), 9, 4, seed=0).conditions) == 9


def test_null_screen_uses_each_control_cell_once() -> None:
    screen = simulated(controls=50)
    null = null_screen(screen, 4, 10, seed=1)
    assert [len(null.cells(c)) for c in null.conditions] == [10] * 4
    assert len(null.control_cells) == 10
    rows = {row.tobytes() for row in null.expression.toarray()}
    assert rows == {row.tobytes() for row in screen.expression[screen.control_cells].toarray()}
    assert all(c in GENES for c in null.conditions)
    with pytest.raises(DataError, match="found 50 control cells; 10 null conditions of 10 cells need 104"):
        null_screen(screen, 10, 10, seed=0)


def test_mean_row_of_the_reference_table(shared_data: Callable[[str], Path]) -> None:
    """Thirty splits of the Norman subset: the mean baseline scores .191 / .0615 over 200 splits of another draw."""
    screen = norman(shared_data("norman_subset.h5ad"))
    names = np.array(screen.conditions)
    rows = []
    for seed in range(30):
        order = np.random.default_rng(seed).permutation(len(names))
        train, test = tuple(sorted(names[order[:23]])), tuple(sorted(names[order[23:]]))
        halves = screen.control_halves(seed)
        model = MeanBaseline()
        model.fit(screen, Split(train, (), test, "condition", seed), halves)
        changes = {"mean": model.predict(test), "control": np.zeros((len(test), screen.genes.measured))}
        metrics = ["pcc_delta", "rmse", "dac", "pcc_delta_shared_control"]
        scores = summary(evaluate(screen, halves, changes, test, seed, metrics=metrics))["test"]
        rows.append({**scores["mean"], "no change": scores["control"]["rmse"], "dac0": scores["control"]["dac"]})
    found = pd.DataFrame(rows).mean()
    assert found["pcc_delta"] == pytest.approx(0.191, abs=0.06)
    assert found["rmse"] == pytest.approx(0.0615, abs=0.004)
    assert found["no change"] == pytest.approx(0.0628, abs=0.004)
    assert found["dac0"] == pytest.approx(0.76, abs=0.02)
    assert found["pcc_delta_shared_control"] > found["pcc_delta"] + 0.1
