"""A problem is one layer's arithmetic as a value: it validates itself, prints, re-reads itself and counts its own work.

All are frozen and hashable; `str(problem)` is one line that `parse` turns back into the same value, so a test, a benchmark and a bug
report name a problem the same way. Everything is canonical here: two spatial axes (h, w), of which a 1-D operation has h = 1, or three (d,
h, w), channels first, cross-correlation, padding as (before, after) pairs of integers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

from kernels.problem.accuracy import ACCURACIES, PRECISIONS
from kernels.problem.errors import ProblemError, meant, shown
from kernels.problem.pool import AdaptivePool, Pool, adaptive_window
from kernels.problem.window import DTYPES, Pairs, Size, Window, by_x, dilated, pads
from kernels.runtime.locks import cached_property

__all__ = [
    "ACTIVATIONS", "DTYPES", "AdaptivePool", "Conv", "ConvTranspose", "ConvWeight", "Pairs", "Pool", "Problem", "Size",
    "adaptive_window", "dilated", "parse", "pool_problem", "same_padding",
]  # fmt: skip

ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "gelu", "gelu_tanh", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid")


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1, *, lower: bool = False) -> tuple[int, int]:
    """(before, after) that gives ceil(size / stride) outputs along one axis; the odd one goes after, or before if `lower`.

    The formula is TensorFlow's SAME and ONNX's SAME_UPPER (SAME_LOWER): max((ceil(n/s) - 1)*s + (k - 1)*d + 1 - n, 0) in all.
    """
    total = max((-(-size // stride) - 1) * stride + dilated(kernel, dilation) - size, 0)
    return (total - total // 2, total // 2) if lower else (total // 2, total - total // 2)


def _ints(text: str) -> Size:
    return tuple(int(part) for part in text.split("x"))


def _pairs(text: str) -> Pairs:
    return tuple((int(part.split("+")[0]), int(part.split("+")[1])) for part in text.split("x"))


@dataclasses.dataclass(frozen=True)
class Conv(Window):
    """A convolution layer: y[n, j, oh, ow] = bias[j] + sum over c, kh, kw of weight[j, c, kh, kw] * x[n, c, oh*s - p + kh*d, …].

    `bias` and `scale` say whether a bias and a scale-and-shift per output channel follow; `activation` is (name, slope) and `pool` is
    (kind, kernel, stride), applied last. `accuracy` is what errors are shares of: "largest", the largest output, or "each", every output's
    own products, which only methods meet that sum those alone. `precision` is what factors may be rounded to: "bfloat16", or None, not at
    all. Raises ProblemError where the arguments make no layer.
    """

    c_out: int
    groups: int = 1
    bias: bool = False
    scale: bool = False
    activation: tuple[str, float] | None = None
    pool: tuple[str, Size, Size] | None = None
    accuracy: str = "largest"
    precision: str | None = None

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
            known = ", ".join(ACTIVATIONS) + meant(self.activation[0], ACTIVATIONS, {"swish": "silu", "lrelu": "leaky_relu"})
            raise ProblemError(f"{self.op}: activation {shown(self.activation[0])} is not known; use one of {known}")
        if self.accuracy not in ACCURACIES:
            raise ProblemError(f"{self.op}: accuracy is {shown(self.accuracy)}, must be {' or '.join(map(repr, ACCURACIES))}")
        if self.precision not in (None, *PRECISIONS) or (self.precision and self.dtype != "float32"):
            known = " or ".join(map(repr, PRECISIONS))
            raise ProblemError(f"{self.op}: precision is {shown(self.precision)}, must be None or, of float32, {known}")
        if self.pool:
            pool_problem(self)  # raises where the window does not fit

    @cached_property
    def conv_size(self) -> Size:
        """Spatial size of the convolution's own output, before `pool`."""
        return tuple(
            (n + before + after - dilated(k, d)) // s + 1
            for n, k, s, (before, after), d in zip(self.size, self.kernel, self.stride, self.padding, self.dilation)
        )

    @cached_property
    def conv_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's own output, before `pool`."""
        return (self.n, self.c_out, *self.conv_size)

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the canonical output."""
        return pool_problem(self).out_shape if self.pool else self.conv_shape

    @cached_property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the canonical weights."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @cached_property
    def summands(self) -> int:
        """Products summed into one output value."""
        return self.c_in // self.groups * self.taps

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two per multiply-add, padding taps included."""
        return 2 * math.prod(self.conv_shape) * self.summands

    @cached_property
    def compulsory_bytes(self) -> int:
        """Bytes that must move whatever the method: input, weights and bias read once, output written once."""
        numbers = math.prod(self.weight_shape) + self.c_out * (self.bias + 2 * self.scale) + math.prod(self.out_shape)
        return self.in_bytes + numbers * self.itemsize

    @property
    def is_bare(self) -> bool:
        """Whether nothing follows but a bias."""
        return not (self.scale or self.activation or self.pool)

    def bare(self) -> Self:
        """The same convolution with its bias but without the rest of the epilogue."""
        return dataclasses.replace(self, scale=False, activation=None, pool=None)

    def __str__(self) -> str:
        words = [self.op, f"n{self.n}", f"c{self.c_in}", by_x(self.size), "->", f"c{self.c_out}", f"k{by_x(self.kernel)}"]
        words += [f"s{by_x(self.stride)}", f"p{pads(self.padding)}", f"d{by_x(self.dilation)}", f"g{self.groups}"]
        words += self._more() + ["bias"] * self.bias + ["scale"] * self.scale
        if self.activation:
            words.append(f"{self.activation[0]}:{self.activation[1]!r}")
        if self.pool:
            words.append(f"pool:{self.pool[0]}:{by_x(self.pool[1])}:{by_x(self.pool[2])}")
        words += ["each"] * (self.accuracy == "each")
        words += [self.precision] if self.precision else []
        return " ".join([*words, self.dtype])

    def _more(self) -> list[str]:
        return []


