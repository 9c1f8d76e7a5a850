"""A run folder: the trained model with everything that prediction needs, loaded and asked.

``model/model.json`` (format, widths, feature sources), ``model/inputs.safetensors`` (features, control mean, a given
prior), ``model/weights-N.safetensors`` per ensemble member; ``config.toml`` and ``nodes.tsv`` beside it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from grape_dgl.config import Config
from grape_dgl.data.annotation import Annotation
from grape_dgl.data.conditions import detect_parser, targets
from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.engine import choose_engine
from grape_dgl.errors import DataError, ModelError, some
from grape_dgl.evaluation.predictions import Predictions
from grape_dgl.features.encode import encode
from grape_dgl.graph.files import edge_table
from grape_dgl.graph.hetero import Pairs, Prior
from grape_dgl.model import GRAPE, GeneInputs
from grape_dgl.training.ensemble import Change, Ensemble, ready
from grape_dgl.training.knowledge import Kernel, knowledge
from grape_dgl.training.response import Response
from grape_dgl.training.weights import load_weights, write_tensors
from grape_dgl.writing import write_beside, write_json

log = logging.getLogger("grape_dgl")

FORMAT = 3
"""Version of the model folder; a newer one is refused with a clear line. 1 has no response, 2 one of effects alone."""

SAME = 0.1
"""Below this share of the observed spread, perturbed genes left out, predictions count as the same for all."""


def warn_of_sameness(variation: float | None) -> None:
    """Say so where a run's predictions hardly differ between conditions, but for the perturbed genes.

    ``variation``: ``variation_elsewhere`` of ``metrics.json``; runs of before have none.
    """
    if variation is not None and variation < SAME:
        log.warning(
            "but for the perturbed genes themselves, this model predicts nearly the same change for every test "
            "condition (%.0f %% of the observed spread): it has found little beyond what all training conditions share",
            100 * variation,
        )


def gene_inputs(
    genes: Genes,
    features: Mapping[str, Features],
    priors: Sequence[Prior] = (),
    given: Pairs | None = None,
) -> GeneInputs:
    """Encoded features and prior graphs as the model's tensors."""
    return GeneInputs(
        {m: torch.from_numpy(np.ascontiguousarray(f.values, dtype=np.float32)) for m, f in features.items()},
        {m: torch.from_numpy(np.asarray(f.present, dtype=bool)) for m, f in features.items()},
        torch.from_numpy(genes.coding),
        tuple(priors),
        given,
    )


