"""Peers: what they see, what is made of what they say, and every way in which they fail. The real GEARS where it is."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from evaluation.screens import GENES, simulated

from grape_dgl.baselines.mean import MeanBaseline
from grape_dgl.data.splits import Split
from grape_dgl.errors import ConfigError, GrapeError, ModelError
from grape_dgl.suite import peer_environment
from grape_dgl.suite.jobs import Job, jobs_of, run_job
from grape_dgl.suite.models import Bench
from grape_dgl.suite.peer_environment import base_python, interpreter, make_environment
from grape_dgl.suite.peer_process import ending, last_line, run_logged
from grape_dgl.suite.peers import Peer, PeerModel
from grape_dgl.suite.spec import Suite
from suite.small_suite import SUITE, write_suite

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")
PEERS = sorted(path.parent for path in (ROOT / "benchmarks" / "peers").glob("*/peer.toml"))
GEARS = ROOT / "benchmarks" / "peers" / "gears"
SCREEN = simulated(("G00", "G01", "G00+G02", "G03", "G04", "G99"), cells=12, controls=30, extra=("G98", "G99"))
SPLIT = Split(("G00", "G01"), ("G03",), ("G00+G02", "G99"), "custom", 0)
"""G04 is in no part; G98 is no target, G99 is one that is not measured."""
CONTROL = SCREEN.control_halves(0)
FACTS = 'name = "tiny"\nsource = "here"\nlicence = "MIT"\ntuned = "nothing to tune"\n'
READ = """
import json, os, shutil, signal, subprocess, sys, time
flags = list(zip(sys.argv[1::2], sys.argv[2::2]))
given = {flag: value for flag, value in flags if flag != "--set"}
chosen = dict(value.split("=", 1) for flag, value in flags if flag == "--set")
"""
LONG = 120
"""Seconds that nothing here takes."""
MB = 2**20
SLEEP = f'open(chosen["pid"], "w").write(str(os.getpid())); time.sleep({LONG})\n'
COPY = 'shutil.copy(chosen["made"], given["--out"])\n'


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)
    assert found
    return found[1]


def write_peer(folder: Path, run: str, facts: str = FACTS, requirements: str = "# none\n") -> Peer:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("run.py", run), ("peer.toml", facts), ("requirements.txt", requirements)):
        (folder / name).write_text(text, encoding="utf-8")
    return Peer.read(folder)


def tiny(tmp_path: Path, body: str, *, settings: dict[str, Any] | None = None, **options: Any) -> PeerModel:
    """A peer of the test interpreter that does ``body``; its settings are whatever is given."""
    known = "[settings]\n" + "".join(f'{name} = ""\n' for name in settings or {})
    peer = write_peer(tmp_path / "peer", READ + body, FACTS + known)
    return PeerModel(peer, settings=settings, python=Path(sys.executable), logs=tmp_path / "logs", **options)


def made(tmp_path: Path, change: Callable[[ad.AnnData], ad.AnnData | None] = lambda data: None) -> Path:
    """A predictions file for `SPLIT`: 1, 2, 3 ... per gene, 100 more for the second condition."""
    values = np.arange(len(GENES), dtype=np.float32) + np.array([[0], [100]], dtype=np.float32)
    data = ad.AnnData(values, obs=pd.DataFrame(index=list(SPLIT.test)), var=pd.DataFrame(index=list(GENES)))
    changed = change(data)
    path = tmp_path / "made.h5ad"
    (data if changed is None else changed).write_h5ad(path)
    return path


def written(path: Path) -> int:
    """The number in a file, once it is there."""
    for _ in range(1200):
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(0.05)
    raise AssertionError(f"nothing in '{path}' after a minute")


def gone(process: int) -> bool:
    """Whether a process has ended, within a minute; one that nobody waited for counts."""
    for _ in range(1200):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


# what a peer sees and what is made of what it says


def test_the_program_of_the_page_is_the_mean_baseline(tmp_path: Path) -> None:
    peer = write_peer(tmp_path / "peer", block("python"), block("toml"))
    model = PeerModel(peer, python=Path(sys.executable), logs=tmp_path / "logs")
    mean = MeanBaseline()
    for one in (model, mean):
        one.fit(SCREEN, SPLIT, CONTROL)
    np.testing.assert_allclose(model.predict(SPLIT.test), mean.predict(SPLIT.test), atol=1e-5)
    assert (model.name, model.tuned, model.trials) == ("average", "nothing to tune", 0)
    changed = PeerModel(peer, settings={"epochs": 5})
    assert changed.tuned == "nothing to tune; here epochs=5 instead of 15"
    assert model.seconds is not None and model.seconds > 0
    assert model.peak_memory_mb is not None and 10 < model.peak_memory_mb < 10_000
    with pytest.raises(ModelError, match="'average' was not asked for 'G04'.* 2 test conditions"):
        model.predict(["G00+G02", "G04"])


def test_a_peer_sees_no_test_cell_and_no_reference_control(tmp_path: Path) -> None:
    """By their values: every cell of the screen is different."""
    settings = {"made": made(tmp_path), "kept": tmp_path / "kept"}
    keep = 'os.mkdir(chosen["kept"]); [shutil.copy(given[f], chosen["kept"]) for f in ("--screen", "--split")]\n'
    tiny(tmp_path, keep + COPY, settings=settings).fit(SCREEN, SPLIT, CONTROL)
    seen = ad.read_h5ad(tmp_path / "kept" / "screen.h5ad")
    cells = {row.tobytes(): number for number, row in enumerate(SCREEN.expression.toarray())}
    assert len(cells) == SCREEN.expression.shape[0]
    rows = [cells[row.tobytes()] for row in seen.X.toarray()]
    assert set(rows) == {*CONTROL.model, *(row for name in ("G00", "G01", "G03") for row in SCREEN.cells(name))}
    assert len(rows) == len(set(rows)) and not set(rows) & set(CONTROL.reference)
    labels = {-1: "control"} | dict(enumerate(SCREEN.conditions))
    assert [labels[code] for code in SCREEN.condition[rows]] == seen.obs["condition"].tolist()
    assert seen.obs_names.tolist() == [str(row) for row in rows]
    assert seen.obs["cell_type"].nunique() == 1
    assert seen.uns["control"] == "control"
    assert seen.uns["unmeasured_targets"].index.tolist() == ["G99"]
    assert seen.var_names.tolist() == list(GENES)
    told = json.loads((tmp_path / "kept" / "split.json").read_text(encoding="utf-8"))
    assert [told[part] for part in ("train", "val", "test")] == [["G00", "G01"], ["G03"], ["G00+G02", "G99"]]


def test_what_is_known_about_genes_is_told(tmp_path: Path) -> None:
    genes = SCREEN.genes
    words = np.array([f"about {name}" for name in genes.symbol], dtype=object)
    screen = dataclasses.replace(
        SCREEN, genes=dataclasses.replace(genes, ensembl=words, biotype=words, description=words)
    )
    settings = {"made": made(tmp_path), "kept": tmp_path / "kept.h5ad"}
    tiny(tmp_path, 'shutil.copy(given["--screen"], chosen["kept"])\n' + COPY, settings=settings).fit(
        screen, SPLIT, CONTROL
    )
    seen = ad.read_h5ad(tmp_path / "kept.h5ad")
    for table in (seen.var, seen.uns["unmeasured_targets"]):
        for column in ("ensembl", "biotype", "description"):
            assert table[column].tolist() == [f"about {name}" for name in table.index]


def test_the_change_is_from_the_control_cells_that_were_given(tmp_path: Path) -> None:
    """Genes in another order, a condition more and a note."""

    def shuffled(data: ad.AnnData) -> ad.AnnData:
        other = data[:1].copy()
        other.obs_names = ["G50"]
        more = ad.concat([data, other])
        more.obs["note"] = ["", "unknown target", "not asked"]
        return more[::-1, np.random.default_rng(0).permutation(len(GENES))].copy()

    model = tiny(tmp_path, COPY, settings={"made": made(tmp_path, shuffled)})
    model.fit(SCREEN, SPLIT, CONTROL)
    control = SCREEN.expression[CONTROL.model].toarray().mean(axis=0)
    expected = np.arange(len(GENES)) + np.array([[100], [0]]) - control
    np.testing.assert_allclose(model.predict(["G99", "G00+G02"]), expected, rtol=1e-5)
    assert model.notes == {"G99": "unknown target"}


def test_arguments_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MINE", "kept")
    body = COPY + 'json.dump([flags, dict(os.environ), os.getcwd()], open(chosen["said"], "w"))\n'
    settings = "[settings]\nmade = ''\nsaid = ''\nepochs = 15\nlr = 1e-3\n[files]\ngo = 'terms'\n"
    variables = "[environment]\nMINE = 'of the peer'\nOTHER = 'set'\n"
    peer = write_peer(tmp_path / "peer", READ + body, FACTS + settings + variables)
    (tmp_path / "go").touch()
    model = PeerModel(
        peer, files={"go": tmp_path / "go"}, seed=7, threads=3, python=Path(sys.executable), logs=tmp_path,
        settings={"epochs": 2, "made": made(tmp_path), "said": tmp_path / "said"},
    )  # fmt: skip
    model.fit(SCREEN, SPLIT, CONTROL)
    flags, environment, folder = json.loads((tmp_path / "said").read_text(encoding="utf-8"))
    assert ["--seed", "7"] in flags
    assert {("epochs", "2"), ("lr", "0.001"), ("go", str(tmp_path / "go"))} <= {
        tuple(value.split("=", 1)) for flag, value in flags if flag == "--set"
    }
    assert environment["OMP_NUM_THREADS"] == "3"
    assert (environment["MINE"], environment["OTHER"]) == ("kept", "set")
    assert "PYTHONPATH" not in environment
    assert not Path(folder).exists()


def suite_of(folder: Path, peer: Peer) -> tuple[Job, Bench]:
    """The last job, of seed 1, of a suite of nothing but ``peer``, which runs in this interpreter."""
    text = SUITE[: SUITE.index("[[model]]")] + f'[[model]]\nname = "tiny"\nkind = "peer"\nfolder = "{peer.folder}"\n'
    suite = Suite.read(write_suite(folder, text))
    return jobs_of(suite)[-1], Bench(suite.data[0], folder / "cache")


def test_the_long_table_holds_its_notes_and_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "interpreter", lambda *_: Path(sys.executable))
    program = block("python").replace("ad.AnnData(", 'obs["note"] = ["unknown", *[""] * (len(obs) - 1)]\nad.AnnData(')
    job, bench = suite_of(tmp_path, write_peer(tmp_path / "peer", program, requirements="# x\nnumpy==1.2.3\nb_c==4\n"))
    run_job(job, bench, tmp_path)
    table = pd.read_parquet(job.result(tmp_path))
    assert {json.dumps(json.loads(one)) for one in table["versions"]} == {
        json.dumps({"b_c": "4", "numpy": "1.2.3", "python": platform.python_version()})
    }
    noted = table["reason"].str.endswith("unknown")
    first, *others = table["condition"].unique()
    assert others and set(table["condition"][noted]) == {first} and noted.sum() == (table["condition"] == first).sum()
    assert table["value"][noted].notna().any()
    undefined = table["reason"][noted & table["value"].isna()]
    assert undefined.str.contains("; ").all()
    assert not (tmp_path / "models" / job.name).exists()


# how a peer fails


def test_the_log_that_a_failed_job_names_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Peer, "interpreter", lambda *_: Path(sys.executable))
    job, bench = suite_of(tmp_path, write_peer(tmp_path / "peer", "raise ValueError('no such gene')\n"))
    assert job.seed == 1
    run_job(job, bench, tmp_path)
    (reason,) = pd.read_parquet(job.result(tmp_path))["reason"]
    log = re.search(r"no such gene \(log: (.*)\)$", reason)
    assert log and "ValueError" in Path(log[1]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('no such\\tgene')", r"ended with code 1: ValueError: no such gene"),
        ("sys.exit(3)", "ended with code 3: it said nothing"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"was ended by SIGKILL \(out of memory\?\)"),
        ("time.sleep(120)", "was stopped at its time limit of 2 s"),
        ("", "finished, but no 'predictions.h5ad' was written"),
        ("open(given['--out'], 'w').write('nonsense')", r"finished, but '.*predictions.h5ad' is no .h5ad file"),
    ],
)
def test_a_run_that_fails(body: str, reason: str, tmp_path: Path) -> None:
    model = tiny(tmp_path, body + "\n", time_limit=2 if "sleep" in body else 60)
    with pytest.raises(ModelError, match=rf"^peer 'tiny' {reason}.* \(log: .*\)$") as failure:
        model.fit(SCREEN, SPLIT, CONTROL)
    log = Path(str(failure.value).rpartition("(log: ")[2][:-1])
    assert log == model.log and log.is_file()
    assert "\n" not in str(failure.value)
    with pytest.raises(ModelError, match="was not asked for"):
        model.predict(SPLIT.test)


def nan(data: ad.AnnData) -> None:
    data.X[1, 2] = np.nan


def one_more_gene(data: ad.AnnData) -> ad.AnnData:
    return ad.concat([data, ad.AnnData(data.X[:, :1].copy(), data.obs, pd.DataFrame(index=["NEW"]))], axis=1)


def named(**names: list[str]) -> Callable[[ad.AnnData], None]:
    def change(data: ad.AnnData) -> None:
        for axis, new in names.items():
            setattr(data, axis, new)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (nan, "holds NaN or infinite predictions"),
        (lambda data: data[:1].copy(), "1 of 2 conditions are not predicted: G99"),
        (named(obs_names=["g00+g02", "G99"]), r"1 of 2 conditions .*: G00\+G02; did you mean 'g00\+g02'"),
        (named(obs_names=["G99", "G99"]), "repeats obs_names"),
        (lambda data: data[:, 1:].copy(), "1 of 60 genes are not predicted: G00"),
        (named(var_names=[f"ENSG{i}" for i in range(60)]), "60 of 60 genes are not predicted: G00, G01, .*, G04, ..."),
        (one_more_gene, "holds 1 genes that the screen has not: NEW"),
    ],
)  # fmt: skip
def test_predictions_that_are_not_what_was_asked_for(
    change: Callable[[ad.AnnData], Any], reason: str, tmp_path: Path
) -> None:
    model = tiny(tmp_path, COPY, settings={"made": made(tmp_path, change)})
    with pytest.raises(ModelError, match=rf"^peer 'tiny' finished, but .*{reason}.*\(log: .*\)$"):
        model.fit(SCREEN, SPLIT, CONTROL)


def test_nothing_of_a_late_peer_is_left_running(tmp_path: Path) -> None:
    child = 'child = subprocess.Popen(["sleep", "120"]); open(chosen["pid"], "w").write(str(child.pid)); child.wait()\n'
    with pytest.raises(ModelError, match="time limit"):
        tiny(tmp_path, child, settings={"pid": tmp_path / "pid"}, time_limit=6).fit(SCREEN, SPLIT, CONTROL)
    assert gone(int((tmp_path / "pid").read_text()))


def test_nothing_of_an_interrupted_run_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    wait = subprocess.Popen.wait

    def interrupt(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is None:
            return wait(process)
        started.extend([process.pid, written(tmp_path / "pid")])
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        tiny(tmp_path, SLEEP, settings={"pid": tmp_path / "pid"}).fit(SCREEN, SPLIT, CONTROL)
    assert all(gone(process) for process in started)
    assert not list(tmp_path.glob("tiny-*"))


def test_a_peer_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    """SIGKILL, as by the queue or the system when memory is out: nobody is left to end the peer."""
    sleeper = f"import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep({LONG})"
    worker = subprocess.Popen([sys.executable, "-c", (
        "import sys; from pathlib import Path; from grape_dgl.suite.peer_process import run_logged\n"
        f"here = Path({str(tmp_path)!r})\n"
        f"run_logged([sys.executable, '-c', {sleeper!r}], here / 'log', folder=here, environment={{}}, time_limit=120)"
    )], cwd=ROOT)  # fmt: skip
    peer = written(tmp_path / "pid")
    os.kill(peer, 0)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    assert gone(peer)


def test_the_memory_is_that_of_the_program_and_its_children(tmp_path: Path) -> None:
    """Not that of the process that starts it, which holds 500 MB here."""
    held = np.ones(500 * MB, dtype=np.uint8)

    def peak(code: str) -> float:
        done = run_logged(
            [sys.executable, "-c", code], tmp_path / "log", folder=tmp_path, environment={}, time_limit=LONG
        )
        assert done.code == 0 and done.peak_memory_mb is not None
        return done.peak_memory_mb

    holds = f"held = b'1' * (300 * {MB})"
    assert 1 < peak("") < 200
    assert 300 < peak(holds) < 450
    assert 300 < peak(f'import subprocess, sys; subprocess.run([sys.executable, "-c", "{holds}"], check=True)') < 450
    assert held[-1] == 1


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    done = run_logged([str(tmp_path / "none")], tmp_path / "log", folder=tmp_path, environment={}, time_limit=LONG)
    assert (done.code, done.peak_memory_mb, done.in_time) == (1, None, True)
    assert "No such file" in last_line(tmp_path / "log")


def test_words_for_an_end() -> None:
    assert ending(2) == "ended with code 2"
    assert ending(-15) == "was ended by SIGTERM"
    assert ending(-63) == "was ended by signal 63"


# its environment


def wheel(folder: Path, name: str = "only_here") -> Path:
    """A package of one module, ``pip install``-able without a network."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "answer = 42\n")
        archive.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def never(*_: Any, **__: Any) -> Any:
    raise AssertionError("something was installed")


