"""Every spelling that GEARS, scPerturb, pertpy and guide tables use, against the condition a reader would name."""

from __future__ import annotations

import itertools

import pytest

from grape_dgl.data.conditions import (
    CONTROL,
    ConditionParser,
    canonical,
    detect_parser,
    guide_stem,
    is_control_name,
    parse_condition,
    targets,
)
from grape_dgl.errors import DataError

KNOWN = frozenset(
    ("KLF1", "MAP2K6", "STAT2", "HLA", "HLA-A", "NKX2-5", "Y_RNA", "NT5E", "CTRL", "BCL2", "BCL2-AS1", "A", "SET")
)


def parsed(labels: list[str], known: frozenset[str] = KNOWN, **options: object) -> list[str]:
    parser = detect_parser(labels, known, **options)  # type: ignore[arg-type]
    return [parser.parse(label) for label in labels]


@pytest.mark.parametrize("genes", [(), ("KLF1",), ("KLF1", "MAP2K6"), ("HLA-A", "NKX2-5", "Y_RNA")])
def test_canonical_is_order_free_and_inverted_by_targets(genes: tuple[str, ...]) -> None:
    names = {canonical(order) for order in itertools.permutations(genes)}
    assert len(names) == 1
    assert targets(names.pop()) == tuple(sorted(genes))
    assert canonical([*genes, *genes]) == canonical(genes)


def test_gears_labels() -> None:
    assert parsed(["KLF1+ctrl", "ctrl+KLF1", "MAP2K6+KLF1", "ctrl", "ctrl+ctrl"]) == [
        "KLF1", "KLF1", "KLF1+MAP2K6", CONTROL, CONTROL,
    ]  # fmt: skip


@pytest.mark.parametrize("delimiter", ["+", "_", "|", ",", ";", "&", "/", "-", ":", " "])
def test_delimiter_is_found_for_the_file(delimiter: str) -> None:
    labels = ["control", "KLF1", delimiter.join(("MAP2K6", "KLF1")), delimiter.join(("SET", "KLF1", "MAP2K6"))]
    parser = detect_parser(labels, KNOWN)
    assert parser.delimiter == delimiter
    assert [parser.parse(label) for label in labels] == [CONTROL, "KLF1", "KLF1+MAP2K6", "KLF1+MAP2K6+SET"]


@pytest.mark.parametrize("gene", ["HLA-A", "NKX2-5", "Y_RNA", "BCL2-AS1", "NT5E"])
@pytest.mark.parametrize("delimiter", ["", "+", "_", "-"])
def test_a_known_gene_is_never_cut(gene: str, delimiter: str) -> None:
    labels = [gene, "control", "KLF1"]
    expected = [gene, CONTROL, "KLF1"]
    if delimiter:
        labels += [f"KLF1{delimiter}MAP2K6", f"{gene}{delimiter}KLF1", f"KLF1{delimiter}{gene}"]
        expected += ["KLF1+MAP2K6", canonical((gene, "KLF1")), canonical((gene, "KLF1"))]
    assert parsed(labels) == expected


@pytest.mark.parametrize("gene", ["HLA-A", "NKX2-5", "Y_RNA"])
def test_a_gene_that_no_source_knows_is_not_cut_either(gene: str) -> None:
    assert parsed([gene, "control", "KLF1"], frozenset(("KLF1",))) == [gene, CONTROL, "KLF1"]


def test_combinations_of_unmeasured_genes_are_explained_by_the_single_labels() -> None:
    labels = ["control", "AAA", "BBB", "AAA_BBB", "Y_RNA"]
    assert parsed(labels, frozenset()) == [CONTROL, "AAA", "BBB", "AAA+BBB", "Y_RNA"]


@pytest.mark.parametrize(("gene", "delimiter"), [("Y_RNA", "_"), ("HLA-A", "-")])
def test_a_gene_that_no_source_knows_is_not_cut_in_a_combination(gene: str, delimiter: str) -> None:
    """No part of its name is a gene; a combination elsewhere in the file says what divides targets."""
    labels = ["control", gene, "KLF1", f"{gene}{delimiter}KLF1", f"KLF1{delimiter}{gene}", f"KLF1{delimiter}MAP2K6"]
    parser = detect_parser(labels, {"KLF1", "MAP2K6", "GATA1"})
    found = [parser.parse(label) for label in labels]
    assert found == ["control", gene, "KLF1", *[canonical([gene, "KLF1"])] * 2, "KLF1+MAP2K6"]


def test_part_of_a_combination_may_be_unknown() -> None:
    labels = ["control", "KLF1_MAP2K6", "KLF1_NEW", "A+B"]
    assert parsed(labels[:3]) == [CONTROL, "KLF1+MAP2K6", "KLF1+NEW"]
    assert parsed(["X+Y", "ctrl"], frozenset()) == ["X+Y", CONTROL]


@pytest.mark.parametrize(
    "label",
    ["ctrl", "control", "Control", "CTRL", "non-targeting", "Non_Targeting", "NT", "NTC", "negative control",
     "scramble", "NTg1", "non-targeting_00025", "NegCtrl0", "INTERGENIC1216445", "NegCtrl0_NegCtrl10"],
)  # fmt: skip
def test_control_names(label: str) -> None:
    assert parsed([label, "KLF1_NegCtrl0", "KLF1"]) == [CONTROL, "KLF1", "KLF1"]


