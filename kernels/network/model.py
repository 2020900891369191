"""`kernels.load`: a whole model as one callable, planned for the shapes that it is called with."""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kernels.api.call import input_dtype, measuring
from kernels.methods import load as load_methods
from kernels.network.checking import check, made_up, session
from kernels.network.graph import Graph, Value
from kernels.network.operators.registry import INVALID
from kernels.network.passes.specialise import UnsupportedError, check_known
from kernels.problem.accuracy import accuracy_of
from kernels.problem.arrays import PLAIN, too_large
from kernels.problem.errors import ProblemError, RefusedError, shown
from kernels.problem.options import thread_count
from kernels.runtime.locks import lock
from kernels.runtime.machine import memory

if TYPE_CHECKING:
    from kernels.network.program import Program

Array = np.ndarray
RESTS = ("numpy", "onnxruntime")


class Described(NamedTuple):
    """An input or output of a model: its name, dtype and shape, None for a free axis."""

    name: str
    dtype: np.dtype
    shape: tuple[int | None, ...] | None


class Model:
    """A graph that is called with arrays; see `kernels.load`. Several threads may call it at once.

    Copies are the model itself. A pickle holds the graph and the options, and is planned anew where it is read, on any machine.
    """

    KEPT = 16  # shapes whose plans are kept, those used last

    def __init__(
        self, graph: Graph, *, shapes: Mapping[str, Any] | None = None, effort: str = "estimate", budget: float = 0.5,
        threads: int | None = None, rest: str = "numpy", accuracy: str | None = None, source: Any = None,
    ) -> None:  # fmt: skip
        self._made_of = {"shapes": shapes, "threads": threads, "rest": rest, "accuracy": accuracy_of("load", accuracy), "source": source}
        if rest not in RESTS:
            raise ProblemError(f'load: rest is {shown(rest)}, must be "numpy" or "onnxruntime"')
        self._graph, self._rest, self.source = graph, rest, source
        self._budget = measuring("load", effort, budget)
        self.threads = thread_count("load", threads)
        self._programs: OrderedDict[Any, Program] = OrderedDict()
        self._lock = lock()
        self._names = [value.name for value in graph.inputs]
        for value in graph.inputs:
            if value.kind.kind not in "fiub":
                raise ProblemError(f"load: input {value.name!r} has dtype {value.dtype}, which is not computed; numbers and bools are")
        if shapes is not None and not isinstance(shapes, Mapping):
            example = {(self._names or ["x"])[0]: (1, 16000)}
            raise ProblemError(f"load: shapes is {shown(shapes)}, must be shapes by name, e.g. {example}")
        if unknown := set(shapes or {}) - set(self._names):
            raise ProblemError(f"load: the model has no input {min(map(str, unknown))!r}; it has {', '.join(self._names)}")
        self._fixed = {value.name: _lengths(value, shapes[value.name]) for value in graph.inputs if shapes and value.name in shapes}
        self._constant_inputs = False
        self._running: Callable[[], Any] = lambda: None
        self._last: Program | None = None
        if rest == "numpy":
            check_known(graph)
        if not any(None in (self._shape(value) or (None,)) for value in graph.inputs):
            self._at_once()

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: Any) -> Model:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Model, **self._made_of), (self._graph,)

    def _at_once(self) -> None:
        """Plan a model without free axes when it is loaded. Where a shape depends on what an input holds, that is known with a call."""
        waits = any(_small(value.shape) for value in self._graph.inputs)
        with contextlib.suppress(UnsupportedError) if waits else contextlib.nullcontext():
            self._program({value.name: np.zeros(self._shape(value) or (), value.kind) for value in self._graph.inputs})  # type: ignore[arg-type]

    def _shape(self, value: Value) -> tuple[int | None, ...] | None:
        given = self._fixed.get(value.name, value.shape)
        return None if given is None else tuple(n if isinstance(n, int) else None for n in given)

    @property
    def inputs(self) -> list[Described]:
        """Name, dtype and shape of each input, None for free axes."""
        return [Described(value.name, value.kind, self._shape(value)) for value in self._graph.inputs]

    @property
    def outputs(self) -> list[Described]:
        """The same of each output; shapes are those of the last call's plan, None before the first."""
        views = self._last.outputs if self._last else {}
        found = []
        for name, value in self._graph.outputs.items():
            dtype = views[name].dtype if name in views else value.dtype or np.dtype(np.float32)
            found.append(Described(name, dtype, views[name].shape if name in views else None))
        return found

    @property
    def workspace_bytes(self) -> int:
        """Bytes that one call of the shape planned last uses besides inputs and outputs."""
        program = self._last
        return program.nbytes + program.own_bytes if program else 0

    def __call__(self, *arrays: Any) -> Any:
        """The output for the inputs in their order, or for one dict of inputs by name; a dict by name where there are several outputs."""
        program = self._last  # another thread may put another there
        given = self._as_before(program, arrays)
        if given is None or program is None:
            given = self._given(arrays)
            program = self._program(given)
        results = program(given)
        if self._graph.halves:
            with np.errstate(over="ignore"):  # float16 overflows to infinity, as its own arithmetic does
                results = {name: each.astype(np.float16) if name in self._graph.halves else each for name, each in results.items()}
        return next(iter(results.values())) if len(results) == 1 else results

    def _as_before(self, program: Program | None, arrays: tuple[Any, ...]) -> dict[str, Array] | None:
        """The inputs by name where they are plain arrays of the shapes and dtypes of the call before; None where more must be looked at."""
        if program is None or self._constant_inputs:
            return None
        by_name = len(arrays) == 1 and type(arrays[0]) is dict
        named = arrays[0] if by_name else dict(zip(self._names, arrays))
        if len(named) != len(self._names) or not (by_name or len(arrays) == len(self._names)):
            return None
        for name, shape, dtype in program.signature:
            array = named.get(name)
            if type(array) is not np.ndarray or array.shape != shape or array.dtype is not dtype or array.flags.num & PLAIN != PLAIN:
                return None
        return named

    def _given(self, arrays: tuple[Any, ...]) -> dict[str, Array]:
        named: Mapping[str, Any]
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            named = arrays[0]
        elif len(arrays) == len(self._names):
            named = dict(zip(self._names, arrays))
        else:
            raise ProblemError(f"the model takes {len(self._names)} inputs ({', '.join(self._names)}), {len(arrays)} were given")
        if missing := [name for name in self._names if name not in named]:
            raise ProblemError(f"input {missing[0]!r} is missing; the model takes {', '.join(self._names)}")
        if unknown := [name for name in named if name not in self._names]:
            raise ProblemError(f"the model has no input {unknown[0]!r}; it takes {', '.join(self._names)}")
        return {value.name: self._array(value, named[value.name]) for value in self._graph.inputs}

    def _array(self, value: Value, given: Any) -> Array:
        if type(given) is not np.ndarray:
            given = np.from_dlpack(given) if hasattr(given, "__dlpack__") and not hasattr(given, "__array__") else np.asarray(given)
        if given.dtype != value.dtype:
            if not np.can_cast(given.dtype, value.kind, "same_kind"):
                raise ProblemError(f"input {value.name!r} has dtype {given.dtype}, the model takes {value.dtype}; convert it")
            given = given.astype(value.dtype)
        if not given.flags.c_contiguous or not given.flags.aligned:
            given = np.ascontiguousarray(given).reshape(given.shape)
        wanted = self._shape(value)
        if wanted is not None and given.shape != wanted:
            alike = len(given.shape) == len(wanted) and all(n in (None, m) for n, m in zip(wanted, given.shape))
            if not alike:
                shape = "(" + ", ".join("free" if n is None else str(n) for n in wanted) + ")"
                raise ProblemError(f"input {value.name!r} has shape {given.shape}, the model takes {shape}")
        return given

    def _program(self, given: dict[str, Array]) -> Program:
        key = self._key(given)
        program = self._programs.get(key)
        if program is None:
            with self._lock:
                program = self._programs.get(key) or self._planned(given)
                self._programs[self._key(given)] = program
                while len(self._programs) > self.KEPT:
                    self._programs.popitem(last=False)
        else:
            with contextlib.suppress(KeyError):  # another thread may have dropped it
                self._programs.move_to_end(key)
        self._last = program
        return program

    def _key(self, given: dict[str, Array]) -> Any:
        """What calls have in common that one plan serves."""
        shapes = tuple(given[name].shape for name in self._names)
        if not self._constant_inputs:
            return shapes
        return shapes, tuple(given[name].tobytes() for name in self._names if _small(given[name].shape))

    def _planned(self, given: dict[str, Array]) -> Program:
        shapes = {name: array.shape for name, array in given.items()}
        constants = {name: array for name, array in given.items() if _small(array.shape)} if self._constant_inputs else {}
        try:
            program = self._plan(shapes, constants)
        except UnsupportedError:
            constants = {name: array.copy() for name, array in given.items() if _small(array.shape)}
            if self._constant_inputs or not constants:
                raise
            program = self._plan(shapes, constants)
            self._constant_inputs = True  # from now on plans are made, and kept, for what these inputs hold
            self._programs.clear()
        if program.arena_bytes + program.own_bytes > memory():
            raise too_large("load", "the arrays between layers and scratch space", program.arena_bytes + program.own_bytes)
        if self._rest == "onnxruntime" and self._budget and self.source is not None and self._made_of["accuracy"] != "each":
            from kernels.network.elsewhere import faster

            running = self._running() or session(self.source.serialised(), self.threads)
            self._running = weakref.ref(running)  # plans keep it that run there
            program = faster(program, running, given, self.threads, self._budget)
        return program

    def _plan(self, shapes: dict[str, tuple[int, ...]], constants: dict[str, Array]) -> Program:
        """The program that `plan_graph` makes."""
        from kernels.network.planning import plan_graph  # brings Numba, as the methods do

        load_methods()
        with self.checked():
            return plan_graph(self._graph, shapes, self.threads, self._budget, constants, self._rest, self._made_of["accuracy"])

    @contextlib.contextmanager
    def checked(self) -> Iterator[None]:
        """Within: what passes read of a node may raise anything. That becomes a ProblemError where ONNX's checker finds a node of the file
        not valid, else it is a fault of ours, which stays what it is."""
        try:
            yield
        except (ProblemError, RefusedError):
            raise
        except INVALID as error:
            if self.source is None:
                raise
            from kernels.network.onnx_reader import misfit

            if why := misfit(self.source.whole()):
                raise ProblemError(f"load: {why}") from error
            raise

    def timeline(self, *arrays: Any, turns: int = 20) -> list[float]:
        """Seconds of each step of `explain`, the median of so many calls with these inputs. Together they are less than a call takes by
        what lies between steps."""
        if turns < 1:
            raise ProblemError(f"timeline: turns is {turns}, must be at least 1")
        given = self._given(arrays)
        return [float(seconds) for seconds in np.median(self._program(given).timeline(given, turns), axis=0)]

    def explain(self, taken: Sequence[float] | None = None) -> str:
        """What was decided for the shape planned last: a line a step. taken: what `timeline` found, for a column of its own."""
        if self._last is None:
            return "nothing is planned yet: the model's inputs have free axes; call it, or give shapes={name: shape} to load"
        from kernels.network.explanation import explain

        return explain(self._last, self.threads, taken)

    def check(self, *arrays: Any) -> float:
        """The largest error against onnxruntime, as a share of each output's largest value, for these inputs or made-up ones."""
        if self.source is None:
            raise ProblemError("check: the graph was not read from an ONNX model, so onnxruntime cannot run it")
        errors = check(self, self.source, self._given(arrays) if arrays else made_up(self.inputs), self.threads)
        return max(errors.values(), default=0.0)

    def __repr__(self) -> str:
        return f"<Model {', '.join(map(str, self._graph.inputs))} -> {', '.join(self._graph.outputs)}, {len(self._graph.nodes)} nodes>"