def resolve_device(name: str) -> str:
    """The torch device that ``auto`` means here: cuda, else cpu (mps only where asked for)."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise ModelError(f"device '{name}' is not available here; use --device auto or cpu")
    return name


@dataclass(frozen=True, repr=False)
class Run:
    """A trained GRAPE model and what it was trained with."""

    config: Config
    genes: Genes
    control: np.ndarray
    """[measured] mean expression of the model's half of the control cells (log1p units)."""
    ensemble: Ensemble
    feature_sources: Mapping[str, Any]
    """Encoder, weights hash and pooling by modality."""
    conditions: Mapping[str, str]
    """Condition of the screen -> part of the split."""
    response: Response | None = None
    """What is expected before the network speaks."""

    def __repr__(self) -> str:
        parts = Counter(self.conditions.values())
        listed = ", ".join(f"{number:,} {part}" for part, number in parts.items())
        return f"Run of {len(self.ensemble.members)} GRAPE on {len(self.genes):,} genes; conditions: {listed}"

    def save(self, folder: Path) -> None:
        """Write ``folder/model`` (but not the weights, which training writes) and ``folder/nodes.tsv``."""
        model = folder / "model"
        model.mkdir(parents=True, exist_ok=True)
        inputs = self.ensemble.genes.to("cpu", torch.float32)
        tensors = {f"values.{m}": x.numpy() for m, x in inputs.values.items()}
        tensors |= {f"present.{m}": x.numpy() for m, x in inputs.present.items()}
        tensors["control"] = self.control
        if self.response is not None:
            tensors |= self.response.tensors()
        for prior in inputs.priors:
            tensors |= _pairs_to_tensors(f"prior.{prior.name}", prior.pairs)
            tensors[f"prior.{prior.name}.present"] = prior.present.numpy()
        if inputs.given is not None:
            tensors |= _pairs_to_tensors("given", inputs.given)
        description = {
            "format": 1 if self.response is None else FORMAT,
            "members": len(self.ensemble.members),
            "measured": self.genes.measured,
            "widths": inputs.widths,
            "features": dict(self.feature_sources),
            "priors": {prior.name: dict(prior.source) for prior in inputs.priors},
            "conditions": dict(self.conditions),
        }
        write_tensors(model / "inputs.safetensors", lambda path: save_file(tensors, path))
        files = ["inputs.safetensors", *(weights_path(folder, n).name for n in range(len(self.ensemble.members)))]
        description["sha256"] = {name: _sha256(model / name) for name in files if (model / name).exists()}
        write_beside(folder / "nodes.tsv", lambda path: self.genes.to_frame().to_csv(path, sep="\t", index=False))
        write_json(model / "model.json", description)

    @classmethod
    def load(cls, folder: str | Path, engine: str = "auto", device: str = "auto") -> Run:
        """Read a run folder. Raises ModelError where a file is missing, altered or of a newer version."""
        folder = Path(folder)
        description = read_json(folder / "model" / "model.json", folder)
        if description.get("format", 0) > FORMAT:
            raise ModelError(
                f"'{folder}' has model format {description['format']}; this one reads up to {FORMAT}: update grape_dgl"
            )
        try:
            for name, wanted in description.get("sha256", {}).items():
                if _sha256(folder / "model" / name) != wanted:
                    raise ModelError(
                        f"'{folder / 'model' / name}' is not the file that was written (its checksum differs); the run "
                        "folder is altered: copy it anew, or train again"
                    )
            tensors = load_file(folder / "model" / "inputs.safetensors")
            nodes = pd.read_csv(folder / "nodes.tsv", sep="\t", keep_default_na=False, dtype=str)
            genes = Genes.from_frame(nodes)
        except (OSError, SafetensorError, ValueError, AttributeError, DataError) as error:
            raise ModelError(f"'{folder}' is no complete run folder: {error}") from error
        config = Config.resolve(toml=folder / "config.toml")
        try:
            widths, number_of_members = description["widths"], int(description["members"])
            sources, conditions = description["features"], description["conditions"]
            inputs = GeneInputs(
                {m: torch.from_numpy(tensors[f"values.{m}"]) for m in widths},
                {m: torch.from_numpy(tensors[f"present.{m}"]) for m in widths},
                torch.from_numpy(genes.coding),
                tuple(_prior(name, tensors, source) for name, source in description["priors"].items()),
                _pairs("given", tensors) if "given.first" in tensors else None,
            )
            control = tensors["control"]
            response = None if config.response.kind == "none" else Response.from_tensors(tensors, genes.measured)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"'{folder}/model' lacks {error}; the run folder is altered") from error
        place = resolve_device(device)
        members = []
        for number in range(number_of_members):
            member = GRAPE(config, widths, genes.measured, choose_engine(engine, place))
            load_weights(member, weights_path(folder, number))
            members.append(member)
        return cls(config, genes, control, ready(members, inputs.to(place)), sources, conditions, response)

    @property
    def described(self) -> np.ndarray:
        """bool [genes]: nodes of which the model knows anything, so that perturbing them means something."""
        return self.ensemble.members[0].described(self.ensemble.genes).cpu().numpy()

    def predict(
        self, conditions: str | Sequence[str], annotation: Annotation | None = None, cache: Path | None = None
    ) -> Predictions:
        """Predicted expression change of every measured gene for one or more ``conditions`` in any accepted spelling.

        A target may be any node of the run or, with an ``annotation`` that describes it, any other gene: it is attached
        to the frozen graph of its own condition only. Raises DataError for an unknown or undescribed target, ModelError
        for another gene on a run whose prior graph was given. A target of the run's own screen need not be described:
        an ablation may look at another modality.
        """
        names, parts = self._answer(conditions, annotation, cache)
        mean = np.empty((len(names), self.genes.measured), dtype=np.float32)
        beside: dict[str, Any] = {layer: np.empty_like(mean) for layer in self._layers}
        for rows, change in parts:
            mean[rows] = change.mean
            for layer, matrix in beside.items():
                matrix[rows] = getattr(change, layer)
        return dataclasses.replace(self._blank(names), change=mean, expected=mean + self.control, **beside)

    def predict_to(
        self,
        path: str | Path,
        conditions: str | Sequence[str],
        annotation: Annotation | None = None,
        cache: Path | None = None,
    ) -> list[str]:
        """Write what :meth:`predict` says to ``path`` part by part, however many conditions there are; their names."""
        names, parts = self._answer(conditions, annotation, cache)
        layers = self._layers
        known = (
            (rows, {"change": one.mean, "X": one.mean + self.control} | {name: getattr(one, name) for name in layers})
            for rows, one in parts
        )
        self._blank(names).write_rows(Path(path), ["change", *layers], known)
        return names

    @property
    def _layers(self) -> list[str]:
        """What a ``Change`` of this run has beside its mean."""
        several = ["std"] if len(self.ensemble.members) > 1 else []
        return several if self.response is None else [*several, "margin"]

    def _blank(self, names: Sequence[str]) -> Predictions:
        """Predictions of ``names`` in which nothing is predicted yet; its matrices take no memory."""
        shape = (len(names), self.genes.measured)
        nothing = np.broadcast_to(np.float32(0), shape)
        return Predictions(
            conditions=tuple(names),
            genes=self.genes.symbol[: self.genes.measured],
            change=nothing,
            control=self.control,
            expected=nothing,
            split=tuple(self.conditions.get(name, "unseen") for name in names),
            info={"model": "GRAPE", "seed": self.config.training.seed},
        )

    def _answer(
        self, conditions: str | Sequence[str], annotation: Annotation | None, cache: Path | None
    ) -> tuple[list[str], Iterator[tuple[list[int], Change]]]:
        """Names of ``conditions``, and their changes in parts, each with its rows, which rise."""
        conditions = [conditions] if isinstance(conditions, str) else conditions
        known = set(self.genes.symbol)
        names = list(dict.fromkeys(self._canonical(text, annotation) for text in conditions))
        outside = {name: tuple(t for t in targets(name) if t not in known) for name in names}
        own = {gene for condition in self.conditions for gene in targets(condition)}
        bare = {symbol for symbol in self.genes.symbol[~self.described] if symbol not in own}
        if empty := sorted(bare.intersection(t for name in names for t in targets(name))):
            raise DataError(
                f"nothing is known of {len(empty)} of the genes to perturb ({some(empty, 10)}): the run has no "
                "description or sequence of them that its model uses; train with an annotation that describes them"
            )
        fresh = list(dict.fromkeys(gene for group in outside.values() for gene in group))
        everyone = self._new_inputs(fresh, annotation, cache) if fresh and annotation is not None else None

        def parts() -> Iterator[tuple[list[int], Change]]:
            for group in dict.fromkeys(outside.values()):
                rows = [i for i, name in enumerate(names) if outside[name] == group]
                new = everyone.take([fresh.index(gene) for gene in group]) if group and everyone is not None else None
                place = {symbol: len(self.genes) + i for i, symbol in enumerate(group)}
                ids = [[place[t] if t in place else self.genes.index(t) for t in targets(names[i])] for i in rows]
                kernels = knowledge(self.ensemble.genes, new) if self.response and self.response.knowledge else None
                start = 0
                for change in self.ensemble.predict(ids, new):
                    part = slice(start, start + len(change.mean))
                    yield rows[part], self._with_response(change, ids[part], kernels)
                    start = part.stop

        return names, parts()

    def _with_response(
        self, change: Change, conditions: Sequence[Sequence[int]], kernels: Mapping[str, Kernel] | None
    ) -> Change:
        """The expectation and what the network adds to it; nothing is expected where nobody is perturbed."""
        if self.response is None:
            return change
        perturbed = np.array([len(ids) > 0 for ids in conditions])[:, None]
        expected, margin = self.response.change(conditions, kernels), self.response.margin(conditions)
        return Change(change.mean + perturbed * expected, change.std, perturbed * margin)

    @property
    def silent(self) -> list[bool]:
        """By member: whether the network says nothing, its read-out being 0; then it was hardly trained."""
        return [not bool(member.readout.weight.any()) for member in self.ensemble.members]

    def tell_of_unseen(self, conditions: Sequence[str]) -> None:
        """Say which targets of ``conditions`` training has not seen: they add nothing to the response of the others."""
        if self.response is None or self.response.knowledge:
            return
        seen = {str(self.genes.symbol[gene]) for gene in self.response.targets}
        unseen = sorted({gene for name in conditions for gene in targets(name)} - seen)
        if unseen:
            own = {str(symbol) for symbol in self.genes.symbol[: len(self.response.own)][self.response.own != 0]}
            measured = len(own.intersection(unseen))
            log.info(
                "training has not seen %d targets (%s): beside what all conditions share they change nothing%s; "
                "%d of %d conditions have no other target",
                len(unseen), some(unseen, 10), f" but their own expression, {measured} of them" if measured else "",
                sum(seen.isdisjoint(targets(name) or seen) for name in conditions), len(conditions),
            )  # fmt: skip

    def graph(self) -> pd.DataFrame:
        """The learned graph as an edge table (``source``, ``target``, ``relation``, ``weight``)."""
        return edge_table(self.ensemble.pairs(), self.genes)

    def _canonical(self, text: str, annotation: Annotation | None) -> str:
        """The condition's name; its genes are nodes of the run or known to the annotation."""
        ids = zip(self.genes.ensembl, self.genes.symbol, strict=True)
        nodes = {ensembl: symbol for ensembl, symbol in ids if ensembl} | {s: s for s in self.genes.symbol}

        def parse(names: Mapping[str, str]) -> str:
            return detect_parser([text], names, aliases=names, strict=True).parse(text)

        try:
            return parse(nodes)
        except DataError as error:
            if annotation is not None and not annotation.is_empty:
                asked = [gene for gene in targets(text) if gene not in nodes]
                return parse(annotation.looked_up(asked, [""] * len(asked)).names() | nodes)
            raise DataError(
                f"{error}; to predict a gene outside the run, describe it with --annotation (and --sequences)"
            ) from error

    def _new_inputs(self, symbols: Sequence[str], annotation: Annotation, cache: Path | None) -> GeneInputs:
        """Features of genes outside the run, encoded as the run's own were."""
        if self.ensemble.genes.given is not None:
            raise ModelError(
                f"{', '.join(symbols)} is no node of this run, whose prior graph was given (train --graph): its "
                "edges there are not known; train again with the gene in data and graph"
            )
        fresh = annotation.describe(list(symbols), [""] * len(symbols), measured=0)
        features = encode(fresh, self.config.features, cache, only=self.config.model.only)
        values, present = {}, {}
        for modality, width in self.ensemble.genes.widths.items():
            known = features.get(modality)
            if known is not None and dict(known.source) != self.feature_sources[modality]:
                raise ModelError(
                    f"the {modality} features of this run came from {self.feature_sources[modality]}, and now "
                    f"{dict(known.source)} is installed: its vectors do not fit; use the model of the run"
                )
            values[modality] = torch.zeros(len(symbols), width) if known is None else torch.from_numpy(known.values)
            has = np.zeros(len(symbols), dtype=bool) if known is None else known.present
            present[modality] = torch.from_numpy(has)
        return GeneInputs(values, present, torch.from_numpy(fresh.coding))


