"""The vocabulary of gene biotypes: which are protein-coding, and the group each belongs to, under old names and new.

Sources: the biotype pages of GENCODE (gencodegenes.org/pages/biotypes.html) and Ensembl (info/genome/genebuild/
biotypes.html, Help/Faq?id=468), NCBI Gene's list of gene types, and RefSeq's gene_biotype (INSDC ncRNA classes).
"""

from __future__ import annotations

from typing import Literal

Group = Literal["protein_coding", "lncRNA", "small_ncRNA", "pseudogene", "IG/TR gene", "other"]

_NAMES: dict[Group, str] = {
    # also names of transcripts of coding genes, and polymorphic pseudogenes, which are broken in the reference genome
    # and intact in other people: 42 of the 44 human ones of GRCh37 are protein_coding in GRCh38 now
    "protein_coding": """
        protein_coding mRNA protein_coding_LoF protein_coding_CDS_not_defined nonsense_mediated_decay non_stop_decay
        nontranslating_CDS polymorphic polymorphic_pseudogene""",
    # Ensembl 97 / GENCODE 31 put lncRNA in the place of the others
    "lncRNA": """
        lncRNA lnc_RNA lincRNA antisense antisense_RNA processed_transcript sense_intronic sense_overlapping
        3prime_overlapping_ncRNA bidirectional_promoter_lncRNA macro_lncRNA non_coding known_ncRNA ncRNA_host
        ambiguous_orf retained_intron""",
    "small_ncRNA": """
        miRNA pre_miRNA misc_RNA miscRNA rRNA tRNA snRNA snoRNA scRNA scaRNA sRNA snlRNA siRNA piRNA rasiRNA tmRNA
        ribozyme hammerhead_ribozyme vault_RNA vaultRNA Y_RNA SRP_RNA RNase_P_RNA RNase_MRP_RNA telomerase_RNA
        guide_RNA autocatalytically_spliced_intron Mt_rRNA Mt_tRNA""",
    "pseudogene": """
        pseudogene pseudo processed_pseudogene unprocessed_pseudogene unitary_pseudogene transcribed_pseudogene
        transcribed_processed_pseudogene transcribed_unprocessed_pseudogene transcribed_unitary_pseudogene
        translated_processed_pseudogene translated_unprocessed_pseudogene retrotransposed disrupted_domain
        rRNA_pseudogene tRNA_pseudogene Mt_tRNA_pseudogene miRNA_pseudogene misc_RNA_pseudogene scRNA_pseudogene
        snRNA_pseudogene snoRNA_pseudogene ncRNA_pseudogene
        IG_pseudogene IG_C_pseudogene IG_D_pseudogene IG_J_pseudogene IG_V_pseudogene
        TR_pseudogene TR_C_pseudogene TR_D_pseudogene TR_J_pseudogene TR_V_pseudogene
        C_region_pseudogene D_segment_pseudogene J_segment_pseudogene V_segment_pseudogene""",
    "IG/TR gene": """
        IG_gene IG_C_gene IG_D_gene IG_J_gene IG_LV_gene IG_M_gene IG_V_gene IG_Z_gene
        TR_gene TR_C_gene TR_D_gene TR_J_gene TR_V_gene C_region D_segment J_segment V_segment""",
    # ncRNA is NCBI's word for long and small ones alike
    "other": "TEC artifact ncRNA LRG_gene transposon transposable_element biological_region other unknown undefined",
}


def _plain(biotype: str) -> str:
    return biotype.casefold().replace("-", "_")


_GROUPS: dict[str, Group] = {_plain(name): group for group, names in _NAMES.items() for name in names.split()}


def group(biotype: str) -> Group | None:
    """The group a biotype belongs to now, whichever release spelt it; None for a name that is not known.

    Upper and lower case, ``-`` and ``_`` are the same.
    """
    return _GROUPS.get(_plain(biotype))


def is_coding(biotype: str) -> bool:
    """Whether a biotype is node type ``c``: only ``protein_coding`` (``protein-coding`` at NCBI) is.

    Everything else is non-coding, also what is translated but has another biotype: gene segments of immunoglobulins
    and T-cell receptors (no such gene makes a protein before it is rearranged) and polymorphic pseudogenes.
    """
    return _plain(biotype) == "protein_coding"
