"""Pools go where they cost least: before what keeps the order of numbers, and into the convolution before them where its method pools.

The maximum of a window of f(x) is f of the maximum where f never falls: a limit from below or above, a leaky ReLU, a sigmoid. Done after
the pool, f is done on a fraction of the numbers; unless a chain before it does it in passing.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.network.chains import computed, scalar
from kernels.network.graph import Graph, Node, Value
from kernels.network.operators.elementwise import slope
from kernels.network.operators.shaping import text
from kernels.network.passes.sweep import Sweep

Pool = tuple[str, tuple[int, ...], tuple[int, ...]]


def rising(node: Node) -> bool:
    """Whether a node is a function of its one changing input that never falls."""
    if node.op in ("Relu", "Sigmoid", "Tanh", "HardSigmoid", "Softplus", "Erf", "Exp"):
        return True
    if node.op == "LeakyRelu":
        return slope(node) >= 0
    if node.op == "Clip":
        return all(value is None or scalar(value) is not None for value in node.inputs[1:])
    return node.op in ("Max", "Min") and len(node.inputs) == 2 and any(scalar(value) is not None for value in node.inputs)


def pools_first(graph: Graph) -> int:
    """How many functions wait until after the maximum now."""
    changed = 0
    makers, readers, handed = graph.makers(), graph.readers(), set(graph.outputs.values())
    for pool in graph.nodes:
        before = makers.get(pool.x) if pool.op == "MaxPool" and len(pool.outputs) == 1 else None
        while before is not None and rising(before) and len(readers[before.y]) == 1 and before.y not in handed:
            place = next(i for i, value in enumerate(before.inputs) if value is not None and scalar(value) is None)
            x = before.inputs[place]
            assert x is not None
            source = makers.get(x)
            if x.shape != before.y.shape or (source is not None and computed(source) is not None):
                break  # in a chain with what is before it, f costs next to nothing
            pooled = Value(f"{pool.y.name}.pooled", pool.y.shape, pool.y.dtype)
            result = pool.y
            pool.inputs[0], pool.outputs[0] = x, pooled  # x -> pool -> before -> whoever read the pool
            before.inputs[place], before.outputs[0] = pooled, result
            makers[result], makers[pooled] = before, pool
            readers[x] = [pool if each is before else each for each in readers[x]]
            readers[pooled] = [before]
            changed += 1
            before = makers.get(x)
    if changed:
        graph.sort()
    return changed


def whole_windows(node: Node) -> Pool | None:
    """(kind, kernel, stride) of a pool of whole windows without padding, which a convolution may do at its end; with two axes."""
    attributes = node.attributes
    if node.op not in ("MaxPool", "AveragePool") or len(node.outputs) > 1 or not 3 <= len(node.x.lengths) <= 4:
        return None
    kernel = tuple(attributes["kernel_shape"])
    plain = not any(attributes.get("pads", ())) and not attributes.get("ceil_mode") and set(attributes.get("dilations", (1,))) == {1}
    if not plain or text(attributes.get("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
        return None
    stride = tuple(attributes.get("strides", [1] * len(kernel)))
    if len(kernel) == 1:
        kernel, stride = (1, *kernel), (1, *stride)
    return "max" if node.op == "MaxPool" else "avg", kernel, stride


def into_convolutions(graph: Graph, fuses: Callable[[Node, Pool], bool]) -> int:
    """How many pools a convolution does at its end; `fuses` tells whether its method does that inside."""
    sweep = Sweep(graph)
    for node in graph.nodes:
        sweep.refresh(node)
        layer = sweep.maker(node.inputs[0]) if node.inputs else None
        if layer is None or layer.op != "Conv" or "weight" not in layer.attributes or layer.attributes.get("pool"):
            continue
        pool = whole_windows(node)
        if pool and sweep.alone(layer.y) and fuses(layer, pool):
            layer.attributes["pool"] = pool
            sweep.join(node, layer.y)
            layer.y.shape = node.y.shape
    return sweep.finish()
