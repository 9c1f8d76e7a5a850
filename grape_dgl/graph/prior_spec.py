"""A prior graph as a person names it: ``go=gene2go.tsv.gz,neighbours=10`` or ``coexpression``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from grape_dgl.data.screen import ControlHalves, Screen
from grape_dgl.errors import ConfigError, did_you_mean
from grape_dgl.graph.hetero import Prior
from grape_dgl.graph.priors import coexpression_prior, edge_prior, go_prior, string_prior

SETTINGS = {"neighbours": int, "least": float, "names": Path}


def read_prior(spec: str, screen: Screen, control: ControlHalves) -> Prior:
    """The prior graph of ``NAME[=FILE][,neighbours=K][,least=W][,names=FILE]`` over the genes of ``screen``.

    ``go`` and ``string`` read files of these; any other name an edge table; ``coexpression`` needs no file and looks at
    the model's half of the control cells. ``names`` says what gene a STRING protein or an NCBI GeneID is. Raises
    ConfigError for anything else, DataError for a file that cannot be used.
    """
    first, *rest = spec.split(",")
    name, _, file = first.partition("=")
    settings: dict[str, Any] = {}
    for item in rest:
        key, _, value = item.partition("=")
        if key not in SETTINGS:
            hint = did_you_mean(key, SETTINGS)
            raise ConfigError(f"prior '{spec}': unknown setting '{key}'{hint}; there are {', '.join(SETTINGS)}")
        if key in settings or not value:
            raise ConfigError(f"prior '{spec}': {key} is given {'twice' if key in settings else 'no value'}")
        try:
            settings[key] = SETTINGS[key](value)
        except ValueError as error:
            raise ConfigError(f"prior '{spec}': {key} is '{value}'; expected a number") from error
    if not re.fullmatch(r"[A-Za-z]\w*", name) or bool(file) == (name == "coexpression"):
        raise ConfigError(
            f"prior '{spec}' is not understood; expected go=FILE, string=FILE, NAME=FILE (edge table) or coexpression"
        )
    names = settings.pop("names", None)
    if name == "go":
        return go_prior(Path(file), screen.genes, **settings, names=names)
    if name == "string":
        return string_prior(Path(file), screen.genes, **settings, aliases=names)
    if names is not None or (name != "coexpression" and "least" in settings):
        raise ConfigError(f"prior '{spec}': an edge table and coexpression take no names, an edge table no least")
    if name == "coexpression":
        return coexpression_prior(screen, control, **settings)
    return edge_prior(Path(file), screen.genes, name, **settings)
