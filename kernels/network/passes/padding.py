"""Zeros that a Pad puts before a convolution become the convolution's own padding."""

from __future__ import annotations

import numpy as np

from kernels.network.graph import Graph
from kernels.network.operators.shaping import pad_pairs, text


def into_convolutions(graph: Graph) -> int:
    """How many convolutions took over the padding before them."""
    makers, changed = graph.makers(), 0
    for node in graph.nodes:
        pad = makers.get(node.x) if node.op == "Conv" else None
        if pad is None or pad.op != "Pad" or text(node.attributes.get("auto_pad", "NOTSET")) not in ("NOTSET", "VALID"):
            continue
        fill = pad.constant(2)
        zero = text(pad.attributes.get("mode", "constant")) == "constant" and (fill is None or not np.any(fill))
        pairs, axes = pad_pairs(pad, len(pad.x.lengths)), len(node.x.lengths) - 2
        if not zero or any(map(any, pairs[:2])) or min(map(min, pairs)) < 0:
            continue
        before, after = zip(*pairs[2:])
        own = list(node.attributes.get("pads", [0] * 2 * axes))
        pads = [a + b for a, b in zip(own, [*before, *after])]
        node.attributes = {**node.attributes, "pads": pads, "auto_pad": "NOTSET"}
        node.inputs[0] = pad.x
        changed += 1
    graph.drop_dead()
    return changed
