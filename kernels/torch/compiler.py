"""The backend of torch.compile: what ours compute of a model, in regions as large as can be, and PyTorch the rest.

`torch.compile(module, backend="spectroconv")`. PyTorch traces, guards and functionalises (`aot_autograd`), gradients included; this cuts
the graph that comes out into regions (`regions`) and leaves the other operators to PyTorch.
"""

from __future__ import annotations

import collections
import dataclasses
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import fx

import kernels.torch.aten  # noqa: F401  registers what is read
from kernels.torch.aten.reading import refusal
from kernels.torch.interpolate import keep_whole
from kernels.torch.lengths import free_symbols, lengths_from_inputs, own_symbols
from kernels.torch.node_order import sort
from kernels.torch.regions import Account, Region
from kernels.torch.shared_memory import REASON, views_last

aten = torch.ops.aten

# what makes a region worth its call; one of other operators alone wants several
_HEAVY = {
    aten.convolution.default, aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default,
    aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default,
    aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default, aten.addmm.default,
    aten.mm.default, aten.upsample_bilinear2d.default, aten.native_layer_norm.default, aten.native_group_norm.default,
    aten._native_batch_norm_legit_no_training.default, aten._native_batch_norm_legit.no_stats,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}  # fmt: skip
_VIEWS = {
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims,
    aten.permute.default, aten.transpose.int, aten.t.default, aten.expand.default, aten.slice.Tensor, aten.select.int, aten.alias.default,
    aten.clone.default, aten.detach.default, operator.getitem,
}  # fmt: skip
FEW = 4  # operators from which on a region without a heavy one is ours


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What became of one graph: our regions, and the operators that PyTorch does with the reason."""

    regions: tuple[Account, ...]
    rest: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        lines = [f"{len(self.regions)} regions, {len(self.rest)} operators left to PyTorch"]
        for i, region in enumerate(self.regions):
            counts = collections.Counter(region.operators)
            said = f"; PyTorch computed it: {region.reason}" if region.reason else ""
            lines.append(f"region {i}: " + ", ".join(f"{name} x{count}" if count > 1 else name for name, count in counts.items()) + said)
        lines += [f"{name}: {reason}" for name, reason in self.rest]
        return "\n".join(lines)


RECENT: collections.deque[Compiled] = collections.deque(maxlen=64)  # what became of the graphs handed over lately


def compiled(module: fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """What computes a graph as torch.compile traced it."""
    from torch._functorch.aot_autograd import aot_module_simplified
    from torch._functorch.partitioners import default_partition

    keep_whole(module)
    forward: Any = _cut_forward
    backward: Any = _cut
    return aot_module_simplified(
        module, list(example_inputs), fw_compiler=forward, bw_compiler=backward, inference_compiler=forward, decompositions={},
        partition_fn=default_partition, keep_inference_input_mutations=True,
    )  # fmt: skip


def _cut_forward(module: fx.GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
    """What computes a graph whose parameters and buffers PyTorch marks."""
    return _cut(module, example_inputs, _static(module))


def _cut(module: fx.GraphModule, example_inputs: Sequence[Any], fixed: Iterable[fx.Node] = ()) -> Callable[..., Any]:
    """What computes a functional graph of ATen operators; `fixed`: the placeholders and constants that hardly ever change."""
    from functorch.compile import make_boxed_func

    graph = module.graph
    for node in graph.nodes:  # results of ours lie contiguous, whatever the trace says
        if node.target is aten.view.default:
            node.target = aten.reshape.default
    apart = views_last(module)
    lengths_from_inputs(module)
    reasons = {node: REASON if node in apart else refusal(node) for node in graph.nodes if node.op == "call_function"}
    regions: list[Region] = []
    stood = {node: i for i, node in enumerate(graph.nodes)}
    if not any("as_strided" in str(node.target) for node in reasons):
        for partition in _partitions(module, reasons):
            regions.append(_fuse(module, partition, set(fixed), len(regions), stood))
    rest = tuple(
        (str(node.target), reason or "too few operators together")
        for node, reason in reasons.items()
        if not node._erased and not isinstance(node.meta.get("val"), torch.SymInt)
    )
    sort(graph, stood)
    RECENT.append(Compiled(tuple(region.account for region in regions), rest))  # no weights are held by what is told
    module.graph.lint()
    module.recompile()
    return _alone(module, regions) or make_boxed_func(module.forward)


def _static(module: fx.GraphModule) -> set[fx.Node]:
    """Placeholders of parameters and buffers, and constants."""
    context = torch._guards.TracingContext.try_get()
    indices = set(context.fw_metadata.static_input_indices if context and context.fw_metadata else ())
    written = {node.args[0] for node in module.graph.nodes if node.target is aten.copy_.default}
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    fixed = {node for i, node in enumerate(placeholders) if i in indices and node not in written}
    return fixed | {node for node in module.graph.nodes if node.op == "get_attr"}


def _partitions(module: fx.GraphModule, reasons: dict[fx.Node, str | None]) -> list[list[fx.Node]]:
    """Sets of nodes that can each be computed at once, those that are worth it."""
    from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
    from torch.fx.passes.operator_support import OperatorSupportBase

    numbers = {symbol for node in module.graph.nodes if node.op == "placeholder" for symbol in own_symbols(node)}

    class Support(OperatorSupportBase):
        def is_node_supported(self, submodules: Any, node: fx.Node) -> bool:
            return node in reasons and reasons[node] is None

    for node, reason in reasons.items():
        if reason is None and not free_symbols([node, *node.all_input_nodes]) <= numbers:
            reasons[node] = "its shape or a number depends on what its inputs hold"
    found = CapabilityBasedPartitioner(module, Support(), allows_single_node_partition=True).propose_partitions()
    order = {node: i for i, node in enumerate(module.graph.nodes)}
    return [sorted(each.nodes, key=order.__getitem__) for each in found if _threads_for(list(each.nodes))]


def _threads_for(nodes: list[fx.Node]) -> bool:
    return any(node.target in _HEAVY for node in nodes) or sum(node.target not in _VIEWS for node in nodes) >= FEW


def _fuse(module: fx.GraphModule, nodes: list[fx.Node], fixed: set[fx.Node], number: int, stood: dict[fx.Node, int]) -> Region:
    """Put a region in the place of its nodes."""
    from torch.fx.passes.utils.fuser_utils import erase_nodes, fuse_as_graphmodule, insert_subgm

    part, inputs, outputs = fuse_as_graphmodule(module, nodes, f"region_{number}")
    told = {symbol for node in inputs for symbol in own_symbols(node)}
    missing = free_symbols([*nodes, *inputs]) - told
    extra = []
    for node in module.graph.nodes:
        if node.op == "placeholder" and (new := own_symbols(node) & missing):
            missing -= new
            extra.append(node)
    with part.graph.inserting_before(next(node for node in part.graph.nodes if node.op == "output")):  # behind all others
        for node in extra:
            part.graph.placeholder(f"told_by_{node.name}").meta = dict(node.meta)
    part.recompile()
    insert_subgm(module, part, (*inputs, *extra), outputs)
    erase_nodes(module, nodes)
    (call,) = (node for node in module.graph.nodes if node.op == "call_module" and node.target == f"region_{number}")
    region = Region(part, [node in fixed for node in (*inputs, *extra)])
    made = [call, *(user for user in call.users if user not in stood)]
    stood |= dict.fromkeys(made, min(stood[node] for node in nodes))
    delattr(module, str(call.target))
    setattr(module, str(call.target), _Call(region))
    return region


class _Call(torch.nn.Module):
    """A region as a module, which FX calls in a graph with other operators."""

    def __init__(self, region: Region) -> None:
        super().__init__()
        self.__dict__["forward"] = region


def _alone(module: fx.GraphModule, regions: list[Region]) -> Callable[..., Any] | None:
    """What computes a graph that is one region and nothing else; None for any other."""
    nodes = list(module.graph.nodes)
    placeholders = [node for node in nodes if node.op == "placeholder"]
    calls = [node for node in nodes if node.op not in ("placeholder", "output")]
    if len(regions) != 1 or any(node.op != "call_module" and node.target is not operator.getitem for node in calls):
        return None
    if any(node.op != "placeholder" for node in calls[0].args):
        return None
    order = [placeholders.index(node) for node in calls[0].args]  # type: ignore[arg-type]
    results = [_position(node, calls[0]) for node in nodes[-1].args[0]]  # type: ignore[union-attr]
    region = regions[0]
    if None in results:
        return None
    straight, single, given = order == list(range(len(placeholders))), calls[1:] == [], region.run
    if single and len(results) != 1:
        return None

    def run(args: list[Any]) -> Any:
        found = given(args if straight else [args[i] for i in order])
        return (found,) if single else [found[i] for i in results]  # type: ignore[index]

    run._boxed_call = True  # type: ignore[attr-defined]  # takes its arguments as one list
    return run


def _position(node: Any, call: fx.Node) -> int | None:
    """Which of a call's results a node is."""
    if node is call:
        return 0
    is_part = isinstance(node, fx.Node) and node.target is operator.getitem and node.args[0] is call
    return int(node.args[1]) if is_part else None  # type: ignore[arg-type]

