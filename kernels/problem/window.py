"""What every problem has: planes or volumes of one size and dtype, and a window that slides over them."""

from __future__ import annotations

import dataclasses
import math

from kernels.problem.errors import ProblemError, shown
from kernels.runtime.locks import cached_property

Size = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

DTYPES = {"float32": 4, "float64": 8}
COMPUTED = {size: name for name, size in DTYPES.items()}  # their names by bytes, which NumPy takes 2 us to spell
LARGEST = 1 << 40  # of numbers that memory does not bound: a step times the lanes of a vector and their size must fit 64 bits


def dilated(kernel: int, dilation: int) -> int:
    """Input positions from a dilated kernel's first tap to its last, both included."""
    return (kernel - 1) * dilation + 1


def by_x(values: tuple[int, ...]) -> str:
    """2x3 for (2, 3)."""
    return "x".join(map(str, values))


def pads(padding: Pairs) -> str:
    """1+0x2+3 for ((1, 0), (2, 3))."""
    return "x".join(f"{before}+{after}" for before, after in padding)


class Planes:
    """What every problem has: n x c_in planes (or volumes) of one size and dtype."""

    op: str
    n: int
    c_in: int
    size: Size
    dtype: str

    def _check_planes(self) -> None:
        self._at_least("batch", self.n, 0)
        self._at_least("channels", self.c_in, 1)
        if self.dtype not in DTYPES:
            raise ProblemError(f"{self.op}: dtype {shown(self.dtype)} is not computed; use one of {', '.join(DTYPES)}")
        for axis, length in zip(self.axes, self.size):
            self._at_least(f"axis {axis}: input", length, 1)

    def _at_least(self, what: str, value: int, least: int) -> None:
        if value < least:
            raise ProblemError(f"{self.op}: {what} is {value}, must be at least {least}")

    @property
    def axes(self) -> str:
        """Names of the spatial axes, in order."""
        return "DHW"[-len(self.size) :]

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return DTYPES[self.dtype]

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the canonical input."""
        return (self.n, self.c_in, *self.size)

    @cached_property
    def in_bytes(self) -> int:
        """Bytes of the input."""
        return math.prod(self.x_shape) * self.itemsize

    @property
    def padded_bytes(self) -> int:
        """Bytes of the input with its padding, which windows slide over."""
        return self.in_bytes


@dataclasses.dataclass(frozen=True)
class Window(Planes):
    """What convolution and pooling share: a window that slides over the spatial axes of n x c_in planes."""

    op: str
    n: int
    c_in: int
    size: Size
    kernel: Size
    stride: Size
    padding: Pairs
    dilation: Size
    dtype: str

    def _check(self) -> None:
        self._check_planes()
        for values in (self.kernel, self.stride, self.padding, self.dilation):
            if len(values) != len(self.size):
                raise ProblemError(f"{self.op}: {values} has {len(values)} entries for {len(self.size)} spatial axes")
        for i, axis in enumerate(self.axes):
            self._at_least(f"axis {axis}: kernel", self.kernel[i], 1)
            self._at_least(f"axis {axis}: stride", self.stride[i], 1)
            self._at_least(f"axis {axis}: dilation", self.dilation[i], 1)
            self._at_least(f"axis {axis}: padding", min(self.padding[i]), 0)
            if max(self.stride[i], self.dilation[i]) > LARGEST:
                steps = f"stride {self.stride[i]}, dilation {self.dilation[i]}"
                raise ProblemError(f"{self.op}: axis {axis}: {steps} must be at most {LARGEST}")
        self._check_reach()

    def _overhang(self, axis: int) -> int:
        """How far the first window may reach past the padded input."""
        return 0

    def _check_reach(self) -> None:
        """The window must fit into the padded input."""
        for i, axis in enumerate(self.axes):
            have, need = self.size[i] + sum(self.padding[i]), dilated(self.kernel[i], self.dilation[i])
            if have + self._overhang(i) < need:
                raise ProblemError(
                    f"{self.op}: axis {axis}: input {self.size[i]} + padding {self.padding[i]} is shorter than the dilated kernel {need} "
                    f"(kernel {self.kernel[i]}, dilation {self.dilation[i]}); use padding of at least {need - self.size[i]} "
                    f'(both sides together), e.g. padding="same"'
                )

    @cached_property
    def taps(self) -> int:
        """Positions in one kernel window."""
        return math.prod(self.kernel)

    @property
    def padded_bytes(self) -> int:
        """Bytes of the input with its padding, which windows slide over."""
        return self.n * self.c_in * math.prod(n + sum(pair) for n, pair in zip(self.size, self.padding)) * self.itemsize


def reach(problem: Window, rows: int, columns: int) -> tuple[int, int]:
    """Input rows and columns, padding included, that a block of outputs reads."""
    axes = zip((rows, columns), problem.stride, problem.kernel, problem.dilation)
    bed_h, bed_w = ((count - 1) * step + dilated(kernel, dilation) for count, step, kernel, dilation in axes)
    return bed_h, bed_w
