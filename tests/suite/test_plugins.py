"""Contenders of other packages: the README's example from a distribution made for the test, and what mistakes in others do."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import contenders, workloads
from benchmarks.host import environment
from benchmarks.inputs.clip import Clip
from benchmarks.records import results
from benchmarks.runner.cell import Bench, Budget, Spec

README = (environment.ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
CLIP = Clip("test", 16000, np.ones((2, 16000), np.float32))
# As much of JAX as the example calls, so that its arguments are put to work: a test that installs JAX would test JAX.
JAX = '''
import kernels
import numpy as np

class Array(np.ndarray):
    def block_until_ready(self):
        return self

def device_put(array):
    return array.view(Array)

def jit(function):
    return function

class lax:
    @staticmethod
    def conv_general_dilated(lhs, rhs, window_strides, padding, rhs_dilation, feature_group_count):
        options = {"stride": window_strides, "padding": list(padding), "dilation": rhs_dilation, "groups": feature_group_count}
        conv = {3: kernels.conv1d, 4: kernels.conv2d}[lhs.ndim]
        return conv(lhs, rhs, implementation="jit", **options).view(Array)
'''
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Distributions in a folder on the path, as pip leaves them."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(name: str, points: dict[str, str], **sources: str) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "".join(f"{key} = {value}\n" for key, value in points.items())
        (info / "entry_points.txt").write_text(f"[spectroconv.contenders]\n{lines}")
        for module, source in sources.items():
            (tmp_path / f"{module}.py").write_text(source)
            made.append(module)
        contenders.everyone.cache_clear()

    yield make
    contenders.everyone.cache_clear()
    for module in made:
        sys.modules.pop(module, None)


def example(language: str) -> str:
    """The only block of the README in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return str(found)


def test_the_readmes_example_takes_part(install: Install) -> None:
    points = tomllib.loads(example("toml"))["project"]["entry-points"]["spectroconv.contenders"]
    assert len(example("python").splitlines()) < 45
    install("jax", {}, jax=JAX)
    install("jax-contender", points, jax_contender=example("python"))
    (jax,) = contenders.select(["jax"])
    assert contenders.everyone()[-1] is jax and jax.version() == "1.0"
    bench = Bench(CLIP, Budget(0.01, 1.0))
    for name in ("effat.preemph", "convtasnet.dw64", "musicnn.timbral67"):
        workload = workloads.by_id(name).cut(2_000_000)
        line = bench.measure(Spec(workload, jax, 1), lambda run, rounds: [0.5])
        assert line.status == "ok" and line.peer, line.reason
    pool = bench.measure(Spec(workloads.by_id("cnn14.pool1"), jax, 1), None)
    assert pool.status == "refused" and "avg_pool2d" in pool.reason


def test_reports_count_it_as_a_peer() -> None:
    lines = [
        results.Line("net.a", name, 1, 1, "conv2d", "", 2000, 400, "ok", seconds=(1.0,), peer=peer)
        for name, peer in (("jax", True), ("direct", False), ("torch", True), ("mine", None))
    ]
    run = results.Run("", "", (), "quick", 1, (1,), "", {}, {}, results.merge(lines))
    assert run.peers() == {"jax", "torch"} and run.contenders() == ("direct", "mine", "torch", "jax")


def test_one_packages_mistakes_cost_only_itself(install: Install) -> None:
    well = example("python").replace('name = "jax"', 'name = "well"') + "\ndef two():\n    first, second = Jax(), Jax()\n"
    well += '    second.name = "second"\n    return [first, second]\n'
    bad = example("python").replace('name = "jax"', 'name = "scipy"') + "\ndef number():\n    return [17]\n"
    points = {"alpha": "no_such_module:X", "beta": "bad:number", "scipy": "bad:Jax", "delta": "well:two"}
    install("broken", points, bad=bad, well=well)
    absent = {each.name: each.available() or "" for each in contenders.everyone()[-5:]}
    assert list(absent) == ["alpha", "beta", "well", "second", "scipy-2"]
    assert absent["alpha"].startswith("broken 1.0: no_such_module:X cannot be loaded: ModuleNotFoundError")
    assert "17 is no Contender" in absent["beta"] and "the name scipy is taken" in absent["scipy-2"]
    assert "JAX is not installed" in absent["well"]
    assert not {"alpha", "beta", "scipy-2"} & {each.name for each in contenders.installed()}
    with pytest.raises(ValueError, match=r"contender 'alpha': alpha: broken 1\.0"):
        contenders.select(["alpha"])
