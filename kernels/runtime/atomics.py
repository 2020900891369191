"""What threads say to each other: int64s at addresses, read and changed as one step, a clock, a pause, and Linux's ways to sleep on one and
to keep threads off a core.

All orders are sequentially consistent: on x86 only stores pay for it, a store of a few a region.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from kernels.runtime.ir import I32, I64, i64

_ORDER = "seq_cst"
_FUTEX = {"x86_64": 202, "aarch64": 98}  # numbers of the system calls
_GETTID = {"x86_64": 186, "aarch64": 178}
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to the process
_SET = 1024 // 64  # words of a set of cores


def _place(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I64.as_pointer())


@intrinsic
def load(typing_context: Any, address: Any) -> Any:
    """The int64 at an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load_atomic(_place(builder, values[0]), _ORDER, 8)

    return types.int64(types.int64), codegen


@intrinsic
def store(typing_context: Any, address: Any, value: Any) -> Any:
    """Put an int64 at an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], _place(builder, values[0]), _ORDER, 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def add(typing_context: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an address; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("add", _place(builder, values[0]), values[1], _ORDER)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def exchange(typing_context: Any, address: Any, value: Any) -> Any:
    """Put an int64 at an address; the value before."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.atomic_rmw("xchg", _place(builder, values[0]), values[1], _ORDER)

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def replace(typing_context: Any, address: Any, expected: Any, value: Any) -> Any:
    """Put an int64 at an address if `expected` is there; whether it was."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pair = builder.cmpxchg(_place(builder, values[0]), values[1], values[2], _ORDER, _ORDER)
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def pause(typing_context: Any) -> Any:
    """The hint that a loop waits: some tens of cycles in which the other thread of the core has all of it."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        triple, none = builder.module.triple, ir.VoidType()
        if triple.startswith(("aarch64", "arm64")):
            hint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(none, [I32]), "llvm.aarch64.hint")
            builder.call(hint, [ir.Constant(I32, 1)])  # yield
        elif triple.startswith(("x86", "amd64", "i386", "i686")):
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(none, []), "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def ticks(typing_context: Any) -> Any:
    """A clock that all cores share and that reading takes some ten nanoseconds; `workers` finds out how fast it goes."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arm = builder.module.triple.startswith(("aarch64", "arm64"))  # whose cycle counter a program may not read
        name = "llvm.readsteadycounter" if arm else "llvm.readcyclecounter"
        counter = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I64, []), name)
        return builder.call(counter, [])

    return types.int64(), codegen


def _system_call(builder: Any, numbers: dict[str, int], *arguments: Any) -> Any:
    """What the system answers, or 0 on other systems, where `workers` has no native threads."""
    triple = builder.module.triple
    number = numbers.get(triple.split("-")[0])
    if "linux" not in triple or number is None:
        return i64(0)
    kind = ir.FunctionType(I64, [I64], var_arg=True)
    function = cgutils.get_or_insert_function(builder.module, kind, "syscall")
    return builder.call(function, [i64(number), *arguments])


def _futex(builder: Any, address: Any, operation: int, value: Any) -> None:
    _system_call(builder, _FUTEX, address, i64(operation), builder.zext(builder.trunc(value, I32), I64), i64(0))


@intrinsic
def thread_number(typing_context: Any) -> Any:
    """The system's number of this thread; 0 on other systems than Linux."""
    return types.int64(), lambda context, builder, signature, values: _system_call(builder, _GETTID)


@intrinsic
def keep_off(typing_context: Any, threads: Any, count: Any) -> Any:
    """Let threads run on the cores that this one may use, but the one that it is on, if there are others. threads: address of `count`
    int64s, the system's numbers of threads; 0 is none."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if "linux" not in builder.module.triple:
            return context.get_dummy_value()
        cores = cgutils.alloca_once(builder, ir.ArrayType(I64, _SET))
        size, at = i64(8 * _SET), builder.ptrtoint(cores, I64)
        kind = ir.FunctionType(I32, [I32, I64, I64])
        ask = cgutils.get_or_insert_function(builder.module, kind, "sched_getaffinity")
        allow = cgutils.get_or_insert_function(builder.module, kind, "sched_setaffinity")
        own = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), "sched_getcpu")
        core = builder.zext(builder.call(own, []), I64)  # an error is far above the set
        failed = builder.call(ask, [ir.Constant(I32, 0), size, at])
        known = builder.and_(builder.icmp_signed("==", failed, failed.type(0)), builder.icmp_unsigned("<", core, i64(64 * _SET)))
        with builder.if_then(known):
            word = cgutils.gep_inbounds(builder, cores, 0, builder.lshr(core, i64(6)))
            bit = builder.shl(i64(1), builder.and_(core, i64(63)))
            builder.store(builder.and_(builder.load(word), builder.not_(bit)), word)
            with cgutils.for_range(builder, values[1]) as loop:
                thread = builder.load_atomic(builder.gep(_place(builder, values[0]), [loop.index]), _ORDER, 8)
                with builder.if_then(builder.icmp_signed("!=", thread, i64(0))):
                    builder.call(allow, [builder.trunc(thread, I32), size, at])  # an error where no core is left
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def sleep_while(typing_context: Any, address: Any, value: Any) -> Any:
    """Sleep if the int64 at an address has these low 32 bits, until `wake`; may return early."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _futex(builder, values[0], _WAIT, values[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def wake(typing_context: Any, address: Any, count: Any) -> Any:
    """Wake up to `count` threads that sleep at an address."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _futex(builder, values[0], _WAKE, values[1])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def doze(typing_context: Any) -> Any:
    """Leave the core for about 50 us; on Windows to any other thread that is ready."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        name, duration = ("Sleep", 0) if "windows" in builder.module.triple else ("usleep", 50)
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, [I32]), name)
        builder.call(function, [ir.Constant(I32, duration)])
        return context.get_dummy_value()

    return types.void(), codegen
