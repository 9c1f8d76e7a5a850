"""The features of a model: every gene's text and DNA through the configured encoders."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np

from grape_dgl.config import FeatureConfig
from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError, some
from grape_dgl.features.store import Encoder, encode_all

log = logging.getLogger("grape_dgl")

_BASE = re.compile("[ACGT]")
_NAMES = {"text": "description", "seq": "DNA sequence"}


def encode(
    genes: Genes,
    config: FeatureConfig,
    cache: Path | None = None,
    targets: Collection[str] = (),
    only: str | None = None,
) -> dict[str, Features]:
    """Features of all genes by modality, raw; a modality that no gene has is left out.

    Args:
        cache: folder that keeps encoded inputs for later runs; None encodes everything.
        targets: symbols of perturbed genes; genes that are not measured count as such too.
        only: the one modality that is wanted; None: all there are.
    Raises DataError where nothing at all is known of a target (it could not be told from any other gene), where no gene
    has a wanted modality, and where an encoder is not installed. A target without the wanted ones is named.
    """
    both = {"text": genes.text(), "seq": [sequence if _BASE.search(sequence) else "" for sequence in genes.sequence]}
    inputs = {label: texts for label, texts in both.items() if label not in genes.vectors}
    known = {label: np.array([bool(text) for text in texts], dtype=bool) for label, texts in inputs.items()}
    known |= {label: one.present for label, one in genes.vectors.items()}
    wanted = {label: has for label, has in known.items() if only in (None, label)}
    _check(genes, known, wanted, targets)
    features = {}
    for label, has in wanted.items():
        if label in genes.vectors:
            features[label] = genes.vectors[label]
            continue
        if not has.any():
            log.info("no gene has a %s: the model goes without it", _NAMES[label])
            continue
        encoder = _encoder(label, config)
        if not has.all():
            log.info("%d of %d genes have no %s", int((~has).sum()), len(genes), _NAMES[label])
        features[label] = Features(encode_all(inputs[label], encoder, cache, label), has, encoder.source)
    return features


def _encoder(label: str, config: FeatureConfig) -> Encoder:
    if label == "text":
        from grape_dgl.features.text import TextEncoder

        code = config.remote_code if config.packaged_dna else ""
        return TextEncoder(config.text_model, config.text_pooling, config.precision, code)
    if config.dna_model == "kmer":
        from grape_dgl.features.kmer import KmerEncoder

        return KmerEncoder(config.kmer)
    if config.dna_model == "cispliceai":
        from grape_dgl.features.dna import SpliceEncoder

        return SpliceEncoder(config.dna_pooling, config.precision)
    from grape_dgl.features.dna_language import DnaLanguageEncoder

    return DnaLanguageEncoder(
        config.dna_model, config.dna_pooling, config.window, config.stride, config.precision, config.remote_code
    )


def _check(
    genes: Genes, known: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], targets: Collection[str]
) -> None:
    """Every target needs something that describes it; ``wanted`` are the modalities of ``known`` that are used."""
    described = np.logical_or.reduce(list(wanted.values()))
    if not described.any():
        raise DataError(
            f"no gene has a {_either(wanted)}; give --annotation or --sequences with it, or neither of them"
        )
    is_target = np.arange(len(genes)) >= genes.measured
    is_target[[genes.index(symbol) for symbol in targets]] = True
    bare = genes.symbol[is_target & ~np.logical_or.reduce(list(known.values()))]
    if len(bare):
        raise DataError(
            f"no {_either(known)} is known of {len(bare)} perturbed genes ({some(bare, 10)}); "
            "add them to a table for --annotation or to a FASTA for --sequences"
        )
    lacking = genes.symbol[is_target & ~described]
    if len(lacking):
        log.warning(
            "no %s is known of %d perturbed genes (%s): this model cannot tell them apart",
            _either(wanted), len(lacking), some(lacking, 10),
        )  # fmt: skip
    if bare_genes := int((~described).sum()):
        log.info("%d of %d genes have no %s; only a self-loop ties them in", bare_genes, len(genes), _either(wanted))


def _either(modalities: Iterable[str]) -> str:
    return " or ".join(_NAMES.get(label, f"{label} vector") for label in modalities)
