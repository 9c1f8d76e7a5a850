"""Exit codes, messages and shared flags of the command line, each seen from outside."""

from __future__ import annotations

import errno
import inspect
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from grape_dgl import cli
from grape_dgl.cli import options
from grape_dgl.config import Config
from grape_dgl.errors import ConfigError, DataError, GrapeError


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``main`` with a single command ``try`` that calls ``body``."""

    def call(body: Any, *args: str, decorators: tuple[Any, ...] = ()) -> int:
        function = body
        for decorate in decorators:
            function = decorate(function)
        command = click.command("try")(function)
        monkeypatch.setattr(cli.LazyGroup, "list_commands", lambda self, ctx: ["try"])
        monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: cli._with_verbosity(command))
        return cli.main(["try", *args])

    return call


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    """The handler and level of the logger as they were."""
    log = logging.getLogger("grape_dgl")
    level, handlers = log.level, list(log.handlers)
    yield
    log.setLevel(level)
    log.handlers = handlers


def _raise(error: BaseException) -> Any:
    def body() -> None:
        raise error

    return body


def test_success_is_zero_and_data_go_to_stdout(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        logging.getLogger("grape_dgl").info("a note")
        logging.getLogger("grape_dgl").warning("take care")
        click.echo("data")

    assert run(body) == 0
    streams = capsys.readouterr()
    assert streams.out == "data\n"
    assert streams.err == "a note\nwarning: take care\n"


@pytest.mark.parametrize(
    ("flags", "seen"), [(["-q"], "w"), (["-qq"], ""), ([], "iw"), (["-v"], "diw"), (["-vq"], "iw")]
)
def test_verbosity(flags: list[str], seen: str, run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        log = logging.getLogger("grape_dgl")
        log.debug("d")
        log.info("i")
        log.warning("w")

    assert run(body, *flags) == 0
    assert "".join(line[-1] for line in capsys.readouterr().err.splitlines()) == seen


def test_input_error_is_one_line_and_exit_1(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_raise(DataError("no control cells;\n  try --control"))) == 1
    assert capsys.readouterr().err == "error: no control cells; try --control\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            "cannot read or write '/x': Permission denied",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot read or write: No space left on device"),
    ],
)
def test_file_trouble_is_one_line_and_exit_1(
    error: OSError, text: str, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(_raise(error)) == 1
    assert capsys.readouterr().err == f"error: {text}\n"


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), ConnectionResetError("no file of the user's")])
def test_a_bug_keeps_its_traceback(error: Exception, run: Any) -> None:
    with pytest.raises(type(error)):
        run(_raise(error))


def test_interrupt_is_130(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_raise(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.split() == ["interrupted"]


def test_a_closed_pipe_is_quiet(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(_raise(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert stop.value.code == 1
    assert capsys.readouterr().err == ""


def test_wrong_usage_is_2_and_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inof"]) == 2
    assert "did you mean 'info'?" in capsys.readouterr().err
    assert cli.main(["info", "--no-such-flag"]) == 2


def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    names = cli.cli.list_commands(click.Context(cli.cli))
    assert names == [name for name in cli.COMMANDS if name in names]
    for name in names:
        assert cli.main([name, "-h"]) == 0
        text = capsys.readouterr().out
        assert re.search(rf"Examples:\n +grape-dgl {name}", text), name
        assert "--verbose" in text or isinstance(cli.cli.get_command(click.Context(cli.cli), name), click.Group), name


# --- shared flags ----------------------------------------------------------------------------------------------------


def _given(run: Any, *args: str) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    code = run(lambda **given: seen.update(given), *args, decorators=(options.data_options, options.config_options))
    return seen if code == 0 else {"exit": code}


def test_data_by_position_or_flag(run: Any) -> None:
    assert _given(run, "a.h5ad")["data"] == _given(run, "--dataset", "a.h5ad")["data"] == "a.h5ad"
    assert "dataset" not in _given(run, "a.h5ad")
    assert _given(run) == _given(run, "a.h5ad", "--dataset", "b.h5ad") == {"exit": 2}


def test_aliases(run: Any) -> None:
    given = _given(run, "x", "--pert-col", "gene", "--control-pert", "NT", "--control", "safe", "--obs", "labels.tsv")
    assert (given["condition_key"], given["control"], given["obs_table"]) == (
        "gene",
        ("NT", "safe"),
        Path("labels.tsv"),
    )


def test_reading_flags_are_those_of_read_screen_and_state_its_defaults() -> None:
    from grape_dgl.data.read import read_screen

    parameters = inspect.signature(read_screen).parameters
    assert set(options.READ_SCREEN) <= set(parameters)

    @click.command()
    @options.reading_options
    def command(**_: Any) -> None: ...

    stated = {option.name: option.help or "" for option in command.params if isinstance(option, click.Option)}
    for name in ("min_cells", "counts", "target_sum"):
        default = parameters[name].default
        assert stated[name].endswith(f"[{default:g}]." if isinstance(default, float) else f"[{default}].")


def test_config_flags_state_the_defaults_of_the_configuration() -> None:
    @click.command()
    @options.config_options
    def command(**_: Any) -> None: ...

    stated = {option.name: option.help or "" for option in command.params if isinstance(option, click.Option)}
    defaults = Config().to_dict()
    for name in ("seed", "epochs", "ensemble", "device", "engine"):
        assert stated[name].endswith(f"[{defaults['training'][name]}]."), name
    assert stated["split"].endswith(f"[{defaults['split']['kind']}].")


def test_flags_win_over_set_over_file(run: Any, tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("[training]\nseed = 1\nepochs = 2\nlr = 0.5\n")
    given = _given(
        run, "x", "--config", str(toml), "--set", "training.epochs=3", "--set", "training.seed=4", "--seed", "5"
    )
    training = options.resolve_config(**given).training
    assert (training.lr, training.epochs, training.seed) == (0.5, 3, 5)
    assert options.resolve_config(**_given(run, "x")) == Config()


def test_split_is_a_kind_or_a_file() -> None:
    assert options.resolve_config(split="gene").split.kind == "gene"
    assert options.resolve_config(split="mine.json").split.kind == "custom"
    assert options.split_file("mine.json") == Path("mine.json")
    assert options.split_file("gene") is None
    with pytest.raises(ConfigError, match="did you mean 'gene'"):
        options.resolve_config(split="genes")


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    free, file = tmp_path / "free", tmp_path / "file"
    file.write_text("mine")
    assert options.check_output(free, force=False) == free
    for taken in (file, tmp_path):
        with pytest.raises(GrapeError, match="--force"):
            options.check_output(taken, force=False)
        assert options.check_output(taken, force=True) == taken
    free.mkdir()
    assert options.check_output(free, force=False) == free


def test_json_is_json(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def body(as_json: bool) -> None:
        assert as_json
        options.echo_json({"a": None})

    assert run(body, "--json", decorators=(options.json_option,)) == 0
    assert json.loads(capsys.readouterr().out) == {"a": None}
    with pytest.raises(ValueError, match="JSON"):
        options.echo_json(float("nan"))