def test_control_names_are_no_part_of_gene_names() -> None:
    assert not is_control_name("NT5E")
    assert not is_control_name("SCRT1")
    assert parsed(["NT5E", "ctrl"], frozenset()) == ["NT5E", CONTROL]


def test_given_control_labels_count_besides() -> None:
    assert parsed(["AAVS1", "KLF1+AAVS1", "KLF1"], control=["AAVS1"]) == [CONTROL, "KLF1", "KLF1"]


@pytest.mark.parametrize(
    ("guide", "target"),
    [("STAT2g2", "STAT2"), ("STAT2_sg2", "STAT2"), ("STAT2-1", "STAT2"), ("STAT2_gRNA_3", "STAT2"),
     ("STAT2sg1", "STAT2"), ("STAT2.2", "STAT2"), ("NKX2-5", "NKX2-5"), ("NKX2-5-1", "NKX2-5"),
     ("HLA-Ag2", "HLA-A"), ("Q-1", "Q-1"), ("UNKNOWNg1", "UNKNOWNg1"), ("SETG1", "SETG1"), ("BCL2G7", "BCL2G7")],
)  # fmt: skip
def test_guides_lose_their_suffix_only_where_a_known_gene_remains(guide: str, target: str) -> None:
    assert parsed([guide, "NT"]) == [target, CONTROL]


def test_guide_combinations() -> None:
    assert parsed(["KLF1_sg1+MAP2K6_sg2", "ctrl"]) == ["KLF1+MAP2K6", CONTROL]
    assert parsed(["KLF1-1_MAP2K6-2", "KLF1-2", "NT-1"]) == ["KLF1+MAP2K6", "KLF1", CONTROL]


def test_guide_map_comes_first() -> None:
    guides = {"g17": "KLF1", "g18": "ctrl", "dual": "MAP2K6+KLF1", "STAT2g2": "SET"}
    assert parsed(["g17", "g18", "dual", "STAT2g2", "STAT2g3"], guide_map=guides) == [
        "KLF1", CONTROL, "KLF1+MAP2K6", "SET", "STAT2",
    ]  # fmt: skip


def test_aliases_rename_targets() -> None:
    known = {"ENSG00000105610", "MAP2K6"}
    parser = detect_parser(["ENSG00000105610+MAP2K6"], known, aliases={"ENSG00000105610": "KLF1"})
    assert parser.parse("ENSG00000105610+MAP2K6") == "KLF1+MAP2K6"


@pytest.mark.parametrize(
    ("text", "condition"),
    [("MAP2K6+KLF1", "KLF1+MAP2K6"), ("KLF1+ctrl", "KLF1"), ("ctrl+KLF1", "KLF1"), ("KLF1_MAP2K6", "KLF1+MAP2K6"),
     (" KLF1 + MAP2K6 ", "KLF1+MAP2K6"), ("HLA-A", "HLA-A"), ("control", CONTROL), ("ctrl", CONTROL)],
)  # fmt: skip
def test_typed_conditions(text: str, condition: str) -> None:
    assert parse_condition(text, sorted(KNOWN)) == condition


@pytest.mark.parametrize("text", ["KLF1+MAP2K7", "MAP2K7", "KLF1+", "", "KLF1++MAP2K6"])
def test_typed_conditions_that_are_none(text: str) -> None:
    with pytest.raises(DataError):
        parse_condition(text, KNOWN)


def test_the_error_suggests_the_closest_gene() -> None:
    with pytest.raises(DataError, match="'MAP2K7'; did you mean 'MAP2K6'"):
        parse_condition("KLF1+MAP2K7", KNOWN)


@pytest.mark.parametrize(
    ("label", "stem"),
    [("KLF1g2", "KLF1"), ("KLF1", ""), ("A_sg10", "A"), ("NKX2-5", "NKX2"), ("ARG1", ""), ("Arg1", "")],
)
def test_guide_stem(label: str, stem: str) -> None:
    assert guide_stem(label) == stem


def test_parsing_a_canonical_condition_changes_nothing() -> None:
    parser = ConditionParser(KNOWN, delimiter="+")
    for genes in itertools.combinations(sorted(KNOWN - {"CTRL"}), 2):
        assert parser.parse(canonical(genes)) == canonical(genes)


def test_names_with_another_delimiter_divide_where_they_stand_alone() -> None:
    """HLA-A and NKX2-5 stand alone in the file, so HLA-A_NKX2-5 is both, though no source knows any gene."""
    labels = ["HLA-A", "NKX2-5", "KLF1", "MAP2K6", "KLF1_MAP2K6", "NKX2-5_HLA-A", "ctrl"]
    parser = detect_parser(labels, set())
    assert parser.delimiter == "_"
    assert [parser.parse(label) for label in labels] == [
        "HLA-A", "NKX2-5", "KLF1", "MAP2K6", "KLF1+MAP2K6", "HLA-A+NKX2-5", "control",
    ]  # fmt: skip
    alone = detect_parser(["HLA-A", "NKX2-5", "ctrl"], set())
    assert alone.delimiter == "" and alone.parse("HLA-A") == "HLA-A"