@dataclasses.dataclass(frozen=True)
class ConvTranspose(Conv):
    """A transposed convolution: x[n, c, h, w] adds weight[c, j, kh, kw] times itself to y[n, j, h*s - p + kh*d, …].

    Bias and the rest follow. It is the adjoint of the convolution with the same numbers. `padding` crops the sum (before, after),
    `output_padding` lengthens it at the end. Raises ProblemError where the arguments make no layer.
    """

    output_padding: Size = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        axes = zip(self.size, self.kernel, self.stride, self.dilation, self.output_padding)
        taken = tuple(s if n > 1 else min(s, dilated(k, d) + more) for n, k, s, d, more in axes)  # of one input, nobody takes a longer step
        object.__setattr__(self, "stride", taken)

    def _check_reach(self) -> None:
        if len(self.output_padding) != len(self.size):
            raise ProblemError(f"{self.op}: output_padding {self.output_padding} needs {len(self.size)} entries, one per spatial axis")
        for i, axis in enumerate(self.axes):
            more, least = self.output_padding[i], max(self.stride[i], self.dilation[i])
            self._at_least(f"axis {axis}: output_padding", more, 0)
            if more >= least:
                raise ProblemError(
                    f"{self.op}: axis {axis}: output_padding is {more}, must be smaller than stride {self.stride[i]} or "
                    f"dilation {self.dilation[i]}; use at most {least - 1}"
                )
            if self.conv_size[i] < 1:
                full = self.conv_size[i] + sum(self.padding[i])
                raise ProblemError(
                    f"{self.op}: axis {axis}: padding {self.padding[i]} leaves nothing of the {full} outputs "
                    f"((input {self.size[i]} - 1) * stride {self.stride[i]} + dilated kernel {dilated(self.kernel[i], self.dilation[i])} "
                    f"+ output_padding {more}); use padding of at most {full - 1} (both sides together)"
                )

    @cached_property
    def conv_size(self) -> Size:
        """Spatial size of the output, before `pool`."""
        return tuple(
            (n - 1) * s - before - after + dilated(k, d) + more
            for n, k, s, (before, after), d, more in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, self.output_padding
            )
        )

    @property
    def padded_bytes(self) -> int:
        """Bytes of the input; what padding crops is never held."""
        return self.in_bytes

    @cached_property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the canonical weights."""
        return (self.c_in, self.c_out // self.groups, *self.kernel)

    @cached_property
    def summands(self) -> int:
        """Products summed into one output value, at most: along an axis every stride-th tap meets it."""
        steps = (s // math.gcd(s, d) for s, d in zip(self.stride, self.dilation))
        return self.c_in // self.groups * math.prod(-(-k // step) for k, step in zip(self.kernel, steps))

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two for each input value, output channel and tap, cropped ones included."""
        return 2 * math.prod(self.x_shape) * (self.c_out // self.groups) * self.taps

    def _more(self) -> list[str]:
        return [f"o{by_x(self.output_padding)}"]


@dataclasses.dataclass(frozen=True)
class ConvWeight(Conv):
    """The gradient of a convolution with respect to its weights: dweight[j, c, kh, kw] = sum over n, oh, ow of g[n, j, oh, ow] *
    x[n, c, oh*s - p + kh*d, …], x being the layer's input and g the gradient of its output. `op` is the layer's with "_weight" after it.

    It is computed like a convolution of x by a kernel as large as the map, which is what g is: `weight_shape` is the shape of g,
    `out_shape` that of the weights. A transposed layer's is the same with x and g exchanged. Raises ProblemError where the arguments make
    no layer.
    """

    @cached_property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the gradient of the layer's output."""
        return self.conv_shape

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result, that of the layer's weights."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @cached_property
    def summands(self) -> int:
        """Products summed into one number of the result."""
        return self.n * math.prod(self.conv_size)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition, as many as the layer's: two per multiply-add, padding taps included."""
        return 2 * math.prod(self.conv_shape) * self.c_in // self.groups * self.taps


Problem = Conv | Pool | AdaptivePool


def pool_problem(conv: Conv) -> Pool:
    """The pooling layer at the end of a convolution's epilogue."""
    assert conv.pool is not None
    kind, kernel, stride = conv.pool
    flat = len(kernel)
    return Pool(
        op=f"{kind}_pool{conv.op[-2:]}", n=conv.n, c_in=conv.c_out, size=conv.conv_size, kernel=kernel, stride=stride,
        padding=((0, 0),) * flat, dilation=(1,) * flat, dtype=conv.dtype,
    )  # fmt: skip


def linear_problem(n: int, c_in: int, positions: int, c_out: int, dtype: str, *, op: str = "linear", **options: Any) -> Conv:
    """A product along the channels, as a convolution of one tap over one row of positions; options: further fields of Conv."""
    return Conv(
        op=op, n=n, c_in=c_in, size=(1, positions), kernel=(1, 1), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), dtype=dtype,
        c_out=c_out, **options,
    )  # fmt: skip


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
        adaptive = op.startswith("adaptive")
        flags: dict[str, tuple[str, object]] = {"bias": ("bias", True), "scale": ("scale", True), "ceil": ("ceil_mode", True)}
        flags |= {"each": ("accuracy", "each"), "exclude_pad": ("count_include_pad", False), "indices": ("return_indices", True)}
        flags |= {name: ("precision", name) for name in PRECISIONS}
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
            elif word[0] in "ksdo":
                names = {"k": "kernel", "s": "stride", "d": "dilation", "o": "out_size" if adaptive else "output_padding"}
                fields[names[word[0]]] = _ints(word[1:])
            else:
                fields[{"c": "c_out", "g": "groups"}[word[0]]] = int(word[1:])
        if op.endswith("_weight"):
            return ConvWeight(**fields)  # type: ignore[arg-type]
        if op.startswith("conv"):
            return (ConvTranspose if op.startswith("conv_transpose") else Conv)(**fields)  # type: ignore[arg-type]
        return (AdaptivePool if adaptive else Pool)(**fields)  # type: ignore[arg-type]
    except ProblemError:
        raise
    except (AttributeError, ValueError, KeyError, TypeError, IndexError) as error:
        example = "conv2d n1 c1 96x64 -> c64 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32"
        raise ProblemError(f"not a problem: {text!r}; a problem reads like {example!r}") from error
