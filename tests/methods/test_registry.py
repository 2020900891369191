"""A method is one folder: what it knows of itself stands in its record, and nothing else of the library names it."""

from __future__ import annotations

import ast
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels import methods
from kernels.dispatch.heuristic import choose
from kernels.methods import load, registry

load()
LIBRARY = Path(kernels.__file__).parent
METHOD = '''
"""Mine."""

import numpy as np

from kernels.methods import registry
from kernels.methods.contract import Implementation, rounding_bound
from kernels.primitives.prepared import Prepared


def prepare(problem, threads):
    def pack(operands):
        def run(x, out):
            out[...] = operands.weight.reshape(-1, 1, 1) * x
        return run
    return Prepared(pack, note="by hand")


def refuse(problem):
    single = problem.taps == problem.c_in == 1 and not problem.bias and max(problem.stride) == 1 and not any(map(sum, problem.padding))
    return None if single else "it scales one channel; use direct"


registry.add(Implementation("mine", "conv", refuse, prepare, rounding_bound, estimate=lambda problem: 1e-12))
'''


def test_a_method_added_in_one_folder_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text('"""One room."""\n')
    (tmp_path / "mine" / "method.py").write_text(METHOD)
    monkeypatch.setattr(registry, "_all", dict(registry._all))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    try:
        methods.load.cache_clear()
        methods.load()
        x, weight = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3), np.full((2, 1, 1, 1), 3, np.float32)
        plan = kernels.plan("conv2d", x.shape, weight)
        assert plan.implementation == "mine", plan.explain()
        assert "mine: taken" in plan.explain() and "by hand" in plan.explain()
        np.testing.assert_array_equal(plan(x), 3 * np.concatenate([x, x], axis=1))
        assert kernels.plan("conv2d", x.shape, weight, padding=1).implementation != "mine"
        # what it is lowered to follows by itself
        np.testing.assert_array_equal(kernels.conv3d(x[:, :, None], weight[:, :, None], implementation="mine")[:, :, 0], plan(x))
        assert kernels.plan("conv3d", (1, 1, 2, 2, 3), weight[:, :, None]).implementation == "mine"
    finally:
        methods.load.cache_clear()
        sys.modules.pop("kernels.methods.mine.method", None)
        sys.modules.pop("kernels.methods.mine", None)


def test_without_an_estimate_it_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = kernels.parse("conv2d n1 c8 9x9 -> c8 k3x3 s1x1 p0+0x0+0 d1x1 g1 float32")
    name = choose(problem).name
    silent = dataclasses.replace(registry.get(problem, name), estimate=None)
    monkeypatch.setattr(registry, "_all", registry._all | {("conv", name): silent})
    assert choose(problem).name != name and choose(problem, name).name == name


def test_a_method_may_register_for_what_it_was_lowered_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_all", dict(registry._all))
    lowered = registry.every("conv3d")["jit"]
    assert lowered.lowered and not registry.every("conv3d")["naive"].lowered
    own = dataclasses.replace(lowered, lowered=False)
    registry.add(own)
    assert registry.every("conv3d")["jit"] is own
    with pytest.raises(ValueError, match="'jit' for 'conv3d' is registered already"):
        registry.add(own)


@pytest.mark.parametrize("room", ["dispatch", "problem", "primitives", "runtime"])
def test_no_room_but_its_own_names_an_engine(room: str) -> None:
    names = {name for operation in registry.operations() for name in registry.every(operation)}
    for file in (LIBRARY / room).rglob("*.py"):
        tree = ast.parse(file.read_text())
        assert not [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in names], file
