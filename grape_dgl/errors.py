"""Errors a user can act on: each message says what was found, what was expected and what to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GrapeError(Exception):
    """Base of every error that is the input's fault; the command line prints it as one line and exits 1."""


class ConfigError(GrapeError):
    """A setting is unknown or out of range."""


class DataError(GrapeError):
    """A file or table does not hold what it should."""


class DownloadError(GrapeError):
    """A file could not be fetched or does not match its checksum."""


class ModelError(GrapeError):
    """A run folder or model cannot do what was asked."""


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names of a list that may be long: ``"A, B, ..."``."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'heads'?"`` for the closest known name, or an empty string."""
    names = list(known)
    close = [other for other in names if other.casefold() == name.casefold()]
    close = close or difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return f"; did you mean '{close[0]}'?" if close else ""
