"""A peer's own virtual environment: made once from its pinned requirements, then shared by every run."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from grape_dgl.errors import ConfigError, ModelError
from grape_dgl.suite.peer_process import last_line, run_logged

log = logging.getLogger("grape_dgl")

INSTALL_LIMIT = 3600.0
"""Seconds for one step of making an environment."""
_VERSIONS = range(9, 20)
"""Minor versions of Python 3 that are looked for on the PATH."""
_PRIVATE = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
"""Variables that would bring this process's packages into another environment."""


def base_python(constraint: str) -> tuple[Path, str]:
    """(interpreter, ``"3.11"``) that a constraint such as ``>=3.10,<3.12`` allows: this one, else one on the PATH."""
    try:
        allowed = SpecifierSet(constraint)
    except InvalidSpecifier as error:
        raise ConfigError(
            f"'{constraint}' is no constraint of Python versions; expected such as '>=3.10,<3.12'"
        ) from error
    tried = []
    for name in (sys.executable, *(f"python3.{minor}" for minor in reversed(_VERSIONS))):
        found = shutil.which(name)
        version = python_version(found) if found else ""
        if found and allowed.contains(version):
            return Path(found), ".".join(version.split(".")[:2])
        tried += [version] * bool(version)
    raise ModelError(
        f"no Python {constraint} was found, only {', '.join(dict.fromkeys(tried))}; install one and put it on the PATH"
    )


def python_version(python: str) -> str:
    """``"3.11.7"``, or "" where the file is no working interpreter (a shim of pyenv, say)."""
    ask = "import platform; print(platform.python_version())"
    done = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def pinned(requirements: Path) -> dict[str, str]:
    """{package: version} of the lines ``package==version``."""
    return dict(re.findall(r"^([\w.-]+)==([^\s;]+)", requirements.read_text(encoding="utf-8"), re.M))


def environment_folder(cache: Path, name: str, requirements: Path, version: str) -> Path:
    """Where the environment of these requirements and this ``version`` of Python stands."""
    digest = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()
    return cache / f"{name}-py{version}-{digest[:12]}"


def interpreter(folder: Path) -> Path:
    """The environment's own Python."""
    return folder / "bin" / "python"


def make_environment(folder: Path, requirements: Path, python: Path) -> Path:
    """The interpreter of the environment ``folder``, made with ``python`` where it is not there.

    It is made beside its place and renamed: an interrupted installation leaves nothing that looks whole. Of several
    processes one installs and the others wait. ``pip`` takes its options from this machine (PIP_* variables, pip.conf).
    Raises ModelError with pip's last line and the log.
    """
    if interpreter(folder).exists():
        return interpreter(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(f".{folder.name}.lock")):
        if interpreter(folder).exists():
            return interpreter(folder)
        output, beside = folder.with_name(f"{folder.name}.log"), folder.with_name(f".part-{folder.name}")
        shutil.rmtree(beside, ignore_errors=True)  # of an installation that was killed
        shutil.rmtree(folder, ignore_errors=True)  # its interpreter is gone
        output.unlink(missing_ok=True)
        log.info("making the environment '%s' from %s, once; pip writes to %s", folder, requirements, output)
        own = str(interpreter(beside))
        pip = [own, "-m", "pip", "install", "--no-input", "--requirement", str(requirements.resolve())]
        try:
            for step in ([str(python), "-m", "venv", str(beside)], pip):
                done = run_logged(
                    step, output, folder=folder.parent, environment=clean_environment(), time_limit=INSTALL_LIMIT
                )
                if done.code or not done.in_time:
                    raise ModelError(
                        f"the requirements '{requirements}' could not be installed: {last_line(output)} (log: {output})"
                    )
            os.replace(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        log.info("the environment '%s' is ready", folder.name)
    return interpreter(folder)


def clean_environment() -> dict[str, str]:
    """This process's variables without those that lead another interpreter to this one's packages."""
    return {name: value for name, value in os.environ.items() if name not in _PRIVATE} | {"PYTHONNOUSERSITE": "1"}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock ends with its process, however that ends."""
    if sys.platform == "win32":
        raise ModelError("external models need Linux or macOS: their environments cannot be locked here")
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
