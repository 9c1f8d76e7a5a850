"""The response of the preset ``best`` alone, without a network: what the network has to add to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model
from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.training.response import Evidence, fit_response


class ResponseBaseline(Model):
    """Common and additive changes with less noise of the control mean (``training.response``). Nothing is tuned."""

    name = "response"

    def __init__(self, settings: ResponseConfig | None = None) -> None:
        self._settings = ResponseConfig() if settings is None else settings

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._screen = screen
        self._response = fit_response(Evidence.of(screen, [*split.train, *split.val], control), self._settings)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        return self._response.change([self._screen.targets(name).tolist() for name in conditions]).astype(np.float32)
