"""The flags that every command shares, written once: how to read data, configure, write, and how much to say.

Use in a command file::

    @click.command()
    @data_options
    @config_options
    @output_options(required=True, help="Run folder to write.")
    @json_option
    def command(out: Path, force: bool, as_json: bool, **options: Any) -> None:
        check_output(out, force)
        config = resolve_config(**options)
        screen = load_screen(**options)

``load_screen`` and ``resolve_config`` each take their own flags out of ``options`` and leave the others alone.
A flag that was not given is not passed on: the default is the one of ``read_screen`` or of ``Config``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from grape_dgl.cli.knowledge import KNOWLEDGE, KNOWN_BY, PATH, F, apply, load_annotation
from grape_dgl.config import PRESETS, Config, Device, EngineName, SplitKind
from grape_dgl.errors import ConfigError, GrapeError, did_you_mean

if TYPE_CHECKING:
    from grape_dgl.data.screen import Screen

log = logging.getLogger("grape_dgl")


# --- reading data ----------------------------------------------------------------------------------------------------


def _dataset_flag(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    ctx.meta["grape_dgl.dataset"] = value


def _data_argument(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    flag = ctx.meta.get("grape_dgl.dataset")
    if ctx.resilient_parsing:
        return value
    if value is not None and flag is not None:
        raise click.UsageError(f"DATA is given twice: '{value}' and --dataset '{flag}'.", ctx)
    if value is None and flag is None:
        raise click.UsageError("Missing DATA: a .h5ad file or a name from 'grape-dgl datasets list'.", ctx)
    return value if value is not None else flag


DATA = (
    click.argument("data", required=False, metavar="DATA", callback=_data_argument),
    click.option("--dataset", metavar="DATA", expose_value=False, is_eager=True, callback=_dataset_flag,
                 help="The same as the positional DATA."),
)  # fmt: skip

READING = (
    *KNOWLEDGE,
    click.option("--condition-key", "--pert-col", metavar="COLUMN",
                 help="obs column that names the perturbation of a cell [detected]."),
    click.option("--control", "--control-pert", multiple=True, metavar="LABEL",
                 help="Label of unperturbed cells [detected]. Repeatable."),
    click.option("--guide-map", type=PATH, metavar="TSV", help="Table that maps guide names to target genes."),
    click.option("--obs", "obs_table", type=PATH, metavar="TABLE",
                 help="Table that replaces obs columns by cell barcode, such as corrected labels."),
    click.option("--cell-type", metavar="NAME", help="Use only the cells of this type."),
    click.option("--cell-type-key", metavar="COLUMN", help="obs column of cell types [detected]."),
    click.option("--batch-key", metavar="COLUMN",
                 help="obs column of batches, to which control means are matched [detected]."),
    click.option("--keep", multiple=True, metavar="COLUMN=VALUE", help="Use only cells with this value. Repeatable."),
    click.option("--min-cells", type=click.IntRange(min=1), metavar="N",
                 help="Leave out conditions with fewer cells [30]."),
    click.option("--layer", metavar="NAME", help="Read this layer, or 'raw' for .raw, instead of X."),
    click.option("--counts", type=click.Choice(["auto", "raw", "log1p"]), help="What the numbers are [auto]."),
    click.option("--target-sum", type=click.FloatRange(min=0, min_open=True), metavar="SUM",
                 help="Counts of a cell are scaled to this sum before log1p [10000]."),
    click.option("--on-disk", is_flag=True,
                 help="Keep the cells in temporary files (in TMPDIR): for screens larger than memory."),
    click.option("--hvg", type=click.IntRange(min=1), metavar="N",
                 help="Keep the N most variable genes of the control cells and every measured target [all genes]."),
)  # fmt: skip


def reading_options(function: F) -> F:
    """Every flag of how a screen is read, without DATA itself (for ``evaluate PREDICTIONS --truth DATA``)."""
    return apply(function, READING)


def data_options(function: F) -> F:
    """The positional DATA (parameter ``data``) with its alias ``--dataset``, and ``reading_options``."""
    return apply(function, (*DATA, *READING))


def load_screen(
    *,
    data: str,
    annotation: Sequence[Path] = (),
    sequences: Sequence[Path] = (),
    offline: bool = False,
    cache: Path | None = None,
    **options: Any,
) -> Screen:
    """Find DATA by name or path and read it with the flags of ``data_options``; other keys of ``options`` are ignored.

    The user's tables and sequences come before those that the data set brings. Raises DataError or DownloadError.
    """
    from grape_dgl.data.catalog import resolve
    from grape_dgl.data.read import read_screen

    source = resolve(data, cache=cache, offline=offline)
    known = load_annotation(
        annotation=[*annotation, *source.annotation],
        sequences=[*sequences, *source.sequences],
        offline=offline,
        cache=cache,
        **options,
    )
    given = {name: options[name] for name in READ_SCREEN if options.get(name) not in (None, (), False)}
    screen = read_screen(source.path, annotation=known, labels_warning=source.labels_warning, **given)
    flags = {"data": data, "annotation": annotation, "sequences": sequences, **given}
    flags |= {name: options[name] for name in KNOWN_BY if options.get(name)}
    if options.get("genome") or options.get("ensembl"):
        flags |= {name: options[name] for name in ("region", "upstream", "downstream")}
    told = json.loads(json.dumps(flags, default=str))
    return dataclasses.replace(screen, notes={**screen.notes, "read_with": told})


READ_SCREEN = (
    "condition_key", "control", "guide_map", "obs_table", "cell_type", "cell_type_key", "batch_key", "keep",
    "min_cells", "layer", "counts", "target_sum", "hvg", "on_disk",
)  # fmt: skip
"""Flags that ``read_screen`` takes under the same name."""


# --- configuration ---------------------------------------------------------------------------------------------------

CONFIG = (
    click.option("--preset", type=click.Choice(list(PRESETS)), help="Named set of settings to start from [default]."),
    click.option("--config", "toml", type=PATH, metavar="TOML",
                 help="Settings of a file, such as a run's config.toml."),
    click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
                 help="One setting, such as structure.heads=8; comes after --config. Repeatable."),
    click.option("--split", metavar="KIND|FILE.json",
                 help=f"How conditions are held out: {', '.join(k for k in get_args(SplitKind) if k != 'custom')}, "
                 'or a file {"train": [...], "val": [...], "test": [...]} [condition].'),
    click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of split, start and training [0]."),
    click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Longest training [100]."),
    click.option("--ensemble", type=click.IntRange(min=1), metavar="N", help="Train N models and average them [1]."),
    click.option("--device", type=click.Choice(get_args(Device)), help="Where to compute [auto]."),
    click.option("--engine", type=click.Choice(get_args(EngineName)), help="Who passes the messages [auto]."),
)  # fmt: skip


def config_options(function: F) -> F:
    """Flags that make a ``Config``: presets, a TOML file, single settings and the common ones by name."""
    return apply(function, CONFIG)


def resolve_config(
    *,
    preset: str | None = None,
    toml: Path | None = None,
    settings: Sequence[str] = (),
    split: str | None = None,
    seed: int | None = None,
    epochs: int | None = None,
    ensemble: int | None = None,
    device: str | None = None,
    engine: str | None = None,
    **_: Any,
) -> Config:
    """Defaults < --preset < --config < --set < flags; other keys are ignored. Raises ConfigError.

    ``--split FILE.json`` gives ``split.kind = "custom"``; the file itself is ``split_file(split)``.
    """
    kind = "custom" if split_file(split) else split
    training = {"seed": seed, "epochs": epochs, "ensemble": ensemble, "device": device, "engine": engine}
    sections: dict[str, Any] = {"split": {"kind": kind}, "training": training}
    if preset is not None:
        sections["preset"] = preset
    return Config.resolve(toml=toml, settings=settings, **sections)


def split_file(split: str | None) -> Path | None:
    """The file that ``--split`` names, or None where it names a kind. Raises ConfigError for neither."""
    kinds = [kind for kind in get_args(SplitKind) if kind != "custom"]
    if split is None or split in kinds:
        return None
    if split.endswith(".json") or Path(split).is_file():
        return Path(split)
    raise ConfigError(
        f"--split '{split}' is neither a kind ({', '.join(kinds)}) nor a .json file{did_you_mean(split, kinds)}"
    )


# --- output ----------------------------------------------------------------------------------------------------------


def output_options(*, help: str, required: bool = False) -> Callable[[F], F]:
    """``-o/--out PATH`` (parameter ``out``, explained by ``help``) and ``--force``, for ``check_output``."""
    out = click.option("-o", "--out", type=PATH, required=required, metavar="PATH", help=help)
    force = click.option("--force", is_flag=True, help="Overwrite what is there.")
    return lambda function: apply(function, (out, force))


def check_output(path: Path, force: bool, ending: str = "") -> Path:
    """``path``, or a GrapeError where something is there and ``--force`` was not given; an empty folder is free.

    A file has the ``ending`` that says what is in it.
    """
    if ending and path.suffix != ending:
        raise GrapeError(
            f"--out '{path}' is written as {ending}; give it a name such as {path.with_suffix(ending).name}"
        )
    taken = any(path.iterdir()) if path.is_dir() else path.exists()
    if taken and not force:
        raise GrapeError(f"'{path}' exists already; choose another --out, or overwrite it with --force")
    return path


def json_option(function: F) -> F:
    """``--json`` (parameter ``as_json``): the answer as JSON on stdout; write it with ``echo_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Write the answer as JSON.")(function)


def echo_json(value: Any) -> None:
    """``value`` as indented JSON on stdout; NaN is refused (use None)."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


# --- how much to say -------------------------------------------------------------------------------------------------


def verbosity_options(function: F) -> F:
    """``-v`` and ``-q``, repeatable, before or after the command's name; the group adds them to every command."""
    more = click.option("-v", "--verbose", count=True, expose_value=False, callback=_verbosity, help="Say more.")
    less = click.option("-q", "--quiet", count=True, expose_value=False, callback=_verbosity, help="Say only warnings.")
    return apply(function, (more, less))


def _verbosity(ctx: click.Context, param: click.Parameter, value: int) -> None:
    step = value if param.name == "quiet" else -value
    level = ctx.meta.get("grape_dgl.level", logging.INFO) + 10 * step
    ctx.meta["grape_dgl.level"] = level
    log.setLevel(min(max(level, logging.DEBUG), logging.ERROR))
