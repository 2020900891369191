"""A model as it was read, for onnxruntime to run: its proto without the numbers of long constants, which are held once, for the graph too.

Protobuf gives a copy of what a tensor holds and frees nothing that is taken out of it. A model of 100 MB would be held three times: in its
proto, by the graph, and packed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from kernels.network.onnx_messages import PLAIN

LONG = 1 << 12  # bytes of a constant that is held outside of the proto
HELD = "spectroconv"  # where a tensor says that its numbers lie, as if in another file, with their place there behind it


class Source:
    """What `Model` keeps of a ModelProto; `numbers`: the bytes of the constants that it lacks."""

    def __init__(self, proto: Any, numbers: tuple[bytes, ...] = ()) -> None:
        self.proto, self.numbers = proto, numbers

    @classmethod
    def emptied(cls, model: Any) -> Source:
        """The source of a ModelProto that nobody needs any more."""
        numbers: list[bytes] = []
        for tensor in _constants(model.graph):
            if tensor.HasField("raw_data") and tensor.data_type in PLAIN and sys.byteorder == "little":
                raw = tensor.raw_data
                if len(raw) >= LONG:
                    tensor.ClearField("raw_data")
                    tensor.data_location = tensor.EXTERNAL
                    tensor.external_data.add(key=HELD, value=str(len(numbers)))
                    numbers.append(raw)
        proto = type(model)()  # a message keeps the memory of what was taken out of it
        proto.CopyFrom(model)
        return cls(proto, tuple(numbers))

    def array(self, tensor: Any) -> np.ndarray | None:
        """The numbers of a tensor of the proto that are held here; None where they are not."""
        place = _place(tensor)
        if place is None:
            return None
        return np.frombuffer(self.numbers[place], PLAIN[tensor.data_type]).reshape(tuple(tensor.dims))

    def whole(self) -> Any:
        """A ModelProto with all its numbers."""
        whole = type(self.proto)()
        whole.CopyFrom(self.proto)
        for tensor in _constants(whole.graph):
            place = _place(tensor)
            if place is not None:
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = self.numbers[place]
        return whole

    def serialised(self) -> bytes:
        """The whole model."""
        return bytes(self.whole().SerializeToString())


def _place(tensor: Any) -> int | None:
    """Where the numbers of a tensor lie among those that are held."""
    held = tensor.external_data
    return int(held[0].value) if len(held) == 1 and held[0].key == HELD else None


def _constants(graph: Any) -> Iterator[Any]:
    """The tensors that a graph's nodes read, and those of branches of its Ifs: such graphs stay here, others may go to onnxruntime."""
    waiting = [graph]
    while waiting:
        graph = waiting.pop()
        yield from graph.initializer
        for node in graph.node:
            if node.op_type == "Constant":
                yield from (each.t for each in node.attribute if each.HasField("t"))
            elif node.op_type == "If":
                waiting += [each.g for each in node.attribute if each.HasField("g")]