def test_the_environment_is_made_once_and_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = f"--no-index\n{wheel(tmp_path / 'wheels')}\n"
    peer = write_peer(tmp_path / "peer", READ + COPY, requirements=requirements)
    cache = tmp_path / "cache"
    leftover = cache / f".part-{peer._place(cache)[1].name}"  # of an installation that was killed
    leftover.mkdir(parents=True)
    (leftover / "half").touch()
    assert not peer.is_ready(cache)
    python = peer.interpreter(cache)
    assert peer.is_ready(cache) and not leftover.exists() and not (python.parents[1] / "half").exists()

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)

    assert run("import only_here; print(only_here.answer)").stdout == "42\n"
    assert "ModuleNotFoundError" in run("import numpy").stderr
    monkeypatch.setattr(peer_environment, "run_logged", never)
    assert peer.interpreter(cache) == python
    other = write_peer(tmp_path / "other", "", requirements=requirements + "# changed\n")
    assert not other.is_ready(cache)
    monkeypatch.setenv("GRAPE_DGL_DATA", str(tmp_path / "data"))
    with pytest.raises(AssertionError, match="installed"):
        other.interpreter()
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["peers"]


def test_an_installation_that_fails_leaves_nothing_half_made(tmp_path: Path) -> None:
    peer = write_peer(tmp_path / "peer", "", requirements="--no-index\nno-such-package-here==1.0\n")
    expected = r"'.*requirements.txt' could not be installed: .*no-such-package-here==1.0 \(log: (.*)\)$"
    with pytest.raises(ModelError, match=expected) as failure:
        peer.interpreter(tmp_path / "cache")
    log = re.search(expected, str(failure.value))
    assert log and "ERROR" in Path(log[1]).read_text(encoding="utf-8")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


