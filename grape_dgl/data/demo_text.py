"""Names, biotypes and descriptions of simulated genes: synonyms of one pathway describe the genes of that pathway.

The pathway words are ordinary English biology, so a language model places genes of a pathway close together; the gene
names and identifiers are invented and belong to no real gene.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

# pathway phrases ; places in the cell
_PATHWAYS = """
mitochondrial electron transport, oxidative phosphorylation, respiratory chain complexes ; inner mitochondrial membrane
cytosolic translation, ribosome biogenesis, ribosomal RNA processing, protein synthesis ; nucleolus, cytosolic ribosome
proteasomal degradation, ubiquitin-dependent proteolysis, turnover of ubiquitinated proteins ; proteasome, cytosol
unfolded protein response, endoplasmic reticulum stress, folding of secretory proteins ; endoplasmic reticulum lumen
cholesterol biosynthesis, sterol metabolism, the mevalonate pathway, lipid homeostasis ; endoplasmic reticulum membrane
glycolysis, glucose catabolism, conversion of glucose to pyruvate, carbohydrate metabolism ; cytosol
DNA replication, replication fork progression, origin licensing, S phase DNA synthesis ; replication fork, nucleus
DNA double-strand break repair, homologous recombination, the DNA damage response ; sites of DNA damage, nucleus
mitotic spindle assembly, chromosome segregation, kinetochore attachment, cell division ; kinetochore, spindle pole
interferon signalling, antiviral innate immunity, the JAK-STAT response to interferon ; plasma membrane, nucleus
antigen presentation, MHC class I peptide loading, immune recognition by T cells ; cell surface, endosome
autophagy, autophagosome formation, lysosomal degradation of organelles ; autophagosome, lysosome
actin cytoskeleton organisation, cell motility, lamellipodia, actin polymerisation ; leading edge, cell cortex
extracellular matrix organisation, collagen assembly, cell adhesion to matrix ; extracellular matrix, focal adhesions
Wnt signalling, beta-catenin dependent transcription, cell fate specification ; plasma membrane, nucleus
NF-kappa B signalling, inflammatory cytokine response, tumour necrosis factor signalling ; cytosol, nucleus
apoptosis, programmed cell death, caspase activation, mitochondrial outer membrane permeabilisation ; mitochondrion
haemoglobin synthesis, erythroid differentiation, haem biosynthesis, iron uptake ; mitochondrial matrix, erythroblasts
pre-mRNA splicing, spliceosome assembly, intron removal, alternative splicing ; spliceosome, nuclear speckles
chromatin remodelling, histone acetylation, nucleosome positioning, epigenetic regulation ; chromatin
synaptic transmission, neurotransmitter release, synaptic vesicle exocytosis ; presynaptic terminal
calcium signalling, calcium ion channels, store-operated calcium entry ; plasma membrane, sarcoplasmic reticulum
vesicle trafficking, Golgi transport, COPI and COPII coat assembly, secretion ; Golgi apparatus
fatty acid beta-oxidation, lipid catabolism, acyl-CoA metabolism, peroxisomal lipids ; peroxisome, mitochondrion
amino acid transport, nutrient sensing by mTORC1, amino acid starvation response ; lysosomal membrane
hypoxia response, oxygen sensing, angiogenesis, vascular growth factor signalling ; nucleus, extracellular space
tRNA aminoacylation, transfer RNA modification, codon decoding ; cytosol, mitochondrial matrix
ciliogenesis, intraflagellar transport, Hedgehog signalling at the primary cilium ; basal body, primary cilium
oxidative stress response, glutathione metabolism, detoxification of reactive oxygen species ; cytosol, nucleus
nuclear transport, nuclear pore assembly, import of proteins into the nucleus ; nuclear envelope
"""
_CONTEXTS = (
    "", "in neurons", "in the liver", "in skeletal muscle", "in T lymphocytes", "in the kidney", "in the embryo",
    "in the germ line", "in adipose tissue", "in the retina", "in the epidermis", "in macrophages", "in the heart",
    "in the lung", "in bone", "in the gut epithelium",
)  # fmt: skip
_ROLES = (
    "component of", "regulator of", "essential factor for", "scaffold protein in", "enzyme involved in",
    "subunit of a complex required for", "protein kinase that controls", "adaptor linking signals to",
    "chaperone supporting", "cofactor of",
)  # fmt: skip
_TEMPLATES = (
    "{Role} {first}{context}. Located at the {place}.",
    "{Role} {first}; also linked to {second}{context}.",
    "This gene encodes a {role} {first}{context}, found in the {place}.",
    "Predicted to act in {first} and {second}. {Role} {first}{context}.",
    "{place} protein. {Role} {second}{context}.",
)
_NONCODING_TEMPLATES = (
    "long non-coding RNA whose expression follows {first}{context}",
    "non-protein coding transcript near genes of {first} and {second}",
    "regulatory RNA reported in {second}{context}",
    "non-coding RNA associated with {first}",
)
_VAGUE = (
    "uncharacterised protein of unknown function",
    "novel transcript, function not determined",
    "open reading frame with a conserved domain",
    "member of a family without known function",
)
_NONCODING_BIOTYPES = ("lncRNA", "processed_pseudogene", "snoRNA")


@dataclass(frozen=True)
class Pathway:
    """One pathway: synonymous phrases, and the places in a cell where its proteins are found."""

    phrases: tuple[str, ...]
    places: tuple[str, ...]


def _read(text: str) -> tuple[Pathway, ...]:
    rows = (line.split(" ; ") for line in text.strip().splitlines())
    return tuple(Pathway(tuple(phrases.split(", ")), tuple(places.split(", "))) for phrases, places in rows)


PATHWAYS = _read(_PATHWAYS)


def pathway_of(module: np.ndarray) -> np.ndarray:
    """Index into ``PATHWAYS`` of each module; beyond their number, modules share a pathway in another context."""
    return module % len(PATHWAYS)


def biotypes(coding: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Ensembl-style biotype of each gene [genes] from ``coding`` [genes] bool."""
    other = rng.choice(_NONCODING_BIOTYPES, size=len(coding), p=(0.75, 0.15, 0.10))
    return np.where(coding, "protein_coding", other).astype(object)


