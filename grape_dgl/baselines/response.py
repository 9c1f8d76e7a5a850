"""The response of the preset ``best`` alone, without a network: what the network has to add to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from grape_dgl.baselines.protocol import Model
from grape_dgl.config import ResponseConfig
from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.data.splits import Split
from grape_dgl.training.knowledge import Kernel
from grape_dgl.training.response import Evidence, chosen_knowledge, fit_response

Knowledge = Callable[[Screen, ControlHalves], Mapping[str, Kernel]]


class ResponseBaseline(Model):
    """Common and additive changes with less noise of the control mean (``training.response``).

    ``knowledge``: kernels of genes by which effects may be alike, for a screen and halves of its control; which of them
    joins, the training conditions choose.
    """

    name = "response"

    def __init__(
        self, settings: ResponseConfig | None = None, knowledge: Knowledge = lambda screen, control: {}
    ) -> None:
        self._settings = ResponseConfig() if settings is None else settings
        self._knowledge = knowledge

    def fit(self, screen: Screen, split: Split, control: ControlHalves) -> None:
        self._screen = screen
        kernels = self._knowledge(screen, control)
        if kernels and self._settings.knowledge:
            self.tuned, self.trials = "knowledge, by leave-one-out of the training conditions", len(kernels) + 1
        self._kernels = chosen_knowledge(Evidence.of(screen, split.train, control), self._settings, kernels)
        evidence = Evidence.of(screen, [*split.train, *split.val], control)
        self._response = fit_response(evidence, self._settings, self._kernels)

    def predict(self, conditions: Sequence[str]) -> np.ndarray:
        targets = [self._screen.targets(name).tolist() for name in conditions]
        return self._response.change(targets, self._kernels).astype(np.float32)
