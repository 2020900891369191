"""Regions: a compiled function of one task, run for all tasks by several threads or by one.

    @region
    def body(task, thread, x, out): …        task < tasks, thread < threads: a participant's number, for scratch of its own

    body(threads, tasks, x, out)             or, to skip the look-up by type:  launch = body.ready(x, out); launch(threads, tasks, x, out)

The same bits come out whoever does which task: a task writes what no other reads or writes, and no argument lies where it writes by way of
another. Only behind an atomic count may a task read what others wrote and go on from there: it is the one that finishes last, as in layers
of a single row.

Denormals are flushed to zero inside and each thread's state is restored after; `body.exact` keeps them, for maxima, which are one of their
inputs, however small. The body is compiled into the loop of `_participation`; what starts that loop on every participant is compiled once
for each row of argument types.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.extending import intrinsic
from numba.np import numpy_support

from kernels.runtime import workers
from kernels.runtime.denormals import without_denormals
from kernels.runtime.ir import I64, i64
from kernels.runtime.jit import code, entry_of, inlined, njit
from kernels.runtime.locks import cached_property
from kernels.runtime.pool import RAISED, RUN, leave, pool_of
from kernels.runtime.tasks import FAILED, next_task, slot_bytes

_FIRST = (types.int64, types.int64)  # slot and number of a participant


@intrinsic
def _run(typing_context: Any, tasks_of: Any, threads: Any, tasks: Any, resume: Any, denormals: Any, args: Any) -> Any:
    """What `pool.run` returns of a region, whose arguments lie on this function's stack. tasks_of: address of `_participation`."""
    kinds = *_FIRST, *args.types

    def entry(context: Any, module: Any, name: str, record: Any) -> Any:
        """The function of (slot, participant, address of the record) that takes part."""
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 3), name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        slot, thread, at = function.args
        fields = builder.inttoptr(at, record.as_pointer())
        tasks_of, denormals, packed = (builder.load(cgutils.gep_inbounds(builder, fields, 0, i)) for i in range(3))
        convention = context.call_conv
        kind = convention.get_function_type(types.none, kinds)
        result = cgutils.alloca_once(builder, kind.args[0].pointee)
        raised = cgutils.alloca_once(builder, excinfo_ptr_t)
        given = [slot, thread, *cgutils.unpack_tuple(builder, packed, len(args.types))]
        arguments = context.get_arg_packer(kinds).as_arguments(builder, given)
        with without_denormals(builder, denormals):
            code = builder.call(builder.inttoptr(tasks_of, kind.as_pointer()), [result, raised, *arguments])
        status = convention._get_return_status(builder, code, builder.load(raised))
        with builder.if_then(status.is_error, likely=False):
            builder.store(i64(1), builder.inttoptr(builder.add(slot, i64(FAILED)), I64.as_pointer()))
        builder.ret_void()
        return function

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        tasks_of, threads, tasks, resume, denormals, packed = values
        held = [tasks_of, denormals, packed]
        record = ir.LiteralStructType([value.type for value in held])
        place = cgutils.alloca_once(builder, record)
        for i, value in enumerate(held):
            builder.store(value, cgutils.gep_inbounds(builder, place, 0, i))
        own = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), slot_bytes(1)))
        own.align = 64
        function = entry(context, builder.module, f"{builder.function.name}.entry", record)
        run = builder.load(builder.inttoptr(builder.add(pool_of(builder), i64(RUN)), I64.as_pointer()))
        kind = ir.FunctionType(I64, [I64] * 6)
        arguments = builder.ptrtoint(function, I64), builder.ptrtoint(place, I64), threads, tasks, builder.ptrtoint(own, I64), resume
        return builder.call(builder.inttoptr(run, kind.as_pointer()), arguments)

    return types.int64(types.int64, types.int64, types.int64, types.int64, types.boolean, args), codegen


def _written(text: str, **names: Any) -> Any:
    """The function `made` of a text: Numba knows no starred arguments."""
    scope = {"__name__": __name__, **names}
    exec(text, scope)
    return scope["made"]


@functools.cache
def _launcher(count: int) -> Any:
    """The compiled function that runs a region with so many arguments."""
    names = "".join(f"a{i}, " for i in range(count))
    plain = "tasks_of, threads, tasks, resume, denormals"
    return njit(_written(f"def made({plain}, {names}):\n    return run({plain}, ({names}))", run=_run))


