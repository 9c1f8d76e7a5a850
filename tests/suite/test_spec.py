"""A suite's TOML file: what it says, where its files are found, and one line for everything that is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from grape_dgl.errors import ConfigError
from grape_dgl.suite.jobs import jobs_of
from grape_dgl.suite.spec import Suite, _content, catalog_files, described

GOOD = """
name = "mine"
splits = ["condition", "gene"]
seeds = 3

[[data]]
name = "one"
path = "cells.h5ad"
annotation = ["genes.tsv"]

[[data]]
name = "two"
path = "demo"

[[model]]
name = "mean"

[[model]]
name = "GO"
kind = "kernel_ridge_fixed"
kernels = ["go"]
penalty = 0.1
seeds = 1

[[model]]
name = "GRAPE"
settings = ["model.hidden=64"]
priors = ["go=terms.gaf,neighbours=5", "coexpression"]
data = ["two"]
"""


def write(folder: Path, text: str) -> Path:
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    return folder / "suite.toml"


def test_files_beside_the_suite_and_in_folders(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("cells.h5ad", "data/genes.tsv", "data/terms.gaf"):
        (tmp_path / name).touch()
    (tmp_path / "demo").mkdir()  # a name of the catalog wins
    suite = Suite.read(write(tmp_path, GOOD), [tmp_path / "data"])
    one, two = suite.data
    assert one.path == str(tmp_path / "cells.h5ad") and one.annotation == (str(tmp_path / "data" / "genes.tsv"),)
    assert two.path == "demo"
    assert suite.models[2].options["priors"] == (f"go={tmp_path / 'data' / 'terms.gaf'},neighbours=5", "coexpression")


def test_jobs_are_all_combinations_that_are_wanted(tmp_path: Path) -> None:
    """mean: 2 data sets x 2 splits x 3 seeds; GO: one seed; GRAPE: one data set. Whatever decides a result names it."""
    suite = Suite.read(write(tmp_path, GOOD))
    jobs = jobs_of(suite)
    count = {name: sum(job.model.name == name for job in jobs) for name in ("mean", "GO", "GRAPE")}
    assert count == {"mean": 12, "GO": 4, "GRAPE": 6} and len({job.name for job in jobs}) == len(jobs)
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs)
    changed = jobs_of(Suite.read(write(tmp_path, GOOD.replace("penalty = 0.1", "penalty = 0.2"))))
    differ = {old.model.name for old, new in zip(jobs, changed, strict=True) if old.fingerprint != new.fingerprint}
    assert differ == {"GO"}


def test_names_that_are_alike_in_a_file_name(tmp_path: Path) -> None:
    models = "".join(f'[[model]]\nname = "{name}"\nkind = "mean"\n' for name in ("x .1", "x-1"))
    with pytest.raises(ConfigError, match="'x .1' and 'x-1' would share their files; give each model a name"):
        Suite.read(write(tmp_path, GOOD[: GOOD.index("[[model]]")] + models))


def test_a_job_is_known_by_the_content_of_its_files_wherever_they_are(tmp_path: Path) -> None:
    names = []
    for place, cells in (("here", "x"), ("there", "x"), ("changed", "y")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "cells.h5ad").write_text(cells)
        names.append([job.fingerprint for job in jobs_of(Suite.read(write(tmp_path / place, GOOD)))])
    assert names[0] == names[1] and {a == b for a, b in zip(names[0], names[2], strict=True)} == {True, False}


def test_what_python_compiles_beside_a_program_is_not_its_content(tmp_path: Path) -> None:
    sums = []
    for name in ("run.py", "__pycache__/run.cpython-311.pyc", "__pycache__/other", "old.pyc", "more.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        _content.cache_clear()
        sums.append(_content(str(tmp_path)))
    assert sums[0] == sums[1] == sums[2] == sums[3] != sums[4]


def test_a_file_of_the_catalog_counts_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if its path were given; the demo needs none, and what cannot be downloaded is another job than what can."""
    monkeypatch.setenv("GRAPE_DGL_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr("grape_dgl.data.download.RETRIES", 0)
    suite = Suite.read(write(tmp_path, GOOD.replace("cells.h5ad", "adamson")))
    found = []
    for place, cells in (("missing", ""), ("simulated", "x"), ("real", "y")):
        (tmp_path / place).mkdir()
        if cells:
            (tmp_path / place / "adamson.h5ad").write_text(cells)
        files = catalog_files(suite, tmp_path / place)
        assert set(files) == {"adamson"}
        found.append({(job.data.name, job.fingerprint) for job in jobs_of(suite, files)})
        if cells:
            sums = described(suite, files)["files"]
            assert sums["adamson"] == hashlib.sha256(cells.encode()).hexdigest()
    one, two = ([{digest for name, digest in jobs if name == data} for jobs in found] for data in ("one", "two"))
    assert two[0] == two[1] == two[2] and not (one[0] & one[1] or one[1] & one[2] or one[0] & one[2])
    by_path = dataclasses.replace(suite.data[0], path=files["adamson"])
    given = jobs_of(dataclasses.replace(suite, data=(by_path, suite.data[1])))
    assert {job.fingerprint for job in given if job.data.name == "one"} == one[2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "mine"', 'nmae = "mine"', "unknown entry 'nmae'; did you mean 'name'"),
        ('splits = ["condition", "gene"]', 'splits = ["genes"]', "unknown split 'genes'; did you mean 'gene'"),
        ("seeds = 3", "seeds = 0", "expected at least one"),
        ("seeds = 3", 'seeds = "3"', "'seeds' is '3'; expected a whole number"),
        ("seeds = 3", 'seeds = 3\nmetrics = ["rmsse"]', "suite.toml': there is no metric 'rmsse'; did you mean 'rmse'"),
        ("seeds = 3", 'seeds = 3\nmetrics = ["overlap_at_N"]', "did you mean 'overlap_at_N_ttest'"),
        ('path = "cells.h5ad"', "", "data set 'one': 'path' is missing"),
        ('name = "two"', 'name = "one"', "called 'one'"),
        ('name = "GO"', 'name = "Mean"', "'mean' and 'Mean' would share their files"),
        ('name = "two"', 'name = "../two"', "expected a name of letters"),
        ('name = "mean"', 'name = "maen"', "unknown kind of model 'maen'; did you mean 'mean'"),
        ('kernels = ["go"]', 'kernels = ["GO"]', "unknown kernel 'GO'; did you mean 'go'"),
        ('kernels = ["go"]', "", "expected kernels"),
        ("penalty = 0.1", "", "the penalty is None; expected a number above 0"),
        ('settings = ["model.hidden=64"]', "penalty = 1", "unknown entry 'penalty'"),
        ("penalty = 0.1", "penalty = -1", "the penalty is -1"),
        ("seeds = 1\n", "seeds = 0\n", "expected 1 or more for"),
        ('name = "mean"', 'kind = "neighbours"\nk = 0', "expected 1 or more for 'k'"),
        ('name = "mean"', 'kind = "peer"\nfolder = "x"\ntime_limit = 0', "a time limit of 0; expected seconds"),
        ('data = ["two"]', 'data = ["three"]', "'three'"),
        ("[[model]]", "[[model", "not TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        Suite.read(write(tmp_path, GOOD.replace(old, new, 1)))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_and_nothing_to_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the suite"):
        Suite.read(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="no model"):
        Suite.read(write(tmp_path, "model = []\n" + GOOD[: GOOD.index("[[model]]")]))
