"""The run-time checker of shapes and types that pytest installs (``--jaxtyping-packages`` in setup.cfg)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""As static checkers do, takes an int where a float is expected."""
