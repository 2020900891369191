"""Regions: a compiled function of one job, run for all jobs by several threads or by one.

    @region
    def body(job, thread, x, out): …        job < jobs, thread < threads: a participant's number, for scratch of its own

    body(threads, jobs, x, out)             or, to skip the look-up by type:  launch = body.ready(x, out); launch(threads, jobs, x, out)

The same bits come out whoever does which job: a job writes what no other writes. Denormals are flushed to zero inside and each thread's
state is restored after; `body.exact` keeps them, for maxima, which are one of their inputs, however small. A body is compiled once; what
shares its jobs out is compiled once for each row of argument types, calls the body by its address and serves one thread as well as many.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.callconv import excinfo_ptr_t
from numba.extending import intrinsic

from kernels.runtime import workers
from kernels.runtime.ir import I64, flush_denormals, i64, restore_denormals
from kernels.runtime.jit import code, compiling, njit
from kernels.runtime.jobs import FAILED, next_job, slot_bytes
from kernels.runtime.pointers import write_index
from kernels.runtime.pool import RAISED, RUN, leave, pool_of

_BODY = (types.int64, types.int64)  # job and thread


@intrinsic
def _call_body(typing_context: Any, body: Any, job: Any, thread: Any, args: Any) -> Any:
    """Call the compiled function at an address with a job, a thread and the arguments; whether it raised."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, job, thread, packed = values
        kinds = [*_BODY, *signature.args[3].types]
        convention = context.call_conv
        kind = convention.get_function_type(types.none, kinds)
        arguments = [job, thread, *cgutils.unpack_tuple(builder, packed, len(kinds) - 2)]
        result = cgutils.alloca_once(builder, kind.args[0].pointee)
        raised = cgutils.alloca_once(builder, excinfo_ptr_t)
        packer = context.get_arg_packer(kinds)
        code = builder.call(builder.inttoptr(address, kind.as_pointer()), [result, raised, *packer.as_arguments(builder, arguments)])
        return convention._get_return_status(builder, code, builder.load(raised)).is_error

    return types.boolean(types.int64, types.int64, types.int64, args), codegen


@njit
def _participate(slot, thread, body, denormals, args):
    """Jobs of a region until none is left."""
    state = flush_denormals()
    if denormals:
        restore_denormals(state)
    job = next_job(slot, thread)
    while job >= 0:
        if _call_body(body, job, thread, args):
            write_index(slot + FAILED, 1)
        job = next_job(slot, thread)
    restore_denormals(state)


@intrinsic
def _run(typing_context: Any, body: Any, threads: Any, jobs: Any, resume: Any, denormals: Any, args: Any) -> Any:
    """What `pool.run` returns of a region, whose arguments lie on this function's stack meanwhile."""
    kinds = types.int64, types.int64, types.int64, types.boolean, args
    typing_context.resolve_function_type(typing_context.resolve_value_type(_participate), kinds, {})  # compiles it

    def entry(context: Any, module: Any, name: str, record: Any) -> Any:
        """The function of (slot, participant, address of the record) that takes part."""
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * 3), name)
        function.linkage = "internal"
        builder = ir.IRBuilder(function.append_basic_block())
        slot, thread, at = function.args
        fields = builder.inttoptr(at, record.as_pointer())
        values = [builder.load(cgutils.gep_inbounds(builder, fields, 0, i)) for i in range(3)]
        compiled = _participate.overloads[kinds]
        context.active_code_library.add_linking_library(compiled.library)
        callee = context.declare_function(module, compiled.fndesc)
        context.call_conv.call_function(builder, callee, types.none, kinds, [slot, thread, *values])
        builder.ret_void()
        return function

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        body, threads, jobs, resume, denormals, packed = values
        held = [body, denormals, packed]
        record = ir.LiteralStructType([value.type for value in held])
        place = cgutils.alloca_once(builder, record)
        for i, value in enumerate(held):
            builder.store(value, cgutils.gep_inbounds(builder, place, 0, i))
        own = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), slot_bytes(1)))
        own.align = 64
        function = entry(context, builder.module, f"{builder.function.name}.entry", record)
        pool = pool_of(builder)
        run = builder.load(builder.inttoptr(builder.add(pool, i64(RUN)), I64.as_pointer()))
        kind = ir.FunctionType(I64, [I64] * 6)
        arguments = builder.ptrtoint(function, I64), builder.ptrtoint(place, I64), threads, jobs, builder.ptrtoint(own, I64), resume
        return builder.call(builder.inttoptr(run, kind.as_pointer()), arguments)

    return types.int64(types.int64, types.int64, types.int64, types.int64, types.boolean, args), codegen


@functools.cache
def _launcher(count: int) -> Any:
    """The compiled function that runs a region with so many arguments; Numba knows no starred ones."""
    names = "".join(f"a{i}, " for i in range(count))
    plain = "body, threads, jobs, resume, denormals"
    text = f"def launch({plain}, {names}):\n    return run({plain}, ({names}))"
    scope: dict[str, Any] = {"run": _run, "__name__": __name__}
    exec(text, scope)
    return njit(scope["launch"])


class Region:
    """See the module; `body(threads, jobs, *args)` runs it, where args are what the function takes after job and thread."""

    def __init__(self, body: Any, denormals: bool = False) -> None:
        self._body, self._denormals = body, denormals
        self._ready: dict[tuple[Any, ...], Callable[..., None]] = {}
        self.__doc__ = body.__doc__

    @property
    def exact(self) -> Region:
        """The same with denormals kept."""
        return Region(self._body, True)

    def __call__(self, threads: int, jobs: int, *args: Any) -> None:
        kinds = tuple(map(numba.typeof, args))
        launch = self._ready.get(kinds)
        if launch is None:
            launch = self._ready[kinds] = self.ready(*args)
        launch(threads, jobs, *args)

    def ready(self, *args: Any) -> Callable[..., None]:
        """Compile for arguments of the types of these; the result is called as the region is, and skips the look-up by type, which takes
        60 us where a record is among them. **Warning**: arguments of other types are misread."""
        workers.link()
        kinds = tuple(map(numba.typeof, args))
        body, denormals = code(self._body, (*_BODY, *kinds)), self._denormals
        with compiling:
            launcher, full = _launcher(len(args)), (*[types.int64] * 4, types.boolean, *kinds)
            launcher.compile(full)
            launch = launcher.overloads[full].entry_point
        state = workers.STATE

        def run(threads: int, jobs: int, *values: Any) -> None:
            left = 0
            if threads > state.participants:
                workers.start(threads)
            if state.pythonic and threads > 1:
                workers.summon(threads)
            try:
                left = launch(body, threads, jobs, 0, denormals, *values)
                while left:  # what a signal's handler raises is raised here
                    if left == RAISED:
                        raise MemoryError("a job could not allocate what it computes with")
                    left = launch(body, threads, jobs, left, denormals, *values)
            except BaseException:
                if left < 0:
                    leave(-left)
                raise

        return run


def region(body: Callable[..., Any]) -> Region:
    """Decorator for `Region`."""
    return Region(njit(body))
