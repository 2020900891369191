"""The passes in their order, from a specialised graph to one whose nodes are lowered as they stand."""

from __future__ import annotations

from collections.abc import Callable

from kernels.network.graph import Graph, Node
from kernels.network.passes.accuracy import accurate_layers
from kernels.network.passes.activations import named_activations
from kernels.network.passes.affine import batch_norms, into_weights
from kernels.network.passes.affine_ahead import into_weights_behind
from kernels.network.passes.bottlenecks import Joins, join_bottlenecks
from kernels.network.passes.chaining import chain_nodes
from kernels.network.passes.decompose import decompose
from kernels.network.passes.directions import join_directions, steps_in_order
from kernels.network.passes.duplicates import merge_duplicates
from kernels.network.passes.einsums import products_of_einsums
from kernels.network.passes.epilogues import into_epilogues
from kernels.network.passes.gates import Gates
from kernels.network.passes.gates import into_layers as gates_into_layers
from kernels.network.passes.identities import drop_identities
from kernels.network.passes.integers import products_of_bytes
from kernels.network.passes.joins import flatten_joins
from kernels.network.passes.moves import moves_behind_layers, moves_last
from kernels.network.passes.narrowing import narrow
from kernels.network.passes.norms import named_norms
from kernels.network.passes.padding import into_convolutions
from kernels.network.passes.pairs import sums_of_pairs
from kernels.network.passes.pools import Pool, pools_first
from kernels.network.passes.pools import into_convolutions as pools_into_convolutions
from kernels.network.passes.quantised import rounded_floats
from kernels.network.passes.reductions import join_reductions
from kernels.network.passes.residuals import Adds, into_layers
from kernels.network.passes.row_norms import row_norms
from kernels.network.passes.siblings import join_siblings
from kernels.network.passes.softmax_scale import scales_into_softmax
from kernels.network.passes.sums import join_sums
from kernels.network.passes.transforms import written_transforms
from kernels.network.passes.weights import hold_weights


def optimise(
    graph: Graph, fuses: Callable[[Node, Pool], bool] | None = None, adds: Adds | None = None, joins: Joins | None = None,
    gates: Gates | None = None,
) -> frozenset[Node]:  # fmt: skip
    """Rewrite a specialised graph in place; the layers that must be accurate output by output. `fuses`: see `pools.into_convolutions`;
    adds: `residuals.into_layers`; joins: `bottlenecks.join_bottlenecks`; gates: `gates.into_layers`."""
    steps_in_order(graph)
    drop_identities(graph)
    merge_duplicates(graph)
    join_directions(graph)
    rounded_floats(graph)
    products_of_bytes(graph)
    products_of_einsums(graph)
    written_transforms(graph)
    into_convolutions(graph)
    batch_norms(graph)
    hold_weights(graph)
    named_activations(graph)
    moves_behind_layers(graph)
    into_weights(graph)
    into_epilogues(graph)
    row_norms(graph)
    narrow(graph)
    pools_first(graph)
    join_sums(graph)
    join_siblings(graph)
    into_weights_behind(graph)
    accurate = accurate_layers(graph)
    if fuses is not None:
        pools_into_convolutions(graph, fuses)
    sums_of_pairs(graph)
    join_reductions(graph)
    named_norms(graph)
    scales_into_softmax(graph)
    decompose(graph)
    flatten_joins(graph)
    graph.drop_dead()
    into_layers(graph, adds)
    if joins is not None:
        join_bottlenecks(graph, joins)
    if gates is not None:
        gates_into_layers(graph, gates)
    moves_last(graph)
    chain_nodes(graph)
    return accurate
