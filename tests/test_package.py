"""The package as a whole: what importing loads, what is declared, and the linters."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import grape_dgl

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "dgl", "scanpy", "anndata", "pandas", "matplotlib", "transformers", "lightning", "h5py")


def _python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import grape_dgl; dir(grape_dgl); grape_dgl.__version__",
        "from grape_dgl.cli import main; assert main(['--help']) == 0",
        "from grape_dgl.cli import main, COMMANDS, cli; [main([c, '--help']) for c in cli.list_commands(None)]",
        "from grape_dgl.cli import main; assert main(['--version']) == 0",
    ],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    done = _python("-c", f"{code}\nimport sys\nprint('LOADED', *[m for m in {HEAVY} if m in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_module_runs_as_the_command() -> None:
    done = _python("-m", "grape_dgl", "--version")
    assert (done.returncode, done.stdout.split()) == (0, ["grape-dgl", grape_dgl.__version__])
    failed = _python("-m", "grape_dgl", "info", "no-such-run")
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert re.fullmatch(r"error: .*no-such-run.*\n", failed.stderr)
    assert _python("-m", "grape_dgl", "no-such-command").returncode == 2


def test_public_names_resolve_and_are_listed() -> None:
    assert set(grape_dgl.__all__) == set(grape_dgl._PUBLIC)
    for name in grape_dgl.__all__:
        assert callable(getattr(grape_dgl, name)), name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = grape_dgl.nothing


def _declared() -> dict[str, list[str]]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].splitlines()
    found: dict[str, list[str]] = {}
    for line in filter(None, lines):
        found.setdefault(_normal(re.match(r"[\w.-]+", line)[0]), []).append(line)  # type: ignore[index]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_declared() -> None:
    imported = set()
    for path in (ROOT / "grape_dgl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "grape_dgl"}
    assert {_normal(name) for name in imported} <= set(_declared())


def test_no_upper_cap_on_python_and_torch() -> None:
    assert _declared()["torch"] == ["torch>=2.6"]
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    assert "python_requires = >=3.11\n" in text


def test_dgl_is_never_the_ancient_one() -> None:
    """Every Python and platform takes no dgl, or one of the two that were tested."""
    from packaging.requirements import Requirement

    dgl = [Requirement(line) for line in _declared()["dgl"]]
    released = ["0.1.3", "1.0.0", "1.1.3", "2.0.0", "2.1.0", "2.2.1", "2.3.0", "2.4.0"]
    for python in ("3.11", "3.12", "3.13", "3.14"):
        for platform in ("linux", "darwin", "win32"):
            here = {"python_version": python, "sys_platform": platform}
            wanted = [r for r in dgl if r.marker is None or r.marker.evaluate(here)]
            accepted = {v for r in wanted for v in r.specifier.filter(released)}
            none = platform == "win32" or python in ("3.13", "3.14")
            assert accepted == (set() if none else {"1.1.3", "2.4.0"} if python == "3.11" else {"2.1.0"})


def test_readme_has_no_placeholder_left() -> None:
    assert not re.search(r"@[A-Z]+@|TODO", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_readme_and_ci_run_the_same_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = re.search(r"^python3 -m venv \.venv && .*pytest$", readme, re.MULTILINE)
    assert command is not None
    assert command[0] in ci


@pytest.mark.parametrize(
    "args",
    [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "mypy"),
        ("-c", "from importlinter.cli import lint_imports_command as lint; lint()"),
    ],
    ids=["ruff", "ruff-format", "mypy", "import-linter"],
)
def test_linters(args: tuple[str, ...]) -> None:
    done = _python(*args)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installed_version_is_the_one_of_the_files() -> None:
    try:
        installed = importlib.metadata.version("grape_dgl")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("grape_dgl is not installed, only importable")
    assert f"version = {installed}\n" in (ROOT / "setup.cfg").read_text(encoding="utf-8")