def symbols(module: np.ndarray, biotype: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Unique invented gene symbols [genes]; about half the coding genes share a family stem with their module."""
    stems = _stems(int(module.max()) + 1 + len(module) // 6, rng)
    own = rng.random(len(module)) < 0.5
    family = np.where(own, module, rng.integers(int(module.max()) + 1, len(stems), size=len(module)))
    names, used = [], dict.fromkeys(stems, 0)
    for index, kind in enumerate(biotype):
        stem = stems[family[index]]
        used[stem] += 1
        serial = used[stem]
        names.append(
            {
                "protein_coding": f"{stem}{serial}",
                "lncRNA": f"LINC9{index:05d}" if index % 3 else f"{stem}{serial}-AS1",
                "processed_pseudogene": f"{stem}{serial}P",
                "snoRNA": f"SNORX{index}",
            }[kind]
        )
    return np.array(names, dtype=object)


def _stems(number: int, rng: np.random.Generator) -> list[str]:
    """Distinct pronounceable stems of five letters, the last Q or J, which no human gene family has."""
    letters = ("BCDFGHKLMNPRSTVZ", "AEIOUY", "BDFGKLMNPRSTVXZ", "AEIOUY", "QJ")
    stems = ["".join(stem) for stem in itertools.product(*letters)]
    return [str(stem) for stem in rng.permutation(stems)[:number]]


def descriptions(module: np.ndarray, coding: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One sentence or two per gene [genes] from the words of its module.

    About 6 % speak of another pathway and 6 % of nothing in particular, as real annotation does.
    """
    spoken = np.where(rng.random(len(module)) < 0.06, rng.permutation(module), module)
    vague = rng.random(len(module)) < 0.06
    draws = rng.random((len(module), 5))
    return np.array(
        [
            _pick(_VAGUE, draw[0]) if is_vague else _sentence(int(m), bool(c), draw)
            for m, c, is_vague, draw in zip(spoken, coding, vague, draws, strict=True)
        ],
        dtype=object,
    )


def _sentence(module: int, coding: bool, draw: np.ndarray) -> str:
    pathway = PATHWAYS[module % len(PATHWAYS)]
    context = _CONTEXTS[module // len(PATHWAYS) % len(_CONTEXTS)]
    first = int(draw[1] * len(pathway.phrases))
    role = _pick(_ROLES, draw[3])
    text = _pick(_TEMPLATES if coding else _NONCODING_TEMPLATES, draw[0]).format(
        role=role,
        Role=role.capitalize(),
        first=pathway.phrases[first],
        second=pathway.phrases[(first + 1) % len(pathway.phrases)],
        place=_pick(pathway.places, draw[2]),
        context=f" {context}" if context else "",
    )
    return text[0].upper() + text[1:]


def _pick(options: tuple[str, ...], draw: float) -> str:
    return options[int(draw * len(options))]
