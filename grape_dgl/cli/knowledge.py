"""The flags that say where what is known about genes comes from: tables, genomes, services, vectors, prior graphs."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from grape_dgl.data.regions import Region
from grape_dgl.errors import ConfigError

if TYPE_CHECKING:
    from grape_dgl.data.annotation import Annotation
    from grape_dgl.data.screen import Screen
    from grape_dgl.graph.hetero import Prior

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

KNOWLEDGE = (
    click.option("--annotation", multiple=True, type=PATH, metavar="TABLE|GTF",
                 help="Genes: a table (TSV/CSV) with symbol, Ensembl id, biotype, description, or a GTF. Repeatable."),
    click.option("--sequences", multiple=True, type=PATH, metavar="FASTA",
                 help="DNA sequence of each gene, by symbol or Ensembl id. Repeatable."),
    click.option("--genome", type=PATH, metavar="FASTA", help="Genome of the GTF, from which genes' DNA is taken."),
    click.option("--ensembl", metavar="SPECIES", help="Ask the Ensembl service: human, mouse, ... Kept in --cache."),
    click.option("--ensembl-url", metavar="URL", help="Another server, such as https://grch37.rest.ensembl.org."),
    click.option("--region", type=click.Choice(get_args(Region)), default="promoter",
                 show_default=True, help="Which DNA of a gene --genome and --ensembl give."),
    click.option("--upstream", type=click.IntRange(min=0), default=1000, show_default=True, metavar="BASES",
                 help="Of the promoter, before the transcription start."),
    click.option("--downstream", type=click.IntRange(min=0), default=100, show_default=True, metavar="BASES",
                 help="Of the promoter, from the transcription start on."),
    click.option("--embeddings", multiple=True, metavar="NAME=FILE",
                 help="Vectors of genes (CSV, TSV, Parquet, NPZ, JSON, h5ad::varm) as a modality; NAME text or seq "
                      "replaces it. Repeatable."),
    click.option("--offline", is_flag=True, help="Never download."),
    click.option("--cache", type=PATH, metavar="FOLDER",
                 help="Where data sets, answers and features are kept [GRAPE_DGL_DATA or the user's cache]."),
)  # fmt: skip
KNOWN_BY = ("genome", "ensembl", "ensembl_url", "embeddings")
"""Flags of `load_annotation` that are kept with the screen, beside tables and sequences."""
TAKEN = ("fus", "learned", "all", "description", "sequence", "biotype", "symbol", "measured", "source")
"""No names of modalities: members of M, and what ``features`` prints and writes beside them."""


def knowledge_options(function: F) -> F:
    """Where what is known about genes comes from, for `load_annotation`."""
    return apply(function, KNOWLEDGE)


def load_annotation(
    *,
    annotation: Sequence[Path] = (),
    sequences: Sequence[Path] = (),
    genome: Path | None = None,
    ensembl: str | None = None,
    ensembl_url: str | None = None,
    region: Region = "promoter",
    upstream: int = 1000,
    downstream: int = 100,
    embeddings: Sequence[str] = (),
    offline: bool = False,
    cache: Path | None = None,
    **_: Any,
) -> Annotation:
    """The annotation that the flags of ``knowledge_options`` describe; other keys are ignored.

    The Ensembl service is asked for sequences where neither files nor a genome give them.
    """
    from grape_dgl.data.annotation import Annotation

    flanks: dict[str, Any] = {"region": region, "upstream": upstream, "downstream": downstream}
    vectors = [named_file(item, "--embeddings") for item in embeddings]
    _check_unique("--embeddings", [name for name, _ in vectors])
    if ensembl is None and ensembl_url is not None:
        raise ConfigError("--ensembl-url needs --ensembl SPECIES, such as --ensembl human")
    known = Annotation.from_files(annotation, sequences, genome=genome, embeddings=dict(vectors), **flanks)
    if ensembl is None:
        return known
    from grape_dgl.data.catalog import default_cache
    from grape_dgl.data.ensembl import URL, Ensembl

    if sequences or genome:
        flanks["region"] = None
    service = Ensembl(
        ensembl,
        **flanks,
        cache=cache or default_cache(),
        url=URL if ensembl_url is None else ensembl_url,
        offline=offline,
    )
    return dataclasses.replace(known, look_ups=(*known.look_ups, service))


def named_file(item: str, flag: str) -> tuple[str, Path]:
    """``NAME=FILE`` as name and path. Raises ConfigError for anything else."""
    name, sign, file = item.partition("=")
    if not sign or not file or not re.fullmatch(r"[A-Za-z]\w*", name):
        raise ConfigError(f"{flag} '{item}' is not of the form NAME=FILE, such as genept=vectors.csv; NAME is a word")
    if name in TAKEN or name.startswith("present_"):
        raise ConfigError(f"{flag} '{item}': the name '{name}' means something else; choose another")
    return name, Path(file)


def feature_cache(cache: Path | None) -> Path:
    """Folder of encoded features."""
    from grape_dgl.data.catalog import default_cache

    return (cache or default_cache()) / "features"


def prior_option(function: F) -> F:
    """``--prior`` (parameter ``prior``), for `load_priors`."""
    return click.option(
        "--prior", multiple=True, metavar="NAME[=FILE]",
        help="Prior graph beside the learned similarities (Eq. 5): go=gene2go.tsv.gz, string=links.txt.gz, any "
             "NAME=edges.tsv, or coexpression (of control cells); with ,neighbours=20 ,least=0.4 ,names=FILE. "
             "Repeatable.",
    )(function)  # fmt: skip


def load_priors(specs: Sequence[str], screen: Screen, seed: int) -> list[Prior]:
    """The prior graphs of ``--prior``; co-expression looks at the model's half of the controls, drawn by ``seed``."""
    from grape_dgl.graph.prior_spec import read_prior

    priors = [read_prior(spec, screen, screen.control_halves(seed)) for spec in specs]
    _check_unique("--prior", [prior.name for prior in priors])
    return priors


def _check_unique(flag: str, names: Sequence[str]) -> None:
    for name, number in Counter(names).items():
        if number > 1:
            raise ConfigError(f"{flag} names '{name}' twice; give each a name of its own")


def apply(function: F, decorators: Sequence[Callable[[F], F]]) -> F:
    """``function`` with all of ``decorators``, the first of them outermost."""
    for decorate in reversed(decorators):
        function = decorate(function)
    return function