def _lengths(value: Value, given: Any) -> tuple[int | None, ...]:
    """The lengths that a user gives an input's axes, None for those that stay free. Raises ProblemError for what is no shape of it."""
    try:
        lengths = tuple(None if n is None else operator.index(n) for n in given)
    except TypeError:
        lengths = (-1,)
    if any(n is not None and n < 0 for n in lengths):
        raise ProblemError(f"load: the shape of {value.name!r} is {shown(given)}, must be a length an axis, None for free ones")
    if value.shape is not None and len(lengths) != len(value.shape):
        raise ProblemError(f"load: the shape of {value.name!r} is {lengths}, the model takes {len(value.shape)} axes")
    nbytes = math.prod(n or 1 for n in lengths) * value.kind.itemsize
    if nbytes > memory():
        raise too_large("load", f"input {value.name!r}", nbytes)
    return lengths


def _small(shape: Any) -> bool:
    """Whether an input may be a shape, axes, or a number that shapes depend on."""
    return shape is not None and len(shape) <= 1 and all(isinstance(n, int) and n <= 64 for n in shape)


def load(
    model: Any, *, shapes: Mapping[str, Any] | None = None, dtype: Any = "float32", effort: str = "estimate", budget: float = 0.5,
    threads: int | None = None, rest: str = "numpy", accuracy: str | None = None,
) -> Model:  # fmt: skip
    """An ONNX model as a callable: `model(x)`, `model(x, y)` or `model({"name": x})`; a dict of outputs by name where there are several.

    model: a path, bytes or an onnx.ModelProto. shapes: lengths of inputs that have free axes, by name; what stays free is planned at
    the first call with a new shape and kept for the last 16. dtype: what float32 and float16 numbers are computed in. effort="measure"
    times the methods of every layer for `budget` seconds each. rest: who runs what is not convolution, pooling or product: "numpy", this
    library and NumPy alone, or "onnxruntime" too; measured, that runs all of the model where it takes less time, as `explain` says then.
    accuracy: "each" makes every layer accurate output by output, as `conv2d` explains, and keeps them here.

    Constants are folded, batch norms and scales go into weights, activations into epilogues, chains of element-by-element operators into
    one pass, and memory between layers is shared. Layers before a logarithm are accurate output by output.

    Raises ImportError without the package onnx, ProblemError for what is no model, and RefusedError with every node that cannot be run.

    >>> from onnx import TensorProto, helper, numpy_helper
    >>> weight = numpy_helper.from_array(np.ones((1, 1, 3), np.float32), "w")
    >>> ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, length]) for name, length in (("x", 5), ("y", 3))]
    >>> graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "sums", ends[:1], ends[1:], [weight])
    >>> load(helper.make_model(graph))(np.arange(5, dtype=np.float32).reshape(1, 1, 5)).tolist()
    [[[3.0, 6.0, 9.0]]]
    """
    from kernels.network.onnx_reader import opened, read_onnx

    source = opened(model)
    graph = read_onnx(source, input_dtype("load", dtype))
    return Model(graph, shapes=shapes, effort=effort, budget=budget, threads=threads, rest=rest, accuracy=accuracy, source=source)
