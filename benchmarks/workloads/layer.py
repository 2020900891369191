"""A workload: one convolution or pooling layer as a value.

It knows its shapes, counts its own work and says which signal its input comes from. It knows no contender. Arrays are channels
first; 1-D layers have height 1 in the catalogue and lose that axis in `x_shape`, `weight_shape` and `out_shape`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
FLOAT = 4  # bytes; the suite runs float32
LONG = 2048  # taps along an axis; a kernel of more is itself shortened in a smaller layer of its kind


@dataclass(frozen=True)
class Workload:
    """One layer: sizes, stride, padding (before, after), dilation, groups, and where its numbers were read."""

    id: str
    model: str
    layer: str
    op: str
    n: int
    c_in: int
    h: int
    w: int
    c_out: int
    kh: int
    kw: int
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]
    dilation: tuple[int, int]
    groups: int
    bias: bool
    axes: str  # what h and w are, e.g. "freq,time"
    input: tuple[tuple[str, Any], ...] | None = None  # the front end of a first layer, as items; None: seeded normal values
    core: bool = False
    note: str = ""
    source: str = ""
    batch: int = 1  # how often the catalogue's own n was multiplied
    count: int = 1  # how often a user's model has this layer
    ceil_mode: bool = False  # of pools: a last window may overhang, but starts inside input or leading padding
    count_include_pad: bool = True  # of averages: whether padding counts as values; an overhang never does
    denormals: bool = False  # the second half of each channel has faded below float32's smallest normal number

    @property
    def dims(self) -> int:
        """1 or 2: the spatial axes its arrays have."""
        return 1 if self.op.endswith("1d") else 2

    @property
    def is_conv(self) -> bool:
        return self.op.startswith("conv")

    @property
    def is_transposed(self) -> bool:
        return self.op.startswith("conv_transpose")

    @property
    def is_max(self) -> bool:
        return "max" in self.op

    @property
    def is_global(self) -> bool:
        return self.op.startswith("global")

    @property
    def oh(self) -> int:
        return self._out(0)

    @property
    def ow(self) -> int:
        return self._out(1)

    def _out(self, axis: int) -> int:
        length, kernel = ((self.h, self.kh), (self.w, self.kw))[axis]
        stride, dilation, pads = self.stride[axis], self.dilation[axis], sum(self.padding[axis])
        if self.is_transposed:
            return (length - 1) * stride - pads + dilation * (kernel - 1) + 1
        if self.is_global:
            return 1
        if self.ceil_mode:
            last = -(-(length + pads - dilation * (kernel - 1) - 1) // stride)
            return last + (last * stride < length + self.padding[axis][0])
        return (length + pads - dilation * (kernel - 1) - 1) // stride + 1

    @property
    def output_padding(self) -> tuple[int, int]:
        """Of transposed layers: what they add at the end of each axis, which here is a negative crop."""
        return max(0, -self.padding[0][1]), max(0, -self.padding[1][1])

    @property
    def x_shape(self) -> tuple[int, ...]:
        return (self.n, self.c_in, *(self.h, self.w)[-self.dims :])

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (self.n, self.c_out, *(self.oh, self.ow)[-self.dims :])

    @property
    def weight_shape(self) -> tuple[int, ...] | None:
        if not self.is_conv:
            return None
        kernel = (self.kh, self.kw)[-self.dims :]
        if self.is_transposed:
            return (self.c_in, self.c_out // self.groups, *kernel)
        return (self.c_out, self.c_in // self.groups, *kernel)

    @property
    def terms(self) -> int:
        """How many products or values one output sums: the K of its rounding error."""
        return self.kh * self.kw * (self.c_in // self.groups if self.is_conv else 1)

    @property
    def summed(self) -> int:
        """How many terms one number of the answer sums."""
        return self.terms

    @property
    def parts(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the arrays that the answer holds."""
        return (self.out_shape,)

    @property
    def flops(self) -> int:
        """Two per multiply-add, one per pooled value; taps on padding count."""
        if self.is_transposed:
            return 2 * self.n * self.c_in * self.h * self.w * (self.c_out // self.groups) * self.kh * self.kw
        return (2 if self.is_conv else 1) * self.n * self.c_out * self.oh * self.ow * self.terms

    @property
    def bytes(self) -> int:
        """Compulsory traffic: input, weights, bias read once, output written once."""
        sizes = self.n * self.c_in * self.h * self.w + self.n * self.c_out * self.oh * self.ow
        if self.is_conv:
            sizes += self.c_in * self.c_out // self.groups * self.kh * self.kw + (self.c_out if self.bias else 0)
        return FLOAT * sizes

    def describe(self) -> str:
        """A line for people; results carry the library's own problem text where it has the operation."""
        text = f"{self.op} {'x'.join(map(str, self.x_shape))} -> {'x'.join(map(str, self.out_shape))} kernel {self.kh}x{self.kw}"
        plain = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
        for name, usual in plain.items():
            text += f" {name} {getattr(self, name)}" if getattr(self, name) != usual else ""
        return text

    def about(self) -> dict[str, str]:
        """Where it is from and what it hears, for people who read results."""
        front = ", ".join(f"{name} {value}" for name, value in self.input or ())
        return {"model": self.model, "layer": self.layer, "axes": self.axes, "input": front or "seeded normal values",
                "note": self.note, "source": self.source}  # fmt: skip

    def batched(self, batch: int) -> Workload:
        """The same layer over `batch` times as many inputs."""
        return replace(self, n=self.n * batch, batch=self.batch * batch)

    def cut(self, flops: int, *, spatial: bool = True) -> Workload:
        """The same kind of layer with about `flops` of work or fewer: channels halved first, then what `shorter` takes (if `spatial`).

        Stride, dilation and all but very long kernels stay, so one product costs what it did; `input` becomes seeded normal values.
        """
        small = replace(self, input=None)
        while small.flops > flops and small.groups > 1:  # whole groups go, so that each keeps its channels
            half = small.groups // 2
            small = replace(small, groups=half, c_in=small.c_in // small.groups * half, c_out=small.c_out // small.groups * half)
        while small.flops > flops and self.is_conv and small.c_out > 1:
            small = replace(small, c_out=small.c_out // 2)
        while small.flops > flops and small.c_in > 1:
            small = replace(small, c_in=small.c_in // 2, c_out=small.c_out if self.is_conv else small.c_in // 2)
        while small.flops > flops and small.n > 1:
            small = replace(small, n=small.n // 2)
        return small.shorter(flops) if spatial else small

    def shorter(self, flops: int) -> Workload:
        """The same layer with about `flops` of work or fewer: the batch halved first, then kernels of more than LONG taps, then the map."""
        small = replace(self, input=None)
        while small.flops > flops and small.n > 1:
            small = replace(small, n=small.n // 2)
        if self.is_global or self.is_transposed:
            return small
        while small.flops > flops and max(small.kh, small.kw) > LONG:
            axis = 0 if small.kh > small.kw else 1
            half = (small.padding[axis][0] // 2, small.padding[axis][1] // 2)
            small = replace(small, kh=small.kh // 2, padding=(half, small.padding[1])) if axis == 0 else replace(
                small, kw=small.kw // 2, padding=(small.padding[0], half)
            )  # fmt: skip
        while small.flops > flops and max(small.oh, small.ow) > 1:
            axis = 0 if small.oh >= small.ow else 1
            span = small.dilation[axis] * ((small.kh, small.kw)[axis] - 1) + 1
            length = ((small.oh, small.ow)[axis] // 2 - 1) * small.stride[axis] + span
            length = max(1, length - sum(small.padding[axis]))
            if length >= (small.h, small.w)[axis]:  # all padding: it cannot get shorter
                break
            small = replace(small, h=length) if axis == 0 else replace(small, w=length)
        return small


def from_row(row: dict[str, Any]) -> Workload:
    """A Workload from a row of the catalogue."""
    return Workload(
        id=row["id"], model=row["model"], layer=row["layer"], op=row["op"], n=row["n"], c_in=row["c_in"], h=row["h"], w=row["w"],
        c_out=row["c_out"], kh=row["kh"], kw=row["kw"], stride=(row["sh"], row["sw"]),
        padding=((row["ph"], row["ph_end"]), (row["pw"], row["pw_end"])), dilation=(row["dh"], row["dw"]), groups=row["groups"],
        bias=bool(row["bias"]), axes=row["axes"], core=row["core"], note=row["note"], source=row["source"], count=row.get("count", 1),
        ceil_mode=row.get("ceil_mode", False), count_include_pad=row.get("count_include_pad", True),
        input=None if row["input"] is None else tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in row["input"].items()),
    )  # fmt: skip
