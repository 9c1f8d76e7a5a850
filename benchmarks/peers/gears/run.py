"""GEARS itself (cell-gears 0.1.2) as a peer: learns from the cells of a screen, predicts the conditions of a split.

Called by grape_dgl in an environment of its own (requirements.txt); docs/peers.md describes the files. Nothing of GEARS
is changed. What it was not made for is done around it:

* Its gene ontology is a pickle that it downloads; one made here from a table stands where it looks first.
* The cells of test conditions are not there. GEARS takes the nodes of its perturbation graph from the measured genes
  and the conditions of all cells; the same nodes are given to it as its ``gene_set_path``.
* Without test cells it has nothing to test on after training; its test loader is taken away, as it allows.
* Its validation picks the epoch (lowest error of the top 20 DE genes); without validation conditions, training does.
* A condition with a target that is not in its graph is dropped by ``PertData.load``, the last step that its README
  documents for own data. Only ``new_data_process`` is called here, so it is left out of training and validation before.
* ``GEARS.predict`` refuses such a condition of test. It is predicted as what it is in GEARS' own data loader: cells
  without perturbation. ``obs["note"]`` says which conditions these are.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import pickle
import random
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

CONTROL = "control"
UNPERTURBED = [-1]
"""What GEARS' data loader takes for the targets of a condition that it does not know."""


def main() -> None:
    given = arguments()
    settings = dict(item.split("=", 1) for item in given.set)
    screen = ad.read_h5ad(given.screen)
    split = json.loads(given.split.read_text(encoding="utf-8"))
    out = given.out.resolve()
    with tempfile.TemporaryDirectory(prefix="gears-") as folder:
        os.chdir(folder)  # GEARS writes to ./data
        Path("data").mkdir()
        predicted, notes = gears(screen, split, settings, given.seed)
    obs = pd.DataFrame({"note": [notes.get(name, "") for name in split["test"]]}, index=split["test"])
    ad.AnnData(X=predicted, obs=obs, var=screen.var[[]]).write_h5ad(out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--screen", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def gears(
    screen: ad.AnnData, split: dict[str, Any], settings: dict[str, str], seed: int
) -> tuple[np.ndarray, dict[str, str]]:
    """Predicted mean expression [test conditions, genes], and notes on some conditions. Works in the folder ./data."""
    targets = sorted({gene for part in ("train", "val", "test") for name in split[part] for gene in name.split("+")})
    terms = gene2go(Path(settings["gene2go"]))
    genes = sorted({*screen.var_names, *targets} - {CONTROL})
    with open("data/gene2go_all.pkl", "wb") as file:
        pickle.dump(terms, file)
    with open("data/genes.pkl", "wb") as file:
        pickle.dump(genes, file)

    cells, parts = as_gears(screen, split, set(genes) & set(terms))
    with open("data/split.pkl", "wb") as file:
        pickle.dump(parts, file)

    from gears import GEARS, PertData  # seeds torch with 0 when it is imported

    seed_all(seed)
    data = PertData("data", gene_set_path="data/genes.pkl", default_pert_graph=False)
    data.new_data_process("screen", adata=cells)
    data.prepare_split(split="custom", seed=seed, split_dict_path="data/split.pkl")
    data.get_dataloader(batch_size=int(settings["batch"]))
    del data.dataloader["test_loader"]

    model = GEARS(data, device="cpu")
    model.model_initialize(hidden_size=int(settings["hidden"]))
    model.train(epochs=int(settings["epochs"]), lr=float(settings["lr"]))

    unknown = {
        name: f"{why}; GEARS cannot know the condition, predicted as unperturbed"
        for name, why in not_in_graph(split["test"], set(data.pert_names)).items()
    }
    names = [name.split("+") for name in split["test"] if name not in unknown]
    rows = model.predict(names)
    base = unperturbed(model) if unknown else None
    predicted = [base if name in unknown else rows["_".join(name.split("+"))] for name in split["test"]]
    return np.float32(predicted), unknown


def gene2go(table: Path) -> dict[str, set[str]]:
    """{symbol: GO ids} of a table with the columns symbol and go_id."""
    terms: dict[str, set[str]] = defaultdict(set)
    with (gzip.open if table.suffix == ".gz" else open)(table, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            terms[row["symbol"]].add(row["go_id"])
    return dict(terms)


def as_gears(screen: ad.AnnData, split: dict[str, Any], graph: set[str]) -> tuple[ad.AnnData, dict[str, list[str]]]:
    """The cells in the layout of GEARS, and its parts of conditions; training holds the control cells.

    Without the conditions of more than two targets, and of targets that are not in ``graph``.
    """
    known = [*split["train"], *split["val"]]
    out = not_in_graph(known, graph) | {name: "more than two targets" for name in known if name.count("+") > 1}
    for name, why in out.items():
        say(f"left out of training and validation: {name} ({why})")
    if set(split["train"]) <= set(out):
        sys.exit("no training condition is left; expected targets with a GO term, one or two a condition")
    screen = screen[~screen.obs["condition"].isin(list(out)).to_numpy()]
    spelled = {name: name if "+" in name else f"{name}+ctrl" for name in known} | {CONTROL: "ctrl"}
    cells = ad.AnnData(
        X=sp.csr_matrix(screen.X, dtype=np.float32),
        obs=pd.DataFrame(
            {
                "condition": screen.obs["condition"].astype(str).map(spelled).to_numpy(),
                "cell_type": screen.obs["cell_type"].astype(str).to_numpy(),
            },
            index=screen.obs_names,
        ),
        var=pd.DataFrame({"gene_name": screen.var_names.to_numpy()}, index=screen.var_names),
    )
    parts = {part: [spelled[name] for name in split[part] if name not in out] for part in ("train", "val")}
    if not parts["val"]:
        say("no validation conditions: the training conditions pick the epoch")
        parts["val"] = list(parts["train"])
    return cells, {"train": [*parts["train"], "ctrl"], "val": parts["val"], "test": []}


def not_in_graph(conditions: list[str], graph: set[str]) -> dict[str, str]:
    """{condition: ``"not in GO: A"``} of those with a target that is not in the perturbation graph."""
    missing = {name: sorted(set(name.split("+")) - graph) for name in conditions}
    return {name: f"not in GO: {', '.join(genes)}" for name, genes in missing.items() if genes}


def unperturbed(model: Any) -> np.ndarray:
    """What the trained model makes of 300 control cells without a perturbation, as ``GEARS.predict`` does with one."""
    import torch
    from gears.utils import create_cell_graph_for_prediction
    from torch_geometric.data import DataLoader

    drawn = np.random.randint(0, len(model.ctrl_adata), 300)
    graphs = [create_cell_graph_for_prediction(x[None], UNPERTURBED, []) for x in model.ctrl_adata[drawn].X.toarray()]
    with torch.no_grad():
        return model.best_model(next(iter(DataLoader(graphs, 300)))).numpy().mean(axis=0)


def seed_all(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
