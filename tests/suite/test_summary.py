"""Means, intervals, corrected differences, ranks and costs of a long table, by hand and against scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from grape_dgl.suite.jobs import COLUMNS
from grape_dgl.suite.summary import blocks, by_seen, costs, holm, summarise


def table(scores: dict[str, dict[tuple[str, int], float]], metric: str = "pcc_delta") -> pd.DataFrame:
    """Model -> (condition, seed) -> value."""
    kinds = {"control": "control", "mean": "mean", "linear": "linear", "additive": "additive"}
    rows = [
        {"model": model, "kind": kinds.get(model, "GRAPE"), "data": "d", "split": "condition", "seed": seed,
         "condition": condition, "metric": metric, "value": value, "seconds": 2.0 + seed, "peak_memory_mb": 10.0,
         "tuned": "epoch" if model == "GRAPE" else "nothing", "trials": 0, "reason": ""}
        for model, values in scores.items() for (condition, seed), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def test_a_condition_counts_once() -> None:
    """A is tested three times and B once: the mean over conditions is 5, not the mean over rows (3.5)."""
    found = summarise(table({"mean": {("A", 0): 1.0, ("A", 1): 2.0, ("A", 2): 3.0, ("B", 0): 8.0}})).iloc[0]
    assert (
        found["mean"] == 5.0
        and found["by_split"] == pytest.approx((4.5 + 2 + 3) / 3)
        and found["n"] == 2
        and found["splits"] == 3
        and 2 <= found["low"] <= found["high"] <= 8
    )


def test_what_is_compared_has_the_same_splits() -> None:
    """GRAPE ran on seed 0 only: beside it stand the mean's scores on seed 0, those on both seeds in another block."""
    names = [f"c{i}" for i in range(30)]
    draw = np.random.default_rng(0).normal(size=30)
    mean = {(name, 0): float(value) for name, value in zip(names, draw, strict=True)}
    grape = {key: value + 0.5 for key, value in mean.items()}
    mean |= {(name, 1): 100.0 for name in names}
    rows = table({"mean": mean, "GRAPE": grape})
    found = summarise(rows).set_index(["block", "model"])
    assert set(found.index) == {(0, "mean"), (1, "mean"), (1, "GRAPE")}
    assert found.loc[(0, "mean"), ["mean", "splits"]].tolist() == [pytest.approx((draw.mean() + 100) / 2), 2]
    assert found.loc[(1, "mean"), ["mean", "splits"]].tolist() == [pytest.approx(draw.mean()), 1]
    row = found.loc[(1, "GRAPE")]
    assert row["minus_mean"] == pytest.approx(0.5) == row["minus_mean_low"] == row["minus_mean_high"]
    assert row["minus_mean_p"] == pytest.approx(2 / 2001)
    seen = by_seen(rows.assign(seen="seen0")).set_index(["block", "model"])
    assert seen["mean"].to_dict() == pytest.approx(found["mean"].to_dict())


def test_blocks_are_the_sets_of_seeds_with_all_who_have_them() -> None:
    ran = {"a": [0, 1, 2], "b": [0, 1, 2], "c": [0, 1], "d": [0, 2]}
    rows = table({model: {("A", seed): 1.0 for seed in seeds} for model, seeds in ran.items()})
    failed = rows.iloc[[0]].assign(model="c", seed=2, metric="", value=np.nan)
    found = [
        (known["block"], set(part["model"]), set(part["seed"])) for known, part in blocks(pd.concat([rows, failed]))
    ]
    assert found == [(0, {"a", "b"}, {0, 1, 2}), (1, {"a", "b", "c"}, {0, 1}), (2, {"a", "b", "d"}, {0, 2})]


def test_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).normal(size=40)
    scores = {(f"c{i}", 0): float(value) for i, value in enumerate(values)}
    found = summarise(table({"mean": scores})).iloc[0]
    other = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", rng=0).confidence_interval
    assert found["low"] == pytest.approx(other.low, abs=0.03) and found["high"] == pytest.approx(other.high, abs=0.03)


def test_combinations_of_few_genes_are_less_certain_than_as_many_singles() -> None:
    draw = np.random.default_rng(2)
    effect = dict(zip("ABCDE", draw.normal(size=5), strict=True))
    pairs = [f"{a}+{b}" for a in "ABCDE" for b in "ABCDE" if a < b]
    values = [effect[p[0]] + effect[p[2]] for p in pairs]
    wide = summarise(table({"mean": {(p, 0): v for p, v in zip(pairs, values, strict=True)}})).iloc[0]
    slim = summarise(table({"mean": {(f"s{i}", 0): v for i, v in enumerate(values)}})).iloc[0]
    assert wide["mean"] == pytest.approx(slim["mean"]) and wide["high"] - wide["low"] > slim["high"] - slim["low"]


def test_best_simple_ranks_and_direction() -> None:
    """rmse is better when low: linear is the best simple model, GRAPE ranks first."""
    names = [f"c{i}" for i in range(6)]
    level = {"mean": 3.0, "linear": 2.0, "additive": 4.0, "GRAPE": 1.0}
    scores = {model: {(name, 0): value + i for i, name in enumerate(names)} for model, value in level.items()}
    found = summarise(table(scores, "rmse")).set_index("model")
    assert set(found["best_simple"]) == {"linear"}
    assert found["rank"].to_dict() == {"mean": 3.0, "linear": 2.0, "additive": 4.0, "GRAPE": 1.0}
    assert found.loc["GRAPE", "minus_best_simple"] == -1.0 and np.isnan(found.loc["linear", "minus_best_simple"])


