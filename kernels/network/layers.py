"""A stack of layers as users write it becomes stages: what is computed one after the other.

Layers are read one by one, so that an error names the layer it is in. A convolution that pools at its end is read as two stages; `fusing`
joins them again where its method pools inside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kernels.api.batch_norm import fold_batch_norm
from kernels.problem.arrays import intake, result_dtypes
from kernels.problem.conv import Conv, linear_problem
from kernels.problem.errors import ProblemError, RefusedError, shown
from kernels.problem.options import Request, activation_pair, per_axis
from kernels.problem.pool import Pool
from kernels.problem.request import OPERATIONS, request_of

Array = np.ndarray
Shape = tuple[int, ...]

# how branches are joined, and what numbers of two of them become: None where they keep channels of their own
JOINS: dict[str, np.ufunc | None] = {"concatenate": None, "add": np.add, "multiply": np.multiply}


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """One layer before its input's shape is known; see `kernels.layer`."""

    op: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        def brief(value: Any) -> str:
            return f"<{value.dtype} {value.shape}>" if isinstance(value, np.ndarray) else repr(value)

        return f"layer({', '.join([repr(self.op), *map(brief, self.args), *(f'{k}={brief(v)}' for k, v in self.options.items())])})"


def layer(op: str, *args: Any, **options: Any) -> Layer:
    """One layer of a `kernels.sequence`: an operation and its arguments, without the input.

    Every operation that `kernels.plan` takes, with the arguments it takes there (a window's `implementation`, `accuracy` and `precision`
    too), and:

    - "batch_norm", mean, var, gamma=None, beta=None, eps=1e-5, axis=1: at inference, (x - mean) / sqrt(var + eps) * gamma + beta
    - "activation", name or (name, slope): those of convolutions
    - "flatten": (N, …) to (N, product of the rest), channels slowest
    - "linear", weight (out, in), bias=None, activation=None, implementation="auto": along the last axis, as a convolution of one
      tap whose positions are the rows
    - "concatenate", branch, branch, …: lists of layers that all get the same input; their outputs, joined along channels
    - "add", branch, branch, …: their sum; an empty list is the input itself, so layer("add", [...], []) is a residual block
    - "channels", first, end: the input's channels from `first` up to `end`, which is not among them
    - "multiply", branch, branch, …: their product, as gates have it

    >>> layer("conv2d", np.ones((64, 1, 3, 3)), padding=1, activation="relu")
    layer('conv2d', <float64 (64, 1, 3, 3)>, padding=1, activation='relu')
    """
    return Layer(op, args, options)