def _participation(body: Callable[..., Any], counts: bool) -> Any:
    """The compiled function with which one participant does a region's tasks until none is left; the body is compiled into its loop."""
    names = ", ".join(list(inspect.signature(body).parameters)[2:])
    text = f"""
def made(slot, thread, {names}):
    task = next_task(slot, thread)
    while task >= 0:
        body(task, thread, {names})
        task = next_task(slot, thread)
"""
    made = _written(text, body=inlined(body), next_task=next_task)
    made.__module__, made.__qualname__, made.body = body.__module__, body.__qualname__, body  # compiled code is kept by these
    return njit(made, apart=True, counts=counts)


_arrays: dict[Any, Any] = {}
_tuples: dict[tuple[Any, ...], Any] = {}


def kind_of(value: Any) -> Any:
    """The type that Numba compiles for, told sooner than Numba tells it: numbers by their dtype, arrays and tuples remembered."""
    if type(value) is int and -(1 << 63) < value < 1 << 63:  # handles too
        return types.int64
    if isinstance(value, np.generic):
        return numpy_support.from_dtype(value.dtype)  # type: ignore[arg-type]
    if type(value) is np.ndarray:
        key = value.dtype, value.ndim, value.flags.num
        found = _arrays.get(key)
        if found is None:
            dtype, order = numpy_support.from_dtype(value.dtype), numpy_support.map_layout(value)
            found = _arrays[key] = types.Array(dtype, value.ndim, order, readonly=not value.flags.writeable)
        return found
    if isinstance(value, tuple):
        kinds, named = tuple(map(kind_of, value)), None if type(value) is tuple else type(value)
        by = named, *map(id, kinds)  # as `Region.ready` tells them apart; the tuple's type keeps them
        found = _tuples.get(by)
        if found is None:
            found = _tuples[by] = types.BaseTuple.from_types(kinds, named)
        return found
    return numba.typeof(value)


class Region:
    """See the module; `body(threads, tasks, *args)` runs it, where args are what the function takes after task and thread."""

    def __init__(self, body: Any, denormals: bool = False) -> None:
        self._body, self._denormals = body, denormals
        self._ready: dict[tuple[int, ...], tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self.__doc__ = body.py_func.body.__doc__

    @cached_property
    def exact(self) -> Region:
        """The same with denormals kept."""
        return Region(self._body, True)

    def __call__(self, threads: int, tasks: int, *args: Any) -> None:
        self.ready(*args)(threads, tasks, *args)

    def ready(self, *args: Any) -> Callable[..., None]:
        """Compile for arguments of the types of these; the result is called as the region is, and skips the look-up by type, which takes
        60 us where a record is among them. **Warning**: arguments of other types are misread."""
        kinds = tuple(map(kind_of, args))
        key = tuple(map(id, kinds))  # types are one object each, but slow to compare
        if key not in self._ready:
            self._ready[key] = self._compiled(kinds), kinds
        return self._ready[key][0]

    def _compiled(self, kinds: tuple[Any, ...]) -> Callable[..., None]:
        """What runs the region on arguments of these types."""
        workers.link()
        launch = entry_of(_launcher(len(kinds)), (*[types.int64] * 4, types.boolean, *kinds))
        tasks_of = code(self._body, (*_FIRST, *kinds))
        denormals, state = self._denormals, workers.STATE

        def run(threads: int, tasks: int, *values: Any) -> None:
            left = 0
            if threads > state.participants:
                workers.start(threads)
            if state.pythonic and threads > 1:
                workers.summon(threads)
            try:
                left = launch(tasks_of, threads, tasks, 0, denormals, *values)
                while left and left != RAISED:  # what a signal's handler raises is raised here
                    left = launch(tasks_of, threads, tasks, left, denormals, *values)
            except BaseException:
                if left < 0 and left != RAISED:
                    leave(-left)
                raise
            if left:
                raise MemoryError("a task could not allocate what it computes with")

        return run


def region(body: Callable[..., Any], *, counts: bool = False) -> Region:
    """Decorator for `Region`. counts: see `jit.njit`."""
    return Region(_participation(body, counts))
