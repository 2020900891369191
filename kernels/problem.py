"""A problem is one layer's arithmetic as a value: it validates itself, prints, re-reads itself and counts its own work.

`Conv` and `Pool` are frozen and hashable; `str(problem)` is one line that `parse` turns back into the same value, so a test, a
benchmark and a bug report name a problem the same way. Everything is canonical here: two spatial axes (h, w), of which a 1-D
operation has h = 1, channels first, cross-correlation, padding as (before, after) pairs of integers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Self

from kernels.errors import ProblemError

Size = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "gelu", "gelu_tanh", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid")
DTYPES = {"float32": 4, "float64": 8}


def dilated(kernel: int, dilation: int) -> int:
    """Input positions from a dilated kernel's first tap to its last, both included."""
    return (kernel - 1) * dilation + 1


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1, *, lower: bool = False) -> tuple[int, int]:
    """(before, after) that gives ceil(size / stride) outputs along one axis; the odd one goes after, or before if `lower`.

    The formula is TensorFlow's SAME and ONNX's SAME_UPPER (SAME_LOWER): max((ceil(n/s) - 1)*s + (k - 1)*d + 1 - n, 0) in all.
    """
    total = max((-(-size // stride) - 1) * stride + dilated(kernel, dilation) - size, 0)
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


def _x(values: tuple[int, ...]) -> str:
    return "x".join(map(str, values))


def _ints(text: str) -> Size:
    return tuple(int(part) for part in text.split("x"))


def _pads(padding: Pairs) -> str:
    return "x".join(f"{before}+{after}" for before, after in padding)


def _pairs(text: str) -> Pairs:
    return tuple((int(part.split("+")[0]), int(part.split("+")[1])) for part in text.split("x"))


@dataclasses.dataclass(frozen=True)
class _Window:
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
        self._at_least("batch", self.n, 0)
        self._at_least("channels", self.c_in, 1)
        if self.dtype not in DTYPES:
            raise ProblemError(f"{self.op}: dtype {self.dtype!r} is not computed; use one of {', '.join(DTYPES)}")
        for values in (self.kernel, self.stride, self.padding, self.dilation):
            if len(values) != len(self.size):
                raise ProblemError(f"{self.op}: {values} has {len(values)} entries for {len(self.size)} spatial axes")
        for i, axis in enumerate(self.axes):
            self._at_least(f"axis {axis}: input", self.size[i], 1)
            self._at_least(f"axis {axis}: kernel", self.kernel[i], 1)
            self._at_least(f"axis {axis}: stride", self.stride[i], 1)
            self._at_least(f"axis {axis}: dilation", self.dilation[i], 1)
            self._at_least(f"axis {axis}: padding", min(self.padding[i]), 0)
            have, need = self.size[i] + sum(self.padding[i]), dilated(self.kernel[i], self.dilation[i])
            if have < need:
                raise ProblemError(
                    f"{self.op}: axis {axis}: input {self.size[i]} + padding {self.padding[i]} is shorter than the dilated kernel {need} "
                    f"(kernel {self.kernel[i]}, dilation {self.dilation[i]}); use padding of at least {need - self.size[i]} "
                    f'(both sides together), e.g. padding="same"'
                )

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

    @property
    def taps(self) -> int:
        """Positions in one kernel window."""
        return math.prod(self.kernel)

    @property
    def in_bytes(self) -> int:
        """Bytes of the input."""
        return math.prod(self.x_shape) * self.itemsize


@dataclasses.dataclass(frozen=True)
class Conv(_Window):
    """A convolution layer: y[n, j, oh, ow] = bias[j] + sum over c, kh, kw of weight[j, c, kh, kw] * x[n, c, oh*s - p + kh*d, …].

    `bias` and `scale` say whether a bias and a scale-and-shift per output channel follow; `activation` is (name, slope) and `pool` is
    (kind, kernel, stride), applied last. Raises ProblemError where the arguments make no layer.
    """

    c_out: int
    groups: int = 1
    bias: bool = False
    scale: bool = False
    activation: tuple[str, float] | None = None
    pool: tuple[str, Size, Size] | None = None

    def __post_init__(self) -> None:
        self._at_least("groups", self.groups, 1)
        self._at_least("output channels", self.c_out, 1)
        for name, channels in (("input", self.c_in), ("output", self.c_out)):
            if channels % self.groups:
                raise ProblemError(
                    f"{self.op}: {channels} {name} channels do not divide into groups={self.groups} "
                    f"({channels} % {self.groups} = {channels % self.groups}); use a divisor of {channels}"
                )
        self._check()
        if self.activation and self.activation[0] not in ACTIVATIONS:
            raise ProblemError(f"{self.op}: activation {self.activation[0]!r} is not known; use one of {', '.join(ACTIVATIONS)}")
        if self.pool:
            pool_problem(self)  # raises where the window does not fit

    @property
    def conv_size(self) -> Size:
        """Spatial size of the convolution's own output, before `pool`."""
        return tuple(
            (n + before + after - dilated(k, d)) // s + 1
            for n, k, s, (before, after), d in zip(self.size, self.kernel, self.stride, self.padding, self.dilation)
        )

    @property
    def conv_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's own output, before `pool`."""
        return (self.n, self.c_out, *self.conv_size)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the canonical output."""
        return pool_problem(self).out_shape if self.pool else self.conv_shape

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the canonical weights."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @property
    def summands(self) -> int:
        """Products summed into one output value."""
        return self.c_in // self.groups * self.taps

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two per multiply-add, padding taps included."""
        return 2 * math.prod(self.conv_shape) * self.summands

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that must move whatever the method: input, weights and bias read once, output written once."""
        numbers = math.prod(self.weight_shape) + self.c_out * (self.bias + 2 * self.scale) + math.prod(self.out_shape)
        return self.in_bytes + numbers * self.itemsize

    def bare(self) -> Self:
        """The same convolution with its bias but without the rest of the epilogue."""
        return dataclasses.replace(self, scale=False, activation=None, pool=None)

    def __str__(self) -> str:
        words = [self.op, f"n{self.n}", f"c{self.c_in}", _x(self.size), "->", f"c{self.c_out}", f"k{_x(self.kernel)}"]
        words += [f"s{_x(self.stride)}", f"p{_pads(self.padding)}", f"d{_x(self.dilation)}", f"g{self.groups}"]
        words += ["bias"] * self.bias + ["scale"] * self.scale
        if self.activation:
            words.append(f"{self.activation[0]}:{self.activation[1]!r}")
        if self.pool:
            words.append(f"pool:{self.pool[0]}:{_x(self.pool[1])}:{_x(self.pool[2])}")
        return " ".join([*words, self.dtype])


@dataclasses.dataclass(frozen=True)
class Pool(_Window):
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
        if self.divisor_override is not None and self.divisor_override < 1:
            raise ProblemError(f"{self.op}: divisor_override is {self.divisor_override}, must be at least 1")

    @property
    def kind(self) -> str:
        """"max" or "avg"."""
        return self.op[:3]

    @property
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

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the canonical output."""
        return (self.n, self.c_in, *self.out_size)

    @property
    def flops(self) -> int:
        """Comparisons or additions of the definition: one per tap."""
        return math.prod(self.out_shape) * self.taps

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that must move whatever the method: input read once, output (and 8-byte indices) written once."""
        return self.in_bytes + math.prod(self.out_shape) * (self.itemsize + 8 * self.return_indices)

    def __str__(self) -> str:
        words = [self.op, f"n{self.n}", f"c{self.c_in}", _x(self.size), "->", f"k{_x(self.kernel)}", f"s{_x(self.stride)}"]
        words += [f"p{_pads(self.padding)}", f"d{_x(self.dilation)}"] + ["ceil"] * self.ceil_mode
        words += ["exclude_pad"] * (not self.count_include_pad) + ["indices"] * self.return_indices
        if self.divisor_override is not None:
            words.append(f"divisor:{self.divisor_override}")
        return " ".join([*words, self.dtype])


Problem = Conv | Pool


def pool_problem(conv: Conv) -> Pool:
    """The pooling layer at the end of a convolution's epilogue."""
    assert conv.pool is not None
    kind, kernel, stride = conv.pool
    flat = len(kernel)
    return Pool(
        f"{kind}_pool{conv.op[-2:]}", conv.n, conv.c_out, conv.conv_size, kernel, stride, ((0, 0),) * flat, (1,) * flat, conv.dtype
    )


def parse(text: str) -> Problem:
    """The problem that a line printed by `str(problem)` names. Raises ProblemError for anything else.

    >>> parse("conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32").out_shape
    (1, 64, 96, 64)
    """
    try:
        head, tail = text.split(" -> ")
        op, n, c_in, size = head.split()
        *words, dtype = tail.split()
        fields: dict[str, object] = {"op": op, "n": int(n[1:]), "c_in": int(c_in[1:]), "size": _ints(size), "dtype": dtype}
        flags = {"bias": ("bias", True), "scale": ("scale", True), "ceil": ("ceil_mode", True)}
        flags |= {"exclude_pad": ("count_include_pad", False), "indices": ("return_indices", True)}
        for word in words:
            if word in flags:
                fields[flags[word][0]] = flags[word][1]
            elif word.startswith("pool:"):
                kind, kernel, stride = word.split(":")[1:]
                fields["pool"] = (kind, _ints(kernel), _ints(stride))
            elif word.startswith("divisor:"):
                fields["divisor_override"] = int(word.split(":")[1])
            elif ":" in word:
                fields["activation"] = (word.split(":")[0], float(word.split(":")[1]))
            elif word[0] == "p":
                fields["padding"] = _pairs(word[1:])
            elif word[0] in "ksd":
                fields[{"k": "kernel", "s": "stride", "d": "dilation"}[word[0]]] = _ints(word[1:])
            else:
                fields[{"c": "c_out", "g": "groups"}[word[0]]] = int(word[1:])
        return (Conv if op.startswith("conv") else Pool)(**fields)  # type: ignore[arg-type]
    except ProblemError:
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:
        example = "conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32"
        raise ProblemError(f"not a problem: {text!r}; a problem reads like {example!r}") from error
