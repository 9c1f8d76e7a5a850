"""What holds for any conditions, splits, settings, vectors and scores, tried on many (hypothesis)."""

from __future__ import annotations

import dataclasses
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from grape_dgl.config import Config, SplitConfig
from grape_dgl.data.conditions import CONTROL, DELIMITERS, canonical, detect_parser, parse_condition, targets
from grape_dgl.data.splits import PARTS, Split, make_split
from grape_dgl.errors import DataError
from grape_dgl.evaluation.metrics import Undefined, dac, dac_nonzero, pcc_delta, rmse
from grape_dgl.features.store import encode_all

settings.register_profile("quick", max_examples=60, deadline=None, derandomize=True, database=None)
settings.load_profile("quick")

SYMBOLS = ["KLF1", "MAP2K6", "HLA-A", "NKX2-5", "Y_RNA", "STAT2", "H2-K1", "LINC00001", "RP11-34P13.7", "C1orf112"]
symbol = st.sampled_from(SYMBOLS)
some = st.lists(symbol, unique=True, max_size=3)


@given(some)
def test_a_canonical_condition_is_its_targets(genes: list[str]) -> None:
    name = canonical(genes)
    assert targets(name) == tuple(sorted(genes)) and canonical(targets(name)) == name
    assert parse_condition(name, SYMBOLS) == name


@given(some, st.randoms(), st.sampled_from(DELIMITERS), st.sampled_from(["ctrl", "control", "non-targeting"]))
def test_any_spelling_of_a_condition_is_it(
    genes: list[str], order: random.Random, delimiter: str, control: str
) -> None:
    shuffled = list(genes)
    order.shuffle(shuffled)
    assert parse_condition(delimiter.join(shuffled) or control, SYMBOLS) == canonical(genes)


@given(st.lists(some.map(canonical), min_size=1, max_size=12), st.sampled_from(["+", "_", "|", ","]))
def test_labels_of_a_file_are_read_back(conditions: list[str], delimiter: str) -> None:
    labels = [name.replace("+", delimiter) for name in conditions]
    parser = detect_parser(sorted({*labels, *SYMBOLS}), SYMBOLS)
    assert [parser.parse(label) for label in labels] == conditions


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_a_data_error(text: str) -> None:
    try:
        name = parse_condition(text, SYMBOLS)
    except DataError:
        return
    assert name == CONTROL or set(targets(name)) <= set(SYMBOLS)


few = st.lists(st.sampled_from([f"G{n}" for n in range(20)]), min_size=1, max_size=2, unique=True)
pool = st.lists(few.map(canonical), min_size=4, max_size=40, unique=True)


@given(pool, st.sampled_from(["single", "condition", "gene", "simulation"]), st.integers(0, 5), st.randoms())
def test_a_split_has_every_condition_once_and_does_not_depend_on_order(
    conditions: list[str], kind: str, seed: int, order: random.Random
) -> None:
    config = SplitConfig(kind=kind)
    try:
        split = make_split(conditions, config, seed)
    except DataError:
        return
    parts = [getattr(split, part) for part in PARTS]
    wanted = [name for name in conditions if kind != "single" or "+" not in name]
    assert sorted(name for part in parts for name in part) == sorted(wanted) and parts[0] and parts[2]
    shuffled = list(conditions)
    order.shuffle(shuffled)
    assert make_split(shuffled, config, seed) == split
    with tempfile.TemporaryDirectory() as folder:
        split.to_json(Path(folder) / "s.json")
        again = Split.from_json(Path(folder) / "s.json", conditions, [f"G{n}" for n in range(20)])
    assert [getattr(again, part) for part in PARTS] == parts


@given(st.integers(1, 500), st.floats(1e-6, 1.0), st.integers(0, 2**31), st.sampled_from(["ridge", "gradient"]))
def test_settings_survive_their_file(hidden: int, lr: float, seed: int, readout: str) -> None:
    config = Config.resolve(model={"hidden": 4 * hidden}, training={"lr": lr, "seed": seed, "readout": readout})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "c.toml").write_text(config.to_toml())
        assert Config.resolve(toml=Path(folder) / "c.toml") == config


finite = st.floats(-50, 50, width=32)
vector = hnp.arrays(np.float32, st.integers(2, 30), elements=finite)


def scored(metric: Callable[..., float], predicted: np.ndarray, observed: np.ndarray) -> float | None:
    """None where it is undefined."""
    try:
        return metric(predicted, observed)
    except Undefined as reason:
        assert str(reason)
        return None


@given(vector, st.floats(0.1, 10))
def test_scores_of_the_truth_and_of_its_multiples(observed: np.ndarray, factor: float) -> None:
    assert rmse(observed, observed) == 0 and dac(observed, observed) == 1
    assert scored(pcc_delta, factor * observed, observed) in (None, pytest.approx(1, abs=1e-5))
    assert scored(pcc_delta, -observed, observed) in (None, pytest.approx(-1, abs=1e-5))


@given(hnp.arrays(np.float32, (2, 12), elements=finite), st.randoms())
def test_scores_do_not_depend_on_the_order_of_genes(pair: np.ndarray, order: random.Random) -> None:
    place = list(range(pair.shape[1]))
    order.shuffle(place)
    for metric in (rmse, dac, dac_nonzero, pcc_delta):
        wanted = scored(metric, *pair)
        close = None if wanted is None else pytest.approx(wanted, rel=1e-4, abs=1e-5)
        assert scored(metric, *pair[:, place]) == close


@given(hnp.arrays(np.float32, (2, 12), elements=finite))
def test_scores_keep_their_range_or_are_missing_with_a_reason(pair: np.ndarray) -> None:
    assert rmse(*pair) >= 0 and 0 <= dac(*pair) <= 1
    for metric in (dac_nonzero, pcc_delta):
        value = scored(metric, *pair)
        assert value is None or -1 - 1e-6 <= value <= 1 + 1e-6


@given(st.floats(-5, 5, width=32), vector)
def test_a_constant_prediction_has_no_correlation(value: float, observed: np.ndarray) -> None:
    assert scored(pcc_delta, np.full_like(observed, value), observed) is None


@dataclasses.dataclass
class Letters:
    """An encoder that counts two letters and the length."""

    dim = 3
    batch = 3
    source: Mapping[str, Any] = dataclasses.field(default_factory=lambda: {"encoder": "letters"})

    def encode(self, inputs: Sequence[str]) -> np.ndarray:
        return np.array([[text.count("a"), text.count("b"), len(text)] for text in inputs], np.float32).reshape(-1, 3)


@given(st.lists(st.lists(st.text("ab \n\x00é", max_size=6), max_size=8), max_size=4))
@settings(max_examples=25)
def test_a_store_gives_back_what_was_encoded(rounds: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for inputs in rounds:
            found = encode_all(inputs, Letters(), Path(folder), "letters")
            wanted = Letters().encode(inputs) if inputs else np.zeros((0, 3), np.float32)
            assert found.shape == wanted.shape and np.array_equal(found, wanted)
