"""Data sets by name: the simulated ``demo`` and published screens as GEARS processed them; any path will do too."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pooch

from grape_dgl.data import download
from grape_dgl.errors import DataError, did_you_mean

log = logging.getLogger("grape_dgl")

DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile"
_LICENCE = "see the record at Harvard Dataverse and the terms of the original study; none is recorded here"
_GEARS = "processed by GEARS (Roohani, Huang, Leskovec, Nat. Biotechnol. 42:927, 2024)"


@dataclass(frozen=True)
class Dataset:
    """One entry of the catalog."""

    name: str
    summary: str
    citation: str
    file: str = ""
    """Id of the data file at Harvard Dataverse, "" where nothing is downloaded."""
    licence: str = _LICENCE
    sha256: str | None = None
    """Of the file the server sends; None where nobody has published it."""
    labels_warning: str = ""
    """What is known to be wrong with the labels."""

    @property
    def url(self) -> str:
        """Where the file comes from; GRAPE_DGL_MIRROR replaces the server. "" where nothing is downloaded."""
        base = os.environ.get("GRAPE_DGL_MIRROR") or DATAVERSE
        return f"{base.rstrip('/')}/{self.file}" if self.file else ""

    def target(self, cache: Path) -> Path:
        """Where the .h5ad stands in the cache folder."""
        return cache / f"{self.name}.h5ad"


CATALOG = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "demo",
            "simulated knock-out screen with a known gene network, any size: demo:genes=5060,cells=20000,seed=3",
            "grape_dgl",
            licence="MIT (part of grape_dgl)",
        ),
        Dataset(
            "adamson",
            "K562, CRISPRi of unfolded-protein-response genes, single perturbations",
            f"Adamson et al., Cell 167:1867 (2016), GSE90546; {_GEARS}",
            file="6154417",
            labels_warning="14,885 of the 68,603 cells of this file (21.7 %) disagree with GEO's labels (found by "
            "Pfizer's perturb_seq dataset_correction); give corrected labels with --obs TABLE",
        ),
        Dataset(
            "norman",
            "K562, CRISPRa, single and double perturbations",
            f"Norman et al., Science 365:786 (2019), GSE133344; {_GEARS}",
            file="6154020",
        ),
        Dataset(
            "dixit",
            "K562, CRISPR knock-out of transcription factors",
            f"Dixit et al., Cell 167:1853 (2016), GSE90063; {_GEARS}",
            file="6154416",
        ),
        Dataset(
            "replogle_k562_essential",
            "K562, CRISPRi of essential genes",
            f"Replogle et al., Cell 185:2559 (2022); {_GEARS}",
            file="7458695",
        ),
        Dataset(
            "replogle_rpe1_essential",
            "RPE1, CRISPRi of essential genes",
            f"Replogle et al., Cell 185:2559 (2022); {_GEARS}",
            file="7458694",
        ),
    )
}


@dataclass(frozen=True)
class Source:
    """Where a screen is, and what is known beside it."""

    name: str
    path: Path
    """The .h5ad file."""
    annotation: tuple[Path, ...] = ()
    sequences: tuple[Path, ...] = ()
    network: Path | None = None
    """Planted network of a simulated screen."""
    labels_warning: str = ""
    """What is known to be wrong with the labels, "" for nothing."""


def default_cache() -> Path:
    """Folder of data sets: the environment variable GRAPE_DGL_DATA, else the user's cache."""
    return Path(os.environ.get("GRAPE_DGL_DATA") or pooch.os_cache("grape_dgl"))


def dataset(name: str) -> Dataset:
    """The entry of that name (``demo:...`` is ``demo``); DataError with the closest name where there is none."""
    found = CATALOG.get(name.partition(":")[0] if name.startswith("demo:") else name)
    if found is None:
        raise DataError(f"no data set is named '{name}'{did_you_mean(name, CATALOG)}; there are: {', '.join(CATALOG)}")
    return found


def is_name(text: str) -> bool:
    """Whether ``text`` stands for a data set of the catalog (``demo:...`` too) and not for a path."""
    return text in CATALOG or text.startswith("demo:")


def resolve(name_or_path: str | Path, *, cache: Path | None = None, offline: bool = False) -> Source:
    """The files of a data set by name, downloaded or simulated on first use, or those of any path.

    A name of the catalog wins over a file of the same name (write ``./norman`` for the file). ``offline`` never touches
    the network. Raises DataError for an unknown name and DownloadError, which says which file to put where.
    """
    name = str(name_or_path)
    folder = cache if cache is not None else default_cache()
    if not (isinstance(name_or_path, str) and is_name(name)):
        return _path(name)
    entry = dataset(name)
    if not entry.file:
        from grape_dgl.data.simulate import demo_files  # brings anndata, which a listing does not need

        files = demo_files(name, folder)
        return Source(name, files.screen, (files.genes,), (files.sequences,), files.network)
    path = download.fetch(entry.url, entry.target(folder), sha256=entry.sha256, offline=offline)
    return Source(name, path, labels_warning=entry.labels_warning)


def _path(name: str) -> Source:
    path = Path(name)
    if path.is_file():
        return Source(path.name, path)
    if path.is_dir():
        raise DataError(f"'{path}' is a folder; expected an .h5ad file")
    raise DataError(
        f"'{path}' is neither a file nor a data set{did_you_mean(name, CATALOG)}; "
        f"data sets: {', '.join(CATALOG)}; else give the path of an .h5ad file"
    )
