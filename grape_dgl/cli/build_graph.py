"""``grape-dgl build-graph``: the gene graph from features alone, as files for other tools and ``train --graph``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from grape_dgl.cli.knowledge import feature_cache, load_priors, prior_option
from grape_dgl.cli.options import (
    check_output,
    config_options,
    data_options,
    echo_json,
    json_option,
    load_screen,
    output_options,
    resolve_config,
)


@click.command("build-graph")
@data_options
@config_options
@prior_option
@output_options(help="Folder for graph.tsv.gz, nodes.tsv and graph.graphml.")
@json_option
def command(out: Path | None, force: bool, as_json: bool, prior: tuple[str, ...], **options: Any) -> None:
    """Build the graph of coding and non-coding genes of DATA from what is known about them.

    No expression is used, except with --prior coexpression that of half of the control cells.

    Edges are undirected, learned similarities: they do not say which gene regulates which.

    \b
    Examples:
      grape-dgl build-graph demo -o graph
      grape-dgl build-graph screen.h5ad --annotation genes.tsv.gz --set structure.sparsity=degree:10
      grape-dgl train screen.h5ad --graph graph/graph.tsv.gz -o runs/fixed-prior
    """
    if out is not None:
        check_output(out, force)
    config = resolve_config(**options)
    screen = load_screen(**options)

    from grape_dgl.features.encode import encode
    from grape_dgl.graph.facts import graph_facts
    from grape_dgl.graph.files import MEANING, edge_table, write_edges, write_graphml
    from grape_dgl.pipeline import build_graph
    from grape_dgl.run import gene_inputs
    from grape_dgl.writing import write_beside

    genes = screen.genes
    features = encode(genes, config.features, feature_cache(options["cache"]))
    priors = load_priors(prior, screen, config.training.seed)
    pairs, thresholds = build_graph(gene_inputs(genes, features, priors), config)
    edges = edge_table(pairs, genes)
    facts = graph_facts(pairs, genes, screen.conditions) | {
        "thresholds": {name: round(value, 6) for name, value in thresholds.items()},
        "meaning": MEANING,
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_edges(edges, out / "graph.tsv.gz")
        write_beside(out / "nodes.tsv", lambda path: genes.to_frame().to_csv(path, sep="\t", index=False))
        write_graphml(edges, genes, out / "graph.graphml")
    if as_json:
        echo_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item:,}" for key, item in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        click.echo(f"{name.replace('_', ' '):<17} {value}")
