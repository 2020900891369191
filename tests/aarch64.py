"""Micro-kernels as aarch64 gets them, cross-compiled here: their instructions, to be counted by tests of machines that are not here.

LLVM carries every target, so no such machine is needed to see what it would run: `assembly` has an emitter write its instructions, runs the
passes that Numba runs, and returns the text; `loops` finds the innermost loops in it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterable
from typing import Any

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from kernels.runtime.ir import I64, VectorBuilder
from kernels.runtime.micro_kernel import fixed_fields

TRIPLE = "aarch64-unknown-linux-gnu"
CPUS = ("apple-m1", "neoverse-n1", "neoverse-v1")

SPILL = re.compile(r"^(ldr|str|ldp|stp|ldur|stur)\s+[qdsv]\d+.*\[sp\b")
BRANCH = re.compile(r"^(b|b\.\w+|cbn?z|tbn?z)\s")


@functools.cache
def machine(cpu: str) -> Any:
    """LLVM's description of a processor; skips the test where LLVM was built without the target."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(TRIPLE)
    except RuntimeError:
        pytest.skip("this llvmlite was built without AArch64")
    return target.create_target_machine(cpu=cpu, opt=3, reloc="static")


def assembly(emitted: Any, arguments: Any, *pieces: Any, cpu: str, **fixed: int) -> str:
    """What the emitter becomes for a record of the class `arguments` with these fixed fields, all others int64s that are not known.

    pieces: the class of the second record, or the names of what comes after the record.
    """
    assert set(fixed_fields(arguments)) == set(fixed)
    emit = inspect.unwrap(emitted)
    own = [piece._fields if hasattr(piece, "_fields") else (piece,) for piece in pieces]
    names = [name for name in arguments._fields if name not in fixed] + [name for fields in own for name in fields]
    module = ir.Module("micro_kernel")
    module.triple, module.data_layout = TRIPLE, str(machine(cpu).target_data)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64] * len(names)), "micro_kernel")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    values = iter(function.args)
    record = arguments(**{name: fixed[name] if name in fixed else next(values) for name in arguments._fields})
    others = [piece(*(next(values) for _ in piece._fields)) if hasattr(piece, "_fields") else next(values) for piece in pieces]
    emit(VectorBuilder(builder, record.lanes, record.itemsize), record, *others)
    builder.ret_void()
    return _compiled(str(module), cpu)


def _compiled(text: str, cpu: str) -> str:
    """With the passes of `numba.core.codegen`, the cheap ones first."""
    parsed, target = llvm.parse_assembly(text), machine(cpu)
    parsed.verify()
    for speed, vectorised in ((0, False), (3, True)):
        options = llvm.create_pipeline_tuning_options(speed_level=speed)
        options.loop_vectorization, options.slp_vectorization = vectorised, vectorised
        passes = llvm.create_pass_builder(target, options)
        manager = passes.getModulePassManager()
        if not speed:
            manager.add_loop_rotate_pass()
            manager.add_instruction_combine_pass()
            manager.add_jump_threading_pass()
        manager.run(parsed, passes)
    return str(target.emit_assembly(parsed))


@dataclasses.dataclass(frozen=True)
class Loop:
    """An innermost loop: its instructions, from its label to the branch back."""

    lines: tuple[str, ...]

    def count(self, *names: str) -> int:
        """Instructions of these names."""
        return sum(line.split()[0] in names for line in self.lines)

    @property
    def multiply_adds(self) -> int:
        """Of whole vectors."""
        return self.count("fmla", "fmls")

    @property
    def by_element(self) -> int:
        """Multiply-adds one factor of which is one lane of a register, so that nothing need be spread over a vector first."""
        return sum(bool(re.match(r"fml[as]\s.*\[\d+\]$", line)) for line in self.lines)

    @property
    def spills(self) -> int:
        """Numbers that go to the stack or come from it."""
        return spills(self.lines)


def spills(lines: Iterable[str]) -> int:
    """Vectors and numbers that go to the stack or come from it."""
    return sum(bool(SPILL.match(line)) for line in lines)


def instructions(text: str) -> list[str]:
    """Lines that are instructions or labels, without comments."""
    found = (re.sub(r"\s+", " ", line.partition("//")[0]).strip() for line in text.splitlines())
    return [line for line in found if line and (not line.startswith(".") or line.endswith(":"))]


def loops(text: str) -> list[Loop]:
    """Innermost loops: runs from a label to a branch back to it that no other such run lies in."""
    lines = instructions(text)
    places = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    runs = []
    for i, line in enumerate(lines):
        goal = line.split()[-1].rpartition(",")[2]
        if BRANCH.match(line) and places.get(goal, i + 1) <= i:
            runs.append((places[goal], i))
    inner = [(a, b) for a, b in runs if not any((a, b) != (c, d) and a <= c and d <= b for c, d in runs)]
    return [Loop(tuple(line for line in lines[a : b + 1] if not line.endswith(":"))) for a, b in inner]


def hot(text: str) -> Loop:
    """The innermost loop with the most multiply-adds."""
    return max(loops(text), key=lambda loop: loop.multiply_adds)