def predict(
    run: Run | str | Path, conditions: str | Sequence[str], annotation: Annotation | None = None
) -> Predictions:
    """What :meth:`Run.predict` says, of a run or of its folder."""
    return (run if isinstance(run, Run) else Run.load(run)).predict(conditions, annotation)


def _pairs_to_tensors(name: str, pairs: Pairs) -> dict[str, np.ndarray]:
    return {f"{name}.{part}": getattr(pairs, part).numpy() for part in ("first", "second", "value")}


def _pairs(name: str, tensors: Mapping[str, np.ndarray]) -> Pairs:
    return Pairs(*(torch.from_numpy(tensors[f"{name}.{part}"]) for part in ("first", "second", "value")))


def _prior(name: str, tensors: Mapping[str, np.ndarray], source: Mapping[str, Any]) -> Prior:
    pairs = _pairs(f"prior.{name}", tensors)
    return Prior(name, pairs, torch.from_numpy(tensors[f"prior.{name}.present"]), source)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_path(folder: Path, member: int) -> Path:
    """Where a member's weights are."""
    return folder / "model" / f"weights-{member}.safetensors"


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """A JSON object of the run ``folder``; ModelError where it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"'{folder}' is no run folder of grape-dgl train: cannot read {path.name} ({error})"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"'{path}' holds no JSON object; the run folder is altered")
    return value
