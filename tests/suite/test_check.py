"""What is wrong with a suite is said before its first job."""

from __future__ import annotations

from pathlib import Path

import pytest

from grape_dgl.errors import ConfigError
from grape_dgl.suite.benchmark import benchmark
from grape_dgl.suite.check import check
from grape_dgl.suite.spec import Suite
from suite.small_suite import SUITE, write_suite

MODEL = '\n[[model]]\nname = "x"\n'
PEER = """
name = "average"
source = "a test"
licence = "MIT"
tuned = "nothing to tune"

[settings]
epochs = 3

[files]
gene2go = "a table"
"""


def write_peer(folder: Path) -> None:
    (folder / "peer").mkdir()
    for name, text in (("run.py", ""), ("requirements.txt", ""), ("peer.toml", PEER)):
        (folder / "peer" / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SUITE.replace("small.h5ad", "none.h5ad"),
            "data set 'small': there is no file 'none.h5ad'; expected it beside",
        ),
        (SUITE.replace('path = "small', 'annotation = ["genes.tsv"]\npath = "small'), "no file 'genes.tsv'"),
        (SUITE.replace('path = "small', 'go = "gene2go"\npath = "small'), "no file 'gene2go'"),
        (SUITE.replace('path = "small', 'read = { hvgg = 3 }\npath = "small'), "'hvgg'; did you mean 'hvg'"),
        (
            SUITE.replace('path = "small', 'read = { annotation = "a" }\npath = "small'),
            "'read' knows no 'annotation'",
        ),
        (SUITE + MODEL + 'kind = "neighbours"\nkernel = "go"', "'small' names no GO file; give it go = FILE"),
        (SUITE + MODEL + 'kind = "GRAPE"\npreset = "papers"', "papers"),
        (SUITE + MODEL + 'kind = "GRAPE"\nsettings = ["model.hiden=3"]', "did you mean"),
        (SUITE + MODEL + 'kind = "GRAPE"\npriors = ["go=terms.tsv,neighbours=3"]', "there is no file 'terms.tsv'"),
        (SUITE + MODEL + 'kind = "sams_vae"\nsettings = ["latents=3"]', "did you mean 'latent'"),
        (SUITE + MODEL + 'kind = "graph_vci"\npriors = ["go=terms.tsv"]', "there is no file 'terms.tsv'"),
        (SUITE + MODEL + 'kind = "peer"\nfolder = "none"', "has no 'run.py'"),
        (
            SUITE + MODEL + 'kind = "peer"\nfolder = "peer"',
            "needs a file 'gene2go': a table; give its path (in a suite: go",
        ),
        (SUITE + MODEL + 'kind = "peer"\nfolder = "peer"\nsettings = ["epoch=3"]', "did you mean 'epochs'"),
    ],
)
def test_what_would_fail_every_job(tmp_path: Path, text: str, message: str) -> None:
    write_peer(tmp_path)
    suite = Suite.read(write_suite(tmp_path, text))
    with pytest.raises(ConfigError) as caught:
        benchmark(suite, tmp_path / "out", tmp_path / "cache")
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_model_of_other_data_sets_is_not_asked_for_theirs(tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").touch()
    other = '\n[[data]]\nname = "other"\npath = "demo"\ngo = "terms.tsv"\n'
    check(
        Suite.read(
            write_suite(tmp_path, SUITE + other + MODEL + 'kernel = "go"\nkind = "neighbours"\ndata = ["other"]')
        )
    )


def test_the_suites_of_the_repository_are_sound(tmp_path: Path) -> None:
    """With empty files in place of the data that they name."""
    suites = Path(__file__).parents[2] / "benchmarks" / "suites"
    names = [f"{name}.gz" for name in ("annotables_grch38.tsv", "annotables_grch37.tsv", "gene2go_human_direct.tsv")]
    for name in (*names, "epd_promoters.fa", "norman_subset.h5ad", "papalexi_subset.h5ad"):
        (tmp_path / name).touch()
    found = sorted(suites.glob("*.toml"))
    for path in found:
        check(Suite.read(path, [tmp_path]))
    assert [path.stem for path in found] == [
        "accuracy",
        "norman_subset",
        "papalexi_subset",
        "paper_norman",
        "paper_papalexi",
        "smoke",
        "systems_norman",
        "systems_papalexi",
        "table1",
    ]


def test_the_suite_of_the_documentation_is_sound(tmp_path: Path) -> None:
    top = Path(__file__).parents[2]
    text = (top / "docs" / "benchmark.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    for name in ("screen.h5ad", "genes.tsv", "gene2go.tsv.gz"):
        (tmp_path / name).touch()
    (tmp_path / "suite.toml").write_text(text.replace("../peers", (top / "benchmarks" / "peers").as_posix()))
    suite = Suite.read(tmp_path / "suite.toml")
    check(suite)
    assert [model.kind for model in suite.models] == ["mean", "kernel_ridge_fixed", "GRAPE", "peer"]
