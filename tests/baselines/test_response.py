"""The response as a model of its own."""

from __future__ import annotations

import numpy as np
from evaluation.screens import simulated

from grape_dgl.baselines.response import ResponseBaseline
from grape_dgl.config import ResponseConfig
from grape_dgl.data.splits import Split
from grape_dgl.training.response import Evidence, fit_response


def test_it_is_fitted_to_training_and_validation_conditions() -> None:
    screen = simulated()
    control = screen.control_halves(0)
    model = ResponseBaseline()
    model.fit(screen, Split(("G00", "G00+G02"), ("G01",), ("G03",), "custom", 0), control)
    wanted = fit_response(Evidence.of(screen, ["G00", "G00+G02", "G01"], control), ResponseConfig())
    found = model.predict(["G03", "G02"])
    ids = [screen.targets(name).tolist() for name in ("G03", "G02")]
    np.testing.assert_allclose(found, wanted.change(ids), rtol=1e-5)
    assert np.abs(found[0] - wanted.common).argmax() == screen.targets("G03")[0]  # its own expression
