"""Names of scores, and the page of the docs that is made of the cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from grape_dgl.errors import DataError
from grape_dgl.evaluation.cards import METRICS
from grape_dgl.evaluation.catalogue import FORMS, all_names, card, check_names, metric_names, page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_first_names_are_a_contract() -> None:
    assert metric_names()[:22] == [
        "rmse", "dac", "dac_nonzero", "pcc_delta", "dac_de20", "pcc_delta_de20", "dac_de40", "pcc_delta_de40",
        "dac_shared_control", "pcc_delta_shared_control",
        "dac_de20_shared_control", "pcc_delta_de20_shared_control", "dac_de40_shared_control",
        "pcc_delta_de40_shared_control",
        "dac_de20_heldout", "pcc_delta_de20_heldout", "dac_de40_heldout", "pcc_delta_de40_heldout",
        "mse", "mse_de20", "mae_delta", "wmse",
    ]  # fmt: skip
    assert metric_names(trained=True) == [*metric_names(), "pcc_perturbed_mean", "pcc_perturbed_mean_de20"]
    assert len({*all_names()}) == len(all_names())


def test_a_name_is_a_metric_and_a_form() -> None:
    endings = {part for form in FORMS for part in form.split(", ")}
    for name in all_names():
        metric, form = card(name)
        assert name == metric.name + form
        for part in endings - {""}:
            form = form.replace(part, "")
        assert form == ""
    used = {card(name)[0].name for name in all_names()}
    assert {m.name for m in METRICS.values() if m.of != "cells"} == used
    assert card("dac_nonzero")[0].name == "dac_nonzero"
    assert card("mse_de20")[0].name == "mse"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(DataError, match="no metric 'rsme'; did you mean 'rmse'"):
        check_names(["rmse", "rsme"])


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m grape_dgl.evaluation.catalogue > docs/metrics.md"
    assert all(len(line) < 2000 for line in page().splitlines())
    assert all(f"\n### {name}\n" in page() for name in METRICS)