def owned(value: Any) -> Any:
    """Layers, in lists of any depth, with arrays of their own."""
    if isinstance(value, Layer):
        return Layer(value.op, owned(value.args), owned(value.options))
    if isinstance(value, dict):
        return {name: owned(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(owned, value))
    return intake("layer", "array", value).copy() if hasattr(value, "__array__") or hasattr(value, "__dlpack__") else value


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """What is computed at once: the layers it does, in words too, the shapes, and the dtype it returns (computed in at least float32)."""

    where: tuple[str, ...]
    words: tuple[str, ...]
    x_shape: Shape
    out_shape: Shape
    dtype: np.dtype

    @property
    def index(self) -> str:
        """Where its layers stand, for people."""
        return "+".join(self.where)


@dataclasses.dataclass(frozen=True, eq=False)
class Window(Stage):
    """A convolution or a pool, and which implementation was asked for."""

    request: Request
    implementation: str

    @property
    def conv(self) -> Conv | None:
        """The problem of a convolution without a pool, which more may follow in its epilogue."""
        problem = self.request.problem
        return problem if isinstance(problem, Conv) and problem.pool is None else None

    @property
    def pool(self) -> tuple[str, tuple[int, ...], tuple[int, ...]] | None:
        """(kind, kernel, stride) of a pool of whole windows that could be a convolution's last step."""
        problem = self.request.problem
        if not isinstance(problem, Pool) or problem.ceil_mode or problem.divisor_override is not None:
            return None
        plain = not any(map(any, problem.padding)) and set(problem.dilation) == {1} and self.implementation == "auto"
        return (problem.kind, problem.kernel, problem.stride) if plain else None


@dataclasses.dataclass(frozen=True, eq=False)
class Pointwise(Stage):
    """x * scale + shift along an axis (float64, or None), then an activation (or None)."""

    scale: Array | None = None
    shift: Array | None = None
    axis: int = 1
    activation: tuple[str, float] | None = None

    def problem(self, dtype: str) -> Conv:
        """The convolution by ones whose epilogue this is."""
        axis = self.axis
        n, c, size = math.prod(self.x_shape[:axis]), self.x_shape[axis], math.prod(self.x_shape[axis + 1 :])
        return linear_problem(n, c, size, c, dtype, op=self.words[0], groups=c, scale=self.scale is not None, activation=self.activation)


@dataclasses.dataclass(frozen=True, eq=False)
class Linear(Stage):
    """A product with weight (out, in) along the last axis, + bias, activation; and which implementation was asked for."""

    weight: Array
    bias: Array | None
    activation: tuple[str, float] | None
    implementation: str


@dataclasses.dataclass(frozen=True, eq=False)
class Flatten(Stage):
    """The same numbers in another shape."""


@dataclasses.dataclass(frozen=True, eq=False)
class Channels(Stage):
    """Some of the input's channels, from `first` on."""

    first: int

    def of(self, x: Array) -> Array:
        """The channels of an array, as they lie in it."""
        return x[:, self.first : self.first + self.out_shape[1]]


@dataclasses.dataclass(frozen=True, eq=False)
class Join(Stage):
    """Branches that get the same input, and how their outputs are joined: a word of JOINS."""

    branches: tuple[tuple[Stage, ...], ...]

    @property
    def ufunc(self) -> np.ufunc | None:
        """See JOINS."""
        return JOINS[self.words[0]]

    def meet(self, ends: Sequence[Array], y: Array) -> None:
        """Write the sum or product of what branches gave into y, which is none of them unless there is one alone."""
        ufunc = self.ufunc
        assert ufunc is not None
        if len(ends) == 1:
            np.copyto(y, ends[0])
            return
        ufunc(ends[0], ends[1], out=y)
        for each in ends[2:]:
            ufunc(y, each, out=y)


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What layers take that name none of their own: the implementation of convolutions, the accuracy of all, what factors may be
    rounded to."""

    implementation: str = "auto"
    accuracy: str = "largest"
    precision: str | None = None


@contextlib.contextmanager
def named(where: str) -> Iterator[None]:
    """Errors inside say which layer they are about."""
    try:
        yield
    except (ProblemError, RefusedError, TypeError) as error:
        raise type(error)(f"layer {where}: {error}") from error


def read(layers: Sequence[Layer], x_shape: Shape, dtype: np.dtype, defaults: Defaults, prefix: str = "") -> tuple[Stage, ...]:
    """The stages of layers, none fused, for an input of this shape and dtype."""
    stages: list[Stage] = []
    for where, each in places(layers, prefix):
        if each.op in JOINS:
            branches = tuple(read(branch, x_shape, dtype, defaults, f"{where}.{b}.") for b, branch in enumerate(branches_of(each, where)))
            ends = [(branch[-1].out_shape, branch[-1].dtype) if branch else (x_shape, dtype) for branch in branches]
            stages.append(joined(each.op, where, x_shape, ends, branches))
        else:
            stages += read_one(each, where, x_shape, dtype, defaults)
        x_shape, dtype = stages[-1].out_shape, stages[-1].dtype
    return tuple(stages)


def places(layers: Any, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Layers as a user gave them, each with where it stands, for errors. Raises ProblemError for what is no layer."""
    if not isinstance(layers, Sequence) or isinstance(layers, str):
        raise ProblemError(f"sequence: layers is a {type(layers).__name__}, must be a list of kernels.layer(...)")
    for i, each in enumerate(layers):
        if not isinstance(each, Layer):
            raise ProblemError(f"layer {prefix}{i}: is a {type(each).__name__}, must be made by kernels.layer(op, ...)")
        yield f"{prefix}{i}", each


def read_one(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    """The stages of a layer that is no join."""
    with named(where):
        return _READERS.get(each.op, _window)(each, where, x_shape, dtype, defaults)


def _window(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    """A convolution or pool; one that pools at its end is two stages, which are fused later if its method does that inside."""
    options = dict(each.options)
    name = options.pop("implementation", defaults.implementation if str(each.op).startswith("conv") else "auto")
    if options.pop("layout", "channels_first") != "channels_first":
        raise ProblemError(f"{each.op}: the layers of a sequence are channels first; move the input's and the weight's axes")
    if each.op not in OPERATIONS:
        names = ", ".join([*OPERATIONS, *_READERS, *JOINS])
        raise ProblemError(f"operation {shown(each.op)} does not exist; use one of {names}")
    if options.get("accuracy") is None:
        options["accuracy"] = defaults.accuracy
    if each.op in ("conv1d", "conv2d", "conv3d") and options.get("precision") is None:
        options["precision"] = defaults.precision
    request = request_of(each.op, x_shape, dtype, each.args, options)
    if len(x_shape) != request.signature.spatial + 2:
        raise ProblemError(f"{each.op}: x has shape {x_shape}; in a sequence it needs its batch axis: (N, C, *spatial)")
    problem, signature = request.problem, request.signature
    if not isinstance(problem, Conv):
        if problem.return_indices:
            raise ProblemError(f"{each.op}: return_indices gives two arrays, the next layer takes one; leave it out")
        return [Window((where,), (each.op,), x_shape, signature.out_shape, signature.dtype, request, name)]
    words = [each.op, *["scale"] * problem.scale, *([problem.activation[0]] if problem.activation else [])]
    if problem.pool is None:
        return [Window((where,), tuple(words), x_shape, signature.out_shape, signature.dtype, request, name)]
    kind, kernel, stride = problem.pool
    axes = signature.spatial
    bare = dataclasses.replace(problem, pool=None)
    between = (*x_shape[:1], problem.c_out, *bare.conv_size[-axes:])
    request = dataclasses.replace(request, problem=bare, signature=dataclasses.replace(signature, out_shape=between))
    pool = Layer(f"{kind}_pool{axes}d", (kernel[-axes:], stride[-axes:]))
    first = Window((where,), tuple(words), x_shape, between, signature.dtype, request, name)
    return [first, *_window(pool, where, between, signature.dtype, defaults)]


def _batch_norm(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    def arguments(mean: Any, var: Any, gamma: Any = None, beta: Any = None, eps: float = 1e-5, axis: int = 1) -> Stage:
        along = per_axis("batch_norm", "axis", axis, 1)[0]
        if not -len(x_shape) <= along < len(x_shape):
            raise ProblemError(f"batch_norm: axis is {axis}, x has {len(x_shape)} axes")
        count = x_shape[along]
        given = {"mean": mean, "var": var, "gamma": gamma, "beta": beta}
        arrays = {name: intake("batch_norm", name, value) for name, value in given.items() if value is not None}
        for name, array in arrays.items():
            if array.shape != (count,):
                raise ProblemError(f"batch_norm: {name} has shape {array.shape}, must be ({count},): one number per index of axis {axis}")
        _, returned = result_dtypes([dtype, *(array.dtype for array in arrays.values())])
        doubles: dict[str, Any] = {name: array.astype(np.float64) for name, array in arrays.items()}
        scale, shift = fold_batch_norm(np.ones((count, 1)), None, **doubles, eps=eps)  # of a layer that does nothing
        return Pointwise((where,), ("batch_norm",), x_shape, x_shape, returned, scale[:, 0], shift, along % len(x_shape))

    return [arguments(*each.args, **each.options)]


def _activation(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    def arguments(activation: Any) -> Stage:
        pair = activation_pair("activation", activation)
        stage = Pointwise((where,), (pair[0] if pair else "identity",), x_shape, x_shape, result_dtypes([dtype])[1], activation=pair)
        stage.problem("float32")  # raises where the name is not known
        return stage

    return [arguments(*each.args, **each.options)]


def _flatten(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    def arguments() -> Stage:
        return Flatten((where,), ("flatten",), x_shape, (x_shape[0], math.prod(x_shape[1:])), result_dtypes([dtype])[1])

    return [arguments(*each.args, **each.options)]


def _linear(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    def arguments(weight: Any, bias: Any = None, activation: Any = None, implementation: str = "auto") -> Stage:
        weight = intake("linear", "weight", weight)
        if weight.ndim != 2 or weight.shape[1] != x_shape[-1]:
            hint = "; put layer('flatten') before it" if weight.ndim == 2 and weight.shape[1] == math.prod(x_shape[1:]) else ""
            raise ProblemError(f"linear: weight has shape {weight.shape}, must be (out, {x_shape[-1]}) for x of shape {x_shape}{hint}")
        bias = None if bias is None else intake("linear", "bias", bias)
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ProblemError(f"linear: bias has shape {bias.shape}, must be ({weight.shape[0]},): one number per output")
        _, returned = result_dtypes([dtype, weight.dtype, *([] if bias is None else [bias.dtype])])
        pair = activation_pair("linear", activation)
        words = ("linear", *([pair[0]] if pair else []))
        shapes = x_shape, (*x_shape[:-1], len(weight))
        stage = Linear((where,), words, *shapes, returned, weight=weight, bias=bias, activation=pair, implementation=implementation)
        Pointwise((where,), ("linear",), x_shape, x_shape, returned, activation=pair).problem("float32")  # is the name known?
        return stage

    return [arguments(*each.args, **each.options)]


def _channels(each: Layer, where: str, x_shape: Shape, dtype: np.dtype, defaults: Defaults) -> list[Stage]:
    def arguments(first: Any, end: Any) -> Stage:
        low, high = (per_axis("channels", name, value, 1)[0] for name, value in (("first", first), ("end", end)))
        if not 0 <= low < high <= x_shape[1]:
            raise ProblemError(f"channels: first is {low}, end {high}; must be 0 <= first < end <= {x_shape[1]}, the input's channels")
        out = (x_shape[0], high - low, *x_shape[2:])
        return Channels((where,), ("channels",), x_shape, out, result_dtypes([dtype])[1], low)

    return [arguments(*each.args, **each.options)]


_READERS = {"batch_norm": _batch_norm, "activation": _activation, "flatten": _flatten, "linear": _linear, "channels": _channels}


def branches_of(each: Layer, where: str) -> tuple[Any, ...]:
    """The branches of a join, not looked at yet."""
    with named(where):
        if each.options:
            raise TypeError(f"{each.op} takes branches only, not {', '.join(each.options)}")
        if not each.args:
            raise ProblemError(f"{each.op}: there are no branches; pass lists of layers")
        return each.args


def joined(
    op: str, where: str, x_shape: Shape, ends: Sequence[tuple[Shape, np.dtype]], branches: tuple[tuple[Stage, ...], ...] = ()
) -> Join:  # fmt: skip
    """The stage of a join; ends: shape and dtype that each branch gives."""
    concatenates = JOINS[op] is None
    first = ends[0][0]
    for b, (shape, _) in enumerate(ends):
        if (shape[:1] + shape[2:], len(shape)) != (first[:1] + first[2:], len(first)) or not (concatenates or shape == first):
            but = " but for channels" if concatenates else ""
            with named(where):
                raise ProblemError(f"{op}: branch {b} gives shape {shape}, branch 0 {first}; they must be equal{but}")
    out = (first[0], sum(shape[1] for shape, _ in ends), *first[2:]) if concatenates else first
    returned = np.result_type(*(result_dtypes([dtype])[1] for _, dtype in ends))
    return Join((where,), (op,), x_shape, out, np.dtype(returned), branches)
