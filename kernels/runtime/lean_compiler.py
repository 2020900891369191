"""Numba's compiler for what this library writes: loops over numbers and addresses, records and tuples.

Numba looks in each function for closures, array expressions, `with`, `raise` and what may be dead behind them, makes its tables of live
variables anew after each look, and finds out for each addition of two integers which of fifteen rules adds them. Here a function whose byte
code has nothing of that goes through the passes that it needs, with tables where they are read, and rules once found are remembered.
"""

from __future__ import annotations

import dis
import functools
import operator
from typing import Any, ClassVar

from numba.core import types
from numba.core.analysis import dead_branch_prune, rewrite_semantic_constants
from numba.core.compiler import DefaultPassBuilder
from numba.core.compiler_machinery import _pass_registry
from numba.core.ir_utils import build_definitions
from numba.core.postproc import PostProcessor
from numba.core.rewrites import rewrite_registry
from numba.core.ssa import reconstruct_ssa
from numba.core.typed_passes import IRLegalization, NativeLowering, NoPythonBackend, NopythonTypeInference, PreLowerStripPhis
from numba.core.types.misc import unliteral
from numba.core.untyped_passes import FixupArgs, InlineInlinables, TranslateByteCode

# what wants all passes: instructions of closures, exceptions, `with` and generators; functions that unroll loops or make types of values
_INSTRUCTIONS = {"MAKE_FUNCTION", "RAISE_VARARGS", "PUSH_EXC_INFO", "BEFORE_WITH", "LOAD_SPECIAL", "YIELD_VALUE"}
_FUNCTIONS = {"literal_unroll", "literally"}


def passes(state: Any) -> Any:
    """What takes a function that is about to be compiled from byte code to machine code: of Numba's passes those that it needs."""
    function = state.func_id.func
    wants_all = state.flags.nrt or not _FUNCTIONS.isdisjoint(function.__code__.co_names)
    if wants_all or any(one.opname in _INSTRUCTIONS for one in dis.get_instructions(function)):
        return DefaultPassBuilder.define_nopython_pipeline(state)
    return Lean()


class Lean:
    """In the place of Numba's PassManager. It leaves out the passes for closures, array expressions, `with`, exceptions and unrolled loops,
    none of which are here (`passes` has looked), those for parallel loops, and annotations for people."""

    pipeline_name = "lean"

    def __init__(self) -> None:
        self.exec_times: dict[str, Any] = {}

    def run(self, state: Any) -> None:
        """See PassManager."""
        _pass(TranslateByteCode).run_pass(state)
        _pass(FixupArgs).run_pass(state)
        PostProcessor(state.func_ir).run()
        rewrite_semantic_constants(state.func_ir, state.args)
        dead_branch_prune(state.func_ir, state.args)
        _rewritten("before-inference", state)
        if _pass(InlineInlinables).run_pass(state):
            PostProcessor(state.func_ir).run()
        state.func_ir = reconstruct_ssa(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        dead_branch_prune(state.func_ir, state.args)
        _pass(NopythonTypeInference).run_pass(state)
        state.func_ir = _pass(PreLowerStripPhis)._strip_phi_nodes(state.func_ir)
        state.func_ir._definitions = build_definitions(state.func_ir.blocks)
        _rewritten("after-inference", state)
        _pass(IRLegalization).run_pass(state)
        state.type_annotation = ""  # for people who read what was inferred
        _pass(NativeLowering).run_pass(state)
        _pass(NoPythonBackend).run_pass(state)


def _pass(kind: Any) -> Any:
    return _pass_registry.get(kind).pass_inst


def _rewritten(kind: str, state: Any) -> None:
    """Numba's rewrites of blocks, as `rewrite_registry.apply` does them but for the tables of live variables that it makes at the end."""
    blocks = state.func_ir.blocks
    for rewrite in rewrite_registry.rewrites[kind]:
        one, waiting = rewrite(state), list(blocks.items())
        while waiting:
            key, block = waiting.pop()
            if one.match(state.func_ir, block, state.typemap, state.calltypes):
                blocks[key] = one.apply()
                waiting.append((key, blocks[key]))


_ARITHMETIC = {
    getattr(operator, name)
    for name in (
        "add", "sub", "mul", "floordiv", "mod", "truediv", "lshift", "rshift", "and_", "or_", "xor", "neg", "not_", "eq", "ne", "lt", "le",
        "gt", "ge", "iadd", "isub", "imul", "ifloordiv", "imod", "itruediv", "ilshift", "irshift", "iand", "ior", "ixor",
    )
}  # fmt: skip


class Typing:
    """Numba's context of types, with a memory for what functions that are part of Numba make of types, and for fields that are numbers."""

    _calls: ClassVar[dict[Any, Any]] = {}
    _fields: ClassVar[dict[Any, Any]] = {}

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def resolve_function_type(self, function: Any, args: Any, keywords: Any) -> Any:
        """See Numba's."""
        if type(function) is not types.Function or keywords:
            return self._context.resolve_function_type(function, args, keywords)
        if function.typing_key in _ARITHMETIC and all(isinstance(arg, (types.Integer, types.Boolean, types.Literal)) for arg in args):
            args = tuple(map(unliteral, args))
        key = id(function), *map(id, args)  # types are one object each
        found = self._calls.get(key)
        if found is None:
            result = self._context.resolve_function_type(function, args, keywords)
            if result is None:
                return None
            found = self._calls[key] = result, function, args
        return found[0]

    def resolve_getattr(self, kind: Any, name: str) -> Any:
        """See Numba's."""
        found = self._fields.get((id(kind), name))
        if found is None:
            result = self._context.resolve_getattr(kind, name)
            if not isinstance(result, types.Number) or isinstance(result, types.Literal):
                return result
            found = self._fields[id(kind), name] = result, kind
        return found[0]


def target(context: Any) -> Any:
    """Numba's context of the machine, which has LLVM compute the size of a type once; Numba's own does for each variable, for debuggers."""
    context.get_abi_sizeof = functools.cache(context.get_abi_sizeof)
    return context
