"""From a graph and lengths to a program: specialise, rewrite, decide orders in memory, lower, place memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kernels.network import (  # noqa: F401  they register what they lower
    lower_bottlenecks,
    lower_chains,
    lower_layers,
    lower_moves,
    lower_norms,
    lower_outside,
    lower_products,
    lower_recurrent,
    lower_reductions,
    lower_resizing,
    lower_rows,
    lower_spectra,
    lower_views,
)
from kernels.network.graph import Graph
from kernels.network.lower_bottlenecks import joins
from kernels.network.lower_gates import gated
from kernels.network.lower_layers import adds, fuses_pool
from kernels.network.lowering import Lowering, Settings
from kernels.network.outside import infer_outside
from kernels.network.passes.orders import wanted_orders
from kernels.network.passes.pipeline import optimise
from kernels.network.passes.specialise import specialise
from kernels.network.program import Program


def plan_graph(graph: Graph, shapes: Mapping[str, tuple[int, ...]], threads: int, budget: float = 0.0,
               constants: Mapping[str, Any] | None = None, rest: str = "numpy", accuracy: str = "largest") -> Program:  # fmt: skip
    """The program for inputs of these shapes; `constants`: what some inputs hold, from which shapes follow; rest: who
    runs nodes that no operator here is known for; accuracy "each": all layers are accurate output by output."""
    planned = specialise(graph, shapes, constants, infer_outside if rest == "onnxruntime" else None)
    accurate = optimise(
        planned, lambda node, pool: fuses_pool(node, pool, threads), lambda node: adds(node, threads),
        lambda layers: joins(layers, threads), lambda node: gated(node, threads),
    )  # fmt: skip
    if accuracy == "each":
        accurate = frozenset(each for node in planned.nodes for each in (node, *node.attributes.get("layers", ())))
    return Program(Lowering(planned, Settings(threads, budget, accurate), wanted_orders(planned)))