def test_of_several_workers_one_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = []

    def slow(arguments: list[str], *_: Any, **__: Any) -> Any:
        if "venv" in arguments:
            installed.append(threading.get_ident())
            time.sleep(0.2)
            interpreter(Path(arguments[-1])).parent.mkdir(parents=True)
            shutil.copy(shutil.which("true") or "/bin/true", interpreter(Path(arguments[-1])))
        return run_logged(["true"], tmp_path / "log", folder=tmp_path, environment={}, time_limit=60)

    monkeypatch.setattr(peer_environment, "run_logged", slow)
    (tmp_path / "requirements.txt").touch()
    arguments = (tmp_path / "cache" / "one", tmp_path / "requirements.txt", Path(sys.executable))
    workers = [threading.Thread(target=make_environment, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(installed) == 1
    assert interpreter(tmp_path / "cache" / "one").exists()


def test_the_python_of_a_peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert base_python("") == base_python(f"=={own}.*") == (Path(sys.executable), own)
    fake = tmp_path / "python3.19"
    fake.write_text("#!/bin/sh\necho 3.19.2\n", encoding="utf-8")
    fake.chmod(0o755)
    broken = tmp_path / "python3.18"
    broken.write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert base_python(">=3.18") == (fake, "3.19")
    with pytest.raises(ModelError, match=r"no Python <3 was found, only .*3\.19\.2"):
        base_python("<3")
    with pytest.raises(ConfigError, match="'three' is no constraint"):
        base_python("three")


# what is to be known about it


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (FACTS + "trails = 3", "unknown entry 'trails'; did you mean 'trials'?"),
        (FACTS + "trials = 'many'", "'trials' is 'many'"),
        (FACTS + "python = 3.11", "'python' is 3.11"),
        (FACTS.replace('licence = "MIT"\n', ""), "no 'licence'"),
        (FACTS.replace("tiny", "../tiny"), "'name' is '../tiny'; expected letters"),
        ("name =", "is not TOML"),
    ],
)
def test_a_peer_that_is_described_badly(facts: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        write_peer(tmp_path, "", facts)


def test_a_folder_that_is_no_peer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no 'run.py'; expected run.py, peer.toml, requirements.txt"):
        Peer.read(tmp_path)


def test_settings_and_files_are_checked_before_anything_runs(tmp_path: Path) -> None:
    peer = write_peer(tmp_path, "", FACTS + "[settings]\nepochs = 3\n[files]\ngo = 'a table of terms'\n")
    for options, message in (
        ({"settings": {"epoch": 3}}, "knows no setting 'epoch'; did you mean 'epochs'?"),
        ({"files": {"gi": tmp_path}}, "knows no file 'gi'"),
        ({}, "needs a file 'go': a table of terms; give its path"),
        ({"files": {"go": tmp_path / "none"}}, "there is no file '.*none'; expected a table of terms"),
    ):
        with pytest.raises(ConfigError, match=f"peer 'tiny'.*{message}"):
            PeerModel(peer, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("folder", PEERS, ids=lambda folder: folder.name)
def test_the_peers_of_this_repository_are_pinned(folder: Path) -> None:
    assert Peer.read(folder).name == folder.name
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = [re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if not line.startswith("#")]
    assert pinned and all(pinned)


# GEARS


def gears_program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gears_run", GEARS / "run.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_gears_is_given_its_own_spelling(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = ["control", "A", "A+B", "A+B+C", "V", "N", "A+N", "M"]
    obs = pd.DataFrame({"condition": labels, "cell_type": "k562"}, index=list("12345678"))
    screen = ad.AnnData(np.eye(8, dtype=np.float32), obs=obs)
    screen.var_names = list("ABNUVXYZ")
    split = {"train": ["A", "A+B", "A+B+C", "N", "A+N"], "val": ["V", "M"], "test": ["W"]}
    graph = set("ABCVXYZ")
    cells, parts = gears_program().as_gears(screen, split, graph)
    assert cells.obs["condition"].tolist() == ["ctrl", "A+ctrl", "A+B", "V+ctrl"]
    np.testing.assert_array_equal(cells.X.toarray(), np.eye(8)[[0, 1, 2, 4]])
    assert cells.var["gene_name"].tolist() == list("ABNUVXYZ")
    assert parts == {"train": ["A+ctrl", "A+B", "ctrl"], "val": ["V+ctrl"], "test": []}
    said = capsys.readouterr().err
    for out in ("A+B+C (more than two targets)", "A+N (not in GO: N)", "N (not in GO: N)", "M (not in GO: M)"):
        assert f"left out of training and validation: {out}\n" in said
    for val in ([], ["M"]):
        _, parts = gears_program().as_gears(screen, split | {"train": ["A", "V"], "val": val}, graph)
        assert parts["val"] == ["A+ctrl", "V+ctrl"]
    with pytest.raises(SystemExit, match="no training condition is left"):
        gears_program().as_gears(screen, split, {"V"})
    table = tmp_path / "go.tsv"
    table.write_text("symbol\tgo_id\tevidence\nA\tGO:1\tIDA\nA\tGO:2\tND\nA\tGO:1\tND\nB\tGO:1\t\n", encoding="utf-8")
    assert gears_program().gene2go(table) == {"A": {"GO:1", "GO:2"}, "B": {"GO:1"}}


def test_the_real_gears(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peer = Peer.read(GEARS)
    try:
        ready = peer.is_ready()
    except GrapeError as error:
        pytest.skip(str(error))
    if not ready:
        command = f"from grape_dgl.suite.peers import Peer; Peer.read('{GEARS.relative_to(ROOT)}').interpreter()"
        pytest.skip(f'GEARS has no environment here; make it: python -c "{command}"')
    go = tmp_path / "go.tsv"
    known = [f"{gene}\tGO:{number // 5}" for number, gene in enumerate([*GENES, "G99"])]
    go.write_text("\n".join(["symbol\tgo_id", *known, ""]), encoding="utf-8")
    names = ("G00", "G01", "G03", "G00+G02", "G96", "G97", "G98+G01", "G99")
    same = simulated(names, extra=("G96", "G97", "G98", "G99"))
    levels = np.random.default_rng(0).permutation(np.linspace(0, 3, len(GENES), dtype=np.float32))
    screen = dataclasses.replace(same, expression=sp.csr_matrix(same.expression.multiply(levels)))
    split = Split(("G00", "G01", "G96"), ("G03",), ("G00+G02", "G97", "G98+G01", "G99"), "custom", 0)
    control = screen.control_halves(0)
    settings = {"epochs": 2, "hidden": 16}
    model = PeerModel(peer, files={"gene2go": go}, settings=settings, threads=1, logs=tmp_path, time_limit=900)
    with caplog.at_level(logging.WARNING, "grape_dgl"):
        model.fit(screen, split, control)
    unknown = {"G97": "G97", "G98+G01": "G98"}
    assert model.notes == {
        name: f"not in GO: {gene}; GEARS cannot know the condition, predicted as unperturbed"
        for name, gene in unknown.items()
    }
    assert (model.versions["cell-gears"], model.versions["numpy"]) == ("0.1.2", "1.26.4")
    assert model.versions["python"].startswith("3.11.")
    assert "condition 'G98+G01': not in GO" in caplog.text
    assert model.log is not None
    said = model.log.read_text(encoding="utf-8")
    assert "left out of training and validation: G96 (not in GO: G96)" in said
    assert "Epoch 2: Train Overall MSE" in said
    pair, first, second, unmeasured = model.predict(split.test)
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(pair, unmeasured, atol=1e-3)
    expected = pair + screen.control_mean(control.model)
    assert np.corrcoef(expected, screen.mean("G00+G02"))[0, 1] > 0.6
