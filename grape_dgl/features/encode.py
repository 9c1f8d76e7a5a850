"""The features of a model: every gene's text and DNA through the configured encoders."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from pathlib import Path

import numpy as np

from grape_dgl.config import FeatureConfig
from grape_dgl.data.genes import Genes
from grape_dgl.data.vectors import Features
from grape_dgl.errors import DataError
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
    Raises DataError where a target has none of them (it could not be told from any other gene), where no gene has any,
    and where an encoder is not installed.
    """
    both = {"text": genes.text(), "seq": [sequence if _BASE.search(sequence) else "" for sequence in genes.sequence]}
    inputs = {label: both[label] for label in both if only in (None, label) and label not in genes.vectors}
    brought = {label: one for label, one in genes.vectors.items() if only in (None, label)}
    present = {label: np.array([bool(text) for text in texts], dtype=bool) for label, texts in inputs.items()}
    known = present | {label: one.present for label, one in brought.items()}
    wanted = " or ".join(_NAMES.get(label, f"{label} vector") for label in known)
    _check(genes, np.logical_or.reduce(list(known.values())), targets, wanted)
    features = {}
    for label, has in present.items():
        if not has.any():
            log.info("no gene has %s: the model goes without it", _NAMES[label])
            continue
        encoder = _encoder(label, config)
        if not has.all():
            log.info("%d of %d genes have no %s", int((~has).sum()), len(genes), _NAMES[label])
        features[label] = Features(encode_all(inputs[label], encoder, cache, label), has, encoder.source)
    return features | brought


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


def _check(genes: Genes, described: np.ndarray, targets: Collection[str], wanted: str) -> None:
    """Every target needs something that describes it."""
    if not described.any():
        raise DataError(f"no gene has a {wanted}; give --annotation or --sequences with it, or neither of them")
    is_target = np.arange(len(genes)) >= genes.measured
    is_target[[genes.index(symbol) for symbol in targets]] = True
    bare = genes.symbol[is_target & ~described]
    if len(bare):
        raise DataError(
            f"no {wanted} is known of {len(bare)} perturbed genes ({', '.join(bare[:10])}); "
            "add them to a table for --annotation or to a FASTA for --sequences"
        )
    if bare_genes := int((~described).sum()):
        log.info("%d of %d genes have no %s; only a self-loop ties them in", bare_genes, len(genes), wanted)