def test_normalised_lies_between_floor_and_ceiling() -> None:
    """The floor is the better of control and mean: rmse 4 and 3, ceiling 1, GRAPE 2 is half of the way."""
    level = {"control": 4.0, "mean": 3.0, "GRAPE": 2.0, "ceiling": 1.0}
    scores = {model: {(name, 0): value for name in "ABC"} for model, value in level.items()}
    found = summarise(table(scores, "rmse")).set_index("model")
    assert found["normalised"].to_dict() == {"control": -0.5, "mean": 0.0, "GRAPE": 0.5, "ceiling": 1.0}
    assert found.loc["GRAPE", "rank"] == 1.0 and np.isnan(found.loc["ceiling", "rank"])
    assert np.isnan(found.loc["ceiling", "minus_mean"])


def test_a_model_that_is_defined_on_the_easy_conditions_only_is_not_the_best() -> None:
    """Additive has a score on 5 of 20 conditions, the highest there are, and loses each of them to linear."""
    names = [f"c{i:02d}" for i in range(20)]
    easy = {name: float(i < 5) for i, name in enumerate(names)}
    scores = {
        "mean": {(name, 0): 0.1 * easy[name] for name in names},
        "linear": {(name, 0): easy[name] for name in names},
        "additive": {(name, 0): 0.9 if easy[name] else np.nan for name in names},
        "ceiling": {(name, 0): easy[name] + 1 for name in names},
    }
    found = summarise(table(scores)).set_index("model")
    assert set(found["best_simple"]) == {"linear"} and found.loc["additive", "mean"] > found.loc["linear", "mean"]
    assert np.isnan(found.loc["additive", "rank"]) and found.loc["linear", "rank"] == pytest.approx(1.375)
    assert found.loc["additive", "minus_best_simple"] == pytest.approx(-0.1)
    assert found.loc["additive", "normalised"] == pytest.approx((0.9 - 0.1) / (2 - 0.1))  # on its five conditions


@pytest.mark.parametrize(
    ("names", "least"), [("ABC", 0.25), (["A+B", "A+C", "B+C", "A", "B"], 0.25), ("ABCDE", 1 / 16)]
)
def test_few_conditions_are_never_significant(names: list[str], least: float) -> None:
    """All differences have one sign, which by chance is as likely as so many coins that fall alike."""
    scores = {"mean": {(name, 0): 0.0 for name in names}, "linear": {(name, 0): 1.0 for name in names}}
    found = summarise(table(scores)).set_index("model")
    assert found.loc["linear", "minus_mean_p"] == least


def test_by_split_and_its_error() -> None:
    """The means of the three splits are 1, 3 and 5."""
    scores = {("A", 0): 0.5, ("B", 0): 1.5, ("A", 1): 3.0, ("C", 2): 5.0}
    found = summarise(table({"mean": scores})).iloc[0]
    assert found["by_split"] == pytest.approx(3.0)
    assert found["by_split_error"] == pytest.approx(2 / np.sqrt(3))


def test_undefined_is_counted_and_never_zero() -> None:
    scores = {"control": {("A", 0): np.nan, ("B", 0): np.nan}, "mean": {("A", 0): 0.5, ("B", 0): np.nan}}
    found = summarise(table(scores)).set_index("model")
    assert np.isnan(found.loc["control", "mean"]) and found.loc["control", "n_undefined"] == 2
    assert found.loc["mean", "mean"] == 0.5 and found.loc["mean", "n"] == 1 and np.isnan(found.loc["mean", "low"])


def test_holm_by_hand() -> None:
    """Holm 1979: sorted .01 .02 .03 .04 times 4 3 2 1, never falling."""
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert len(holm([])) == 0


def test_costs_count_failures() -> None:
    good = table({"mean": {("A", 0): 1.0, ("B", 0): 2.0}, "GRAPE": {("A", 0): 1.0}})
    bad = good.iloc[[2]].assign(seed=1, condition="", metric="", value=np.nan, reason="out of memory", seconds=np.nan)
    found = costs(pd.concat([good, bad])).set_index("model")
    assert found.loc["mean", ["jobs", "failed"]].tolist() == [1, 0]
    assert found.loc["GRAPE", ["jobs", "failed"]].tolist() == [2, 1] and found.loc["GRAPE", "tuned"] == "epoch"
    assert found.loc["GRAPE", "reasons"] == ["out of memory"]


def test_by_seen_averages_a_condition_within_its_class() -> None:
    """A+B is seen1 on two splits and seen2 on one."""
    rows = table({"mean": {("A+B", 0): 1.0, ("A+B", 1): 3.0, ("A+B", 2): 9.0, ("C", 0): 4.0}})
    rows["seen"] = ["seen1", "seen1", "seen2", "seen1"]
    found = by_seen(rows).set_index("seen")[["mean", "n"]].T.to_dict("list")
    assert found == {"seen1 of 2": [2.0, 1], "seen2 of 2": [9.0, 1], "seen1 of 1": [4.0, 1]}
    gears = by_seen(rows.assign(seen="combo_seen1"))
    assert set(gears["seen"]) == {"combo_seen1"}
