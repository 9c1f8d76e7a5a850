"""The command ``grape-dgl``: one file per command, loaded when it is called, so that ``--help`` is quick.

A command ``build-graph`` is the click command named ``command`` in ``cli/build_graph.py``; that file imports its stage
inside functions only. stdout carries data, stderr carries notes and progress.
Exit codes: 0 done, 1 the input's fault (one line ``error: ...``), 2 wrong usage, 130 interrupted; a bug keeps its
traceback.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from grape_dgl.cli.options import verbosity_options
from grape_dgl.errors import GrapeError, did_you_mean

COMMANDS = (
    *("inspect", "datasets", "features", "build-graph", "train", "predict", "evaluate", "plot", "benchmark", "info"),
)
SPIN = "3000"
"""How long a thread of GNU OpenMP spins before it sleeps: where other processes use the cores training is six times
faster or more than with its default, where they are idle a tenth slower (measured on 2 cores)."""
FILE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM}

log = logging.getLogger("grape_dgl")


class LazyGroup(click.Group):
    """Lists ``COMMANDS`` in the order of work and imports a command's file when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Commands whose file exists."""
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command with ``-v/-q`` added, or None where there is no such command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        return _with_verbosity(importlib.import_module(_module(cmd_name)).command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and suggests the closest command."""
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            raise click.UsageError(f"No such command '{name}'{did_you_mean(name, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        import grape_dgl

        click.echo(f"grape-dgl {grape_dgl.__version__}")
        ctx.exit()


def _keep_memory(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from grape_dgl.memory import keep_freed

        if not keep_freed():
            log.warning("--keep-memory has no effect here: it needs Linux with glibc")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show it and exit."
)
@click.option(
    "--keep-memory",
    is_flag=True,
    expose_value=False,
    callback=_keep_memory,
    help="Keep freed memory for the next step: faster on many genes, takes more memory (Linux).",
)
@verbosity_options
def cli() -> None:
    """Predict how cells respond to gene perturbations with a learned graph of genes.

    DATA is a .h5ad file or the name of a data set ('grape-dgl datasets list').

    \b
    Examples:
      grape-dgl inspect screen.h5ad
      grape-dgl train demo --out runs/demo
      grape-dgl predict runs/demo --all-single --out predictions.h5ad
    """


_KEPT = "; what is done is kept: the same command goes on"
GO_ON = {
    "features": _KEPT,
    "benchmark": _KEPT,
    "datasets": _KEPT,
    "train": "; to go on: the same command with --resume",
}
"""Command -> how to go on after an interruption."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on ``args`` (default: ``sys.argv[1:]``); returns the exit code."""
    _log_to_stderr()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN)  # read when torch is loaded
    try:
        with _terminable():
            result = cli.main(args, prog_name="grape-dgl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        words = sys.argv[1:] if args is None else args
        command = next((word for word in words if not word.startswith("-")), "")
        click.echo(f"interrupted{GO_ON.get(command, '')}", err=True)
        return 130
    except GrapeError as error:
        return _fail(str(error))
    except OSError as error:
        if error.filename is None and error.errno not in FILE_ERRORS:
            raise
        where = f" '{error.filename}'" if error.filename else ""
        return _fail(f"cannot read or write{where}: {error.strerror or error}")
    return result if isinstance(result, int) else 0


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class StderrHandler(logging.Handler):
    """Writes notes as they are, warnings with ``warning: `` before them, to the stderr of the moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        click.echo(prefix + self.format(record), err=True)


def _log_to_stderr() -> None:
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, StderrHandler) for handler in log.handlers):
        log.addHandler(StderrHandler())


def _fail(message: str) -> int:
    log.debug("where it happened:", exc_info=True)
    click.echo("error: " + " ".join(message.split()), err=True)
    return 1


def _module(command: str) -> str:
    return f"grape_dgl.cli.{command.replace('-', '_')}"


def _with_verbosity(command: click.Command) -> click.Command:
    if isinstance(command, click.Group):
        for member in command.commands.values():
            _with_verbosity(member)
    elif not any(option.name == "verbose" for option in command.params):
        verbosity_options(command)
    return command
