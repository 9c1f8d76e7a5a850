"""Splits: the rule of each kind as a property, on random screens; nothing depends on order."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from grape_dgl.config import SplitConfig
from grape_dgl.data.conditions import canonical, targets
from grape_dgl.data.splits import Split, make_split
from grape_dgl.errors import DataError

GENES = [f"G{number:02d}" for number in range(24)]
SINGLES = [canonical([gene]) for gene in GENES]
DOUBLES = [canonical(pair) for pair in itertools.combinations(GENES, 2)][::4]
CONDITIONS = SINGLES + DOUBLES
KINDS = ("single", "condition", "gene", "simulation")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_sorted_and_complete(kind: str, seed: int) -> None:
    split = make_split(CONDITIONS, SplitConfig(kind=kind), seed)
    parts = [split.train, split.val, split.test]
    assert all(part and list(part) == sorted(part) for part in parts)
    together = list(itertools.chain(*parts))
    assert sorted(together) == sorted(SINGLES if kind == "single" else CONDITIONS)
    assert set(split.classes) == set(split.test)


@pytest.mark.parametrize("kind", KINDS)
def test_pure_function_of_conditions_kind_and_seed(kind: str) -> None:
    config, rng = SplitConfig(kind=kind), np.random.default_rng(0)
    split = make_split(CONDITIONS, config, 3)
    shuffled = [*rng.permutation(CONDITIONS), "control", CONDITIONS[0]]
    assert make_split(shuffled, config, 3) == split
    assert make_split(CONDITIONS, config, 4).test != split.test


@pytest.mark.parametrize("kind", ["single", "condition"])
def test_shares(kind: str) -> None:
    split = make_split(CONDITIONS, SplitConfig(kind=kind, train=0.7, validation=0.2), 0)
    total = len(split.train) + len(split.val) + len(split.test)
    assert abs(len(split.test) - 0.3 * total) <= 0.5
    assert abs(len(split.val) - 0.2 * (total - len(split.test))) <= 0.5


@pytest.mark.parametrize("seed", range(5))
def test_gene_split_holds_genes_out(seed: int) -> None:
    """Every test (validation) condition has a gene that no condition before it has: else it would not be held out."""
    split = make_split(CONDITIONS, SplitConfig(kind="gene"), seed)
    seen_in_rest = {gene for name in split.train + split.val for gene in targets(name)}
    seen_in_train = {gene for name in split.train for gene in targets(name)}
    assert all(set(targets(name)) - seen_in_rest for name in split.test)
    assert all(set(targets(name)) - seen_in_train for name in split.val)
    assert len(set(GENES) - seen_in_rest) == round(0.3 * len(GENES))


@pytest.mark.parametrize("kind", ["single", "condition", "gene"])
def test_classes_count_targets_seen_outside_the_test_part(kind: str) -> None:
    split = make_split(CONDITIONS, SplitConfig(kind=kind), 1)
    others = [set(targets(name)) for name in (*split.train, *split.val)]
    for name, label in split.classes.items():
        assert label == f"seen{sum(any(gene in other for other in others) for gene in targets(name))}"


@pytest.mark.parametrize("seed", range(5))
def test_simulation_follows_gears(seed: int) -> None:
    """With every gene present as a single, the unseen genes are those whose single is in test."""
    split = make_split(CONDITIONS, SplitConfig(kind="simulation"), seed)
    unseen = {name for name in split.test if len(targets(name)) == 1}
    assert len(unseen) == round(0.25 * len(GENES))
    both_seen = [name for name in DOUBLES if not unseen & set(targets(name))]
    for name in split.test:
        seen = sum(gene not in unseen for gene in targets(name))
        assert split.classes[name] == ("unseen_single" if name in unseen else f"combo_seen{seen}")
    assert {name for name in DOUBLES if name not in both_seen} <= set(split.test)
    held_out = [name for name in split.test if split.classes[name] == "combo_seen2"]
    assert len(held_out) == round(0.25 * len(both_seen))
    rest = split.train + split.val
    val_genes = {name for name in split.val if len(targets(name)) == 1}
    assert len(val_genes) == round(0.1 * len({gene for name in rest for gene in targets(name)}))
    assert {name for name in rest if val_genes & set(targets(name))} <= set(split.val)


def test_too_few_for_validation_is_said(caplog: pytest.LogCaptureFixture) -> None:
    split = make_split(["A", "B", "C"], SplitConfig(kind="condition"), 0)
    assert (len(split.train), len(split.val), len(split.test)) == (2, 0, 1)
    assert "too few to cut off validation" in caplog.text
    caplog.clear()
    assert not make_split(SINGLES, SplitConfig(kind="single", validation=0), 0).val and not caplog.text


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        (["A"], "condition"),
        (["A+B", "B+C"], "single"),
        (["A", "A+B"][:1], "gene"),
        (["A+B", "control"], "gene"),
        ([], "simulation"),
    ],
)
def test_nothing_to_train_or_test_on(conditions: list[str], kind: str) -> None:
    with pytest.raises(DataError, match="at least one each is needed"):
        make_split(conditions, SplitConfig(kind=kind), 0)


def test_custom_is_read_from_a_file() -> None:
    with pytest.raises(DataError, match="split.json"):
        make_split(CONDITIONS, SplitConfig(kind="custom"), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_is_loaded(tmp_path: Path, kind: str) -> None:
    split = make_split(CONDITIONS, SplitConfig(kind=kind), 2)
    split.to_json(tmp_path / "split.json")
    assert Split.from_json(tmp_path / "split.json", CONDITIONS, GENES) == split


def load(folder: Path, document: object) -> Split:
    path = folder / "split.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return Split.from_json(path, ["KLF1", "KLF1+MAP2K6", "MYC"], ["KLF1", "MAP2K6", "MYC"])


def test_any_spelling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "grape_dgl")
    split = load(tmp_path, {"train": ["ctrl+KLF1", "ctrl"], "val": [], "test": ["MAP2K6+KLF1"]})
    assert (split.train, split.val, split.test, split.kind) == (("KLF1",), (), ("KLF1+MAP2K6",), "custom")
    assert split.classes == {"KLF1+MAP2K6": "seen1"}
    assert "leaves out 1 of" in caplog.text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"train": ["KLF1"], "val": ["MYC"], "test": ["MYC"]}, "MYC is in 'val' and in 'test'"),
        ({"train": ["KLF1"], "val": [], "test": ["MYCC"]}, "MYCC"),
        ({"train": ["KLF1"], "val": [], "test": ["MAP2K6"]}, "'MAP2K6' of 'test' is not in the data"),
        ({"train": ["KLF1"], "test": ["MYC"]}, "'val' is missing"),
        ({"train": ["KLF1"], "val": [], "test": []}, "'test' holds no condition"),
        ({"train": ["KLF1"], "val": [], "test": "MYC"}, "'test' is missing or no list"),
        ({"train": ["KLF1"], "vall": [], "test": ["MYC"]}, "unknown entry 'vall'; did you mean 'val'"),
        ([], "no JSON object"),
        ("{", "is not JSON"),
    ],
)
def test_wrong_files(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(DataError) as error:
        load(tmp_path, document)
    assert message in str(error.value) and "split.json" in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere.json': No such file"):
        Split.from_json(tmp_path / "nowhere.json", [], [])
