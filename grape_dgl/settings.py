"""How a dataclass of settings is made of text: ``NAME=VALUE``, TOML, types and ranges, with errors that say them."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from grape_dgl.errors import ConfigError, did_you_mean

Settings = TypeVar("Settings")


def check(condition: bool, setting: str, value: object, expected: str) -> None:
    """ConfigError where a ``condition`` of a setting's value does not hold."""
    if not condition:
        raise ConfigError(f"setting '{setting}' is {value!r}; expected {expected}")


def convert(hint: Any, value: Any, setting: str) -> Any:
    """``value`` as the field's type; text from ``--set`` is parsed, a wrong type is a ConfigError."""
    if get_origin(hint) is Literal:
        check(value in get_args(hint), setting, value, "one of " + ", ".join(map(str, get_args(hint))))
        return value
    wanted: type = cast(type, hint)
    if isinstance(value, bool) or (isinstance(value, float) and wanted is int and not value.is_integer()):
        raise ConfigError(f"setting '{setting}' is {value!r}; expected {wanted.__name__}")
    try:
        return wanted(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"setting '{setting}' is {value!r}; expected {wanted.__name__}") from error


def settings_of(kind: type[Settings], items: Iterable[str]) -> Settings:
    """``kind``, a dataclass of settings, with what ``items`` (``"lr=0.01"``) say.

    Raises ConfigError for a name that it lacks and a value of another type.
    """
    every = get_type_hints(kind)
    hints = {one.name: every[one.name] for one in dataclasses.fields(cast(Any, kind))}
    given: dict[str, Any] = {}
    for item in items:
        name, _, value = item.partition("=")
        if name not in hints or not value:
            raise ConfigError(
                f"setting '{item}' is not understood{did_you_mean(name, hints)}; expected NAME=VALUE, NAME one of "
                + ", ".join(hints)
            )
        given[name] = convert(hints[name], value, name)
    return kind(**given)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The TOML file ``path``; ConfigError, which says ``what`` it should be, where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the {what} '{path}': {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the {what} '{path}' is not TOML: {error}") from error
