"""Pooling layers as values: `Pool`, whose windows are all alike, and `AdaptivePool`, whose windows share out the input."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from kernels.problem.errors import ProblemError
from kernels.problem.window import LARGEST, Planes, Size, Window, by_x, dilated, pads
from kernels.runtime.locks import cached_property


class Pooling(Planes):
    """What every pooling layer has: the outputs of its windows, and what they cost."""

    return_indices: bool
    if TYPE_CHECKING:  # fields of some, properties of others

        @property
        def out_size(self) -> Size: ...

        @property
        def taps(self) -> int: ...

    @property
    def kind(self) -> str:
        """"max" or "avg"."""
        return self.op.removeprefix("adaptive_")[:3]

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the canonical output."""
        return (self.n, self.c_in, *self.out_size)

    @property
    def flops(self) -> int:
        """Comparisons or additions of the definition: one per tap, adaptive windows counted as if all were as large as the largest."""
        return math.prod(self.out_shape) * self.taps

    @cached_property
    def compulsory_bytes(self) -> int:
        """Bytes that must move whatever the method: input read once, output (and 8-byte indices) written once."""
        return self.in_bytes + math.prod(self.out_shape) * (self.itemsize + 8 * self.return_indices)


@dataclasses.dataclass(frozen=True)
class Pool(Pooling, Window):
    """A pooling layer over each plane: the maximum or the average of a window; `op` starts with max_pool or avg_pool.

    Raises ProblemError where the arguments make no layer.
    """

    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None
    return_indices: bool = False

    def __post_init__(self) -> None:
        self._check()
        for i, axis in enumerate(self.axes):
            if max(self.padding[i]) >= dilated(self.kernel[i], self.dilation[i]):
                raise ProblemError(
                    f"{self.op}: axis {axis}: padding {self.padding[i]} reaches past the whole dilated kernel "
                    f"{dilated(self.kernel[i], self.dilation[i])}, so a window would see no input; use less padding than that"
                )
        if self.divisor_override is not None and not 0 < abs(self.divisor_override) <= LARGEST:
            raise ProblemError(f"{self.op}: divisor_override is {self.divisor_override}, must not be 0, nor beyond {LARGEST}")

    def _overhang(self, axis: int) -> int:
        return self.stride[axis] - 1 if self.ceil_mode else 0

    @cached_property
    def out_size(self) -> Size:
        """Spatial size of the output. With `ceil_mode` the last window may overhang but starts inside input or leading padding."""
        result = []
        for n, k, s, (before, after), d in zip(self.size, self.kernel, self.stride, self.padding, self.dilation):
            room = n + before + after - dilated(k, d)
            if self.ceil_mode:
                last = -(-room // s)
                result.append(last + 1 if last * s < n + before else last)
            else:
                result.append(room // s + 1)
        return tuple(result)

    def __str__(self) -> str:
        words = [self.op, f"n{self.n}", f"c{self.c_in}", by_x(self.size), "->", f"k{by_x(self.kernel)}", f"s{by_x(self.stride)}"]
        words += [f"p{pads(self.padding)}", f"d{by_x(self.dilation)}"] + ["ceil"] * self.ceil_mode
        words += ["exclude_pad"] * (not self.count_include_pad) + ["indices"] * self.return_indices
        if self.divisor_override is not None:
            words.append(f"divisor:{self.divisor_override}")
        return " ".join([*words, self.dtype])


def adaptive_window(size: Any, outputs: Any, i: Any) -> tuple[Any, Any]:
    """(first, after the last) input of window i of `outputs` that share one axis out, as PyTorch's adaptive pools do; i may be an array."""
    return i * size // outputs, -(-(i + 1) * size // outputs)


@dataclasses.dataclass(frozen=True)
class AdaptivePool(Pooling):
    """A pooling layer to a given output size whose windows differ in length; `op` starts with adaptive_max_pool or adaptive_avg_pool.

    Where the windows are equal it is a `Pool`. Raises ProblemError where the arguments make no layer.
    """

    op: str
    n: int
    c_in: int
    size: Size
    out_size: Size
    dtype: str
    return_indices: bool = False

    def __post_init__(self) -> None:
        self._check_planes()
        if len(self.out_size) != len(self.size):
            raise ProblemError(f"{self.op}: output_size {self.out_size} needs {len(self.size)} entries, one per spatial axis")
        for axis, length in zip(self.axes, self.out_size):
            self._at_least(f"axis {axis}: output_size", length, 1)

    @property
    def taps(self) -> int:
        """Positions in the largest window: with size/outputs = a/b in lowest terms, the one that starts b - 1 b-ths into a position."""
        lowest = [(n // math.gcd(n, o), o // math.gcd(n, o)) for n, o in zip(self.size, self.out_size)]
        return math.prod((a + 2 * b - 2) // b for a, b in lowest)

    def __str__(self) -> str:
        words = [self.op, f"n{self.n}", f"c{self.c_in}", by_x(self.size), "->", f"o{by_x(self.out_size)}"]
        return " ".join([*words, *["indices"] * self.return_indices, self.dtype])
