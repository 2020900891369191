"""What becomes of a function's LLVM IR: Numba's code libraries, cut to what this library needs.

Numba optimises the code of each function twice, once cheaply before it removes counts of references, and makes machine code of it, of
helpers too, whose code is linked into every function that calls them and optimised there again. Here what runs is optimised once, with all
that it calls, and what is only called is handed on as it was emitted.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from llvmlite.binding import create_new_module_pass_manager
from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.environment import lookup_environment

from kernels.runtime.lean_compiler import Typing, passes, target
from kernels.runtime.locks import in_children


class Code(JITCodeLibrary):
    """Of a function that Python calls, or anybody by its address."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)

    def _finalize_specific(self) -> None:
        super()._finalize_specific()
        for variable in self._final_module.global_variables:  # parts have their environments, which Numba sets where it loads code, here
            environment = lookup_environment(variable.name)
            if environment is not None:
                self._codegen.set_env(variable.name, environment)


class Part(Code):
    """Of a function that compiled code calls: it never runs by itself."""

    def _optimize_final_module(self) -> None:
        """Its callers do. Only what nobody reads leaves, as addresses of this process, with which Numba begins a call: none may be kept."""
        passes = create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_dead_code_elimination_pass()
        passes.add_global_dead_code_eliminate_pass()
        passes.run(self._final_module, self._codegen._pass_builder())

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def serialize_using_object_code(self) -> Any:
        """There is none."""
        return self.serialize_using_bitcode()


def _called_by_none(library: Part, descriptor: Any, environment: Any) -> Any:
    """What stands for a part where Numba has a function for Python, by which calls find it. It has no address."""
    return _dynfunc.make_function(descriptor.lookup_module(), descriptor.qualname, "", 0, environment, (library,))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, in all of the process: the compiler makes millions of objects that go by themselves. Where a fork of
    another thread meets this, the child collects again."""
    global _paused
    collects = gc.isenabled()
    gc.disable()
    _paused = _paused or collects
    try:
        yield
    finally:
        if collects:
            _paused = False
            gc.enable()


_paused = False  # whether collection is off because of us


def _resume() -> None:
    """Of a child whose parent was compiling."""
    global _paused
    if _paused:
        _paused = False
        gc.enable()


in_children(_resume)


class IntoCode(Compiler):
    """Numba's compiler, for functions that run."""

    library: type[Code] = Code

    @_uncollected()
    def compile_extra(self, func: Any) -> Any:
        """See Compiler."""
        return super().compile_extra(func)

    def define_pipelines(self) -> Any:
        """The passes that this function needs, which find a library begun."""
        self.state.library = self.library(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        self.state.library.enable_object_caching()
        self.state.typingctx, self.state.targetctx = Typing(self.state.typingctx), target(self.state.targetctx)
        return [passes(self.state)]


class IntoPart(IntoCode):
    """The same for functions that compiled code calls."""

    library = Part

    def define_pipelines(self) -> Any:
        """See IntoCode."""
        self.state.targetctx = self.state.targetctx.subtarget(get_executable=_called_by_none)
        return super().define_pipelines()
