"""Means, counts and bootstrap intervals against numpy and known answers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from grape_dgl.errors import DataError
from grape_dgl.evaluation.summary import bootstrap, summary


def _table(scores: dict[str, dict[str, float]], metric: str = "pcc_delta", **columns: object) -> pd.DataFrame:
    rows = [(m, c, metric, v, "") for m, per in scores.items() for c, v in per.items()]
    return pd.DataFrame(rows, columns=["model", "condition", "metric", "value", "reason"]).assign(**columns)


def test_a_condition_counts_once_however_often_it_is_tested() -> None:
    table = pd.concat(
        [
            _table({"m": {"A": 0.2, "B": 0.5}}, seed=0),
            _table({"m": {"A": 0.4}}, seed=1),
            _table({"m": {"A": 0.6}}, seed=2),
        ]
    )
    found = summary(table)
    assert found["test"]["m"]["pcc_delta"] == pytest.approx((0.4 + 0.5) / 2)
    assert found["standard_error"]["m"]["pcc_delta"] == pytest.approx(stats.sem([0.4, 0.5]))
    assert found["n_test"] == 2


def test_undefined_scores_are_left_out_and_counted() -> None:
    found = summary(_table({"a": {"A": 0.2, "B": np.nan, "C": 0.6}, "b": dict.fromkeys("ABC", np.nan)}))
    assert found["test"] == {"a": {"pcc_delta": pytest.approx(0.4)}, "b": {"pcc_delta": None}}
    assert found["standard_error"]["b"]["pcc_delta"] is None
    assert found["n_undefined"] == {"a": {"pcc_delta": 1}, "b": {"pcc_delta": 3}}
    json.dumps(found, allow_nan=False)


def test_the_interval_is_that_of_a_plain_bootstrap() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, 40), rng.normal(0, 1, 40)
    names = [f"C{i:02d}" for i in range(40)]
    table = _table({"a": dict(zip(names, a, strict=True)), "b": dict(zip(names, b, strict=True))})
    found = bootstrap(table, "a", "b", "pcc_delta", n=4000)
    plain = [rng.choice(a - b, 40).mean() for _ in range(4000)]
    assert found.mean == pytest.approx((a - b).mean())
    assert [found.low, found.high] == pytest.approx(list(np.percentile(plain, [2.5, 97.5])), abs=0.05)
    assert (found.n, found.n_undefined) == (40, 0)
    assert found == bootstrap(table, "a", "b", "pcc_delta", n=4000)
    assert found != bootstrap(table, "a", "b", "pcc_delta", n=4000, seed=1)


def test_splits_do_not_narrow_the_interval() -> None:
    scores = {"a": {c: float(i) for i, c in enumerate("ABCDEFGH")}, "b": dict.fromkeys("ABCDEFGH", 0.0)}
    once = bootstrap(_table(scores), "a", "b", "pcc_delta")
    often = bootstrap(pd.concat([_table(scores, split=s) for s in range(20)]), "a", "b", "pcc_delta")
    assert once == often


def test_pairs_are_formed_within_a_split() -> None:
    """A split where one model has no score does not enter for the other model either."""
    table = pd.concat(
        [
            _table({"a": {"A": 1.0, "B": 1.0}, "b": {"A": 0.0, "B": 0.0}}, seed=0),
            _table({"a": {"A": 9.0}, "b": {"A": np.nan}}, seed=1),
        ]
    )
    assert bootstrap(table, "a", "b", "pcc_delta").mean == 1.0


def test_groups_are_drawn_together() -> None:
    names = [f"{g}{i}" for g in "ABCD" for i in range(25)]
    values = {c: float("ABCD".index(c[0])) for c in names}
    table = _table({"a": values, "b": dict.fromkeys(names, 0.0)})
    plain = bootstrap(table, "a", "b", "pcc_delta")
    grouped = bootstrap(table, "a", "b", "pcc_delta", groups={c: c[0] for c in names})
    rng = np.random.default_rng(0)
    expected = np.percentile([rng.choice(4, 4).mean() for _ in range(4000)], [2.5, 97.5])
    assert [grouped.low, grouped.high] == pytest.approx(list(expected), abs=0.26)
    assert grouped.high - grouped.low > 3 * (plain.high - plain.low)


def test_a_combination_belongs_to_each_of_its_genes() -> None:
    """One gene in every combination: leaving it out leaves nothing, so draws always hold it."""
    genes = {f"H+{g}": ("H", g) for g in "ABCDEF"}
    table = _table({"a": {c: float(i) for i, c in enumerate(genes)}, "b": dict.fromkeys(genes, 0.0)})
    found = bootstrap(table, "a", "b", "pcc_delta", groups=genes)
    assert found.mean == 2.5
    assert found.low is not None and found.high is not None and found.low < 2.5 < found.high


def test_without_pairs_there_is_no_interval() -> None:
    table = _table({"a": {"A": 1.0, "B": np.nan}, "b": {"A": 0.5, "B": 0.0}})
    found = bootstrap(table, "a", "b", "pcc_delta")
    assert (found.mean, found.low, found.high, found.n, found.n_undefined) == (0.5, None, None, 1, 1)
    none = bootstrap(_table({"a": {"A": np.nan}, "b": {"A": 1.0}}), "a", "b", "pcc_delta")
    assert (none.mean, none.n, none.n_undefined) == (None, 0, 1)


def test_unknown_names_are_errors() -> None:
    table = _table({"a": {"A": 1.0}, "b": {"A": 0.5}})
    with pytest.raises(DataError, match="no model 'c'; there are: a, b"):
        bootstrap(table, "a", "c", "pcc_delta")
    with pytest.raises(DataError, match="did you mean 'pcc_delta'"):
        bootstrap(table, "a", "b", "pcc_dleta")
