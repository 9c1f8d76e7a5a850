"""``grape-dgl info``: what is installed and which engine runs, or what a run folder holds."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from grape_dgl.cli.knowledge import PATH
from grape_dgl.cli.options import echo_json, json_option
from grape_dgl.errors import ModelError

PACKAGES = ("torch", "dgl", "numpy", "scipy", "pandas", "anndata", "scanpy", "transformers", "lightning", "safetensors")


@click.command("info")
@click.argument("run", required=False, type=PATH)
@json_option
def command(run: Path | None, as_json: bool) -> None:
    """Versions, engine and device; or the settings, split and scores of RUN.

    \b
    Examples:
      grape-dgl info
      grape-dgl info runs/demo
      grape-dgl info runs/demo --json
    """
    facts = installation() if run is None else run_folder(run)
    if as_json:
        echo_json(facts)
    else:
        click.echo("\n".join(_lines(facts)))


def installation() -> dict[str, Any]:
    """Versions of what the numbers depend on (None: not installed), the engine ``auto`` picks, threads, devices."""
    import torch

    import grape_dgl
    from grape_dgl.engine import default_engine

    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    return {
        "grape_dgl": grape_dgl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "engine": {device: default_engine(device) for device in ("cpu", "cuda", "mps")},
        "devices": {"cpu": True, "cuda": cuda, "mps": mps},
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def run_folder(folder: Path) -> dict[str, Any]:
    """Settings, split sizes and scores (None: not evaluated yet) of a run folder; ModelError where it is none."""
    if not folder.is_dir():
        raise ModelError(f"there is no run folder '{folder}'; make one with 'grape-dgl train DATA --out {folder}'")
    return {
        "run": str(folder),
        "config": _read(folder / "config.toml", tomllib.loads),
        "split": _read(folder / "split.json", _sizes),
        "metrics": _read(folder / "metrics.json", json.loads) if (folder / "metrics.json").exists() else None,
    }


def _sizes(text: str) -> dict[str, int]:
    split = json.loads(text)
    return {part: len(split[part]) for part in ("train", "val", "test")}


def _read(path: Path, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(f"'{path.parent}' has no {path.name}: it is no run folder, or its training has not begun")
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{path.name}' is damaged in the run folder '{path.parent}': {error}") from error


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """One line per fact; a table of tables below its name."""
    width = max((len(name) for name in facts), default=0)
    lines: list[str] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}", *_lines(value, indent + "  ")]
        else:
            lines.append(f"{indent}{name:<{width}}  {_text(value)}")
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
