"""Passes of training: what they are, who does them, and that references, ours and PyTorch agree on small layers of each kind."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import contenders, workloads
from benchmarks.__main__ import app
from benchmarks.inputs import expected
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import tensors
from benchmarks.records import archive
from benchmarks.runner import schedule
from benchmarks.runner.cell import Bench, Spec
from benchmarks.workloads import training_passes
from benchmarks.workloads.training_passes import INPUT, STEP, WEIGHT, Training, expand, of

CLIP = Clip("test", 8000, np.ones((2, 8000), np.float32))
CONV = replace(workloads.by_id("vggish.conv1"), input=None, h=9, w=7, c_in=2, c_out=4)
CONV1D = replace(workloads.by_id("beattcn.d256c1"), input=None, w=40, padding=((0, 0), (4, 4)), dilation=(1, 2), c_out=6, c_in=3)
KINDS = {
    "plain": CONV,
    "unequal padding, no bias": replace(CONV, kh=4, kw=2, padding=((1, 2), (0, 1)), bias=False),
    "stride that leaves the end out": replace(CONV, n=2, stride=(2, 3), h=10, w=9),
    "groups, dilation": replace(CONV, c_in=4, c_out=6, groups=2, dilation=(2, 1), padding=((2, 2), (1, 1))),
    "1-D dilated": CONV1D,
    "1-D stride": replace(CONV1D, stride=(1, 3), padding=((0, 0), (3, 4)), kw=4),
    "transposed": replace(workloads.by_id("spleeter.up4"), h=5, w=6, c_in=3, c_out=2, input=None),
    "transposed 1-D, output padding": replace(
        workloads.by_id("demucs.up2"), w=9, c_in=4, c_out=3, input=None, kw=5, stride=(1, 3), padding=((0, 0), (1, -1)), dilation=(1, 1)
    ),
}
PARTS = (INPUT, WEIGHT, STEP)


def by_differences(workload: Training, part: str) -> np.ndarray:
    """The gradient of sum(grad * layer(x, weight)) by moving each number by one: the layer is linear in each."""
    layer = Training.__mro__[1](**{name: getattr(workload, name) for name in training_passes.Workload.__dataclass_fields__})
    given = replace(tensors(workload, CLIP), bias=None)
    assert given.grad is not None and given.weight is not None
    name = "x" if part == INPUT else "weight"
    moved = getattr(given, name).astype(np.float64)
    base = expected.answer(layer, given)
    found = np.empty(moved.size)
    for place in range(moved.size):
        changed = moved.copy()
        changed.flat[place] += 1
        found[place] = ((expected.answer(layer, replace(given, **{name: changed})) - base) * given.grad).sum()
    return found.reshape(moved.shape)


@pytest.mark.parametrize("part", [INPUT, WEIGHT])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_is_the_derivative(kind: str, part: str) -> None:
    workload = of(KINDS[kind], part)
    assert isinstance(workload, Training)
    got = expected.answer(workload, tensors(workload, CLIP))
    np.testing.assert_allclose(got, by_differences(workload, part), rtol=1e-9, atol=1e-9)


def test_the_reference_of_far_strides_takes_no_memory_for_what_lies_between() -> None:
    layer = replace(workloads.by_id("panns.stft"), input=None, w=16000)
    workload = of(layer, INPUT)
    given = tensors(workload, CLIP)
    assert given.weight is not None and given.grad is not None
    operands = given.weight.size + given.grad.size + given.x.size
    tracemalloc.start()
    expected.answer(workload, given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 8 * operands < layer.c_out * layer.w * 8, "a number of every output channel at every position"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("kind", KINDS)
def test_ours_and_pytorch_agree_with_it(kind: str, part: str) -> None:
    workload = of(KINDS[kind], part)
    bench = Bench(CLIP, schedule.PRESETS["quick"].budget)
    lines = [bench.measure(Spec(workload, each, 1), None) for each in contenders.installed() if part in each.trains]
    assert {line.status for line in lines} <= {"ok", "refused"}, [(line.contender, line.reason) for line in lines]
    done = {line.contender for line in lines if line.status == "ok"}
    assert ("auto" in done or part == STEP) and (part == STEP or "direct" in done)
    assert all(line.error is not None and line.error < 1e-5 for line in lines if line.status == "ok")


def test_a_step_that_is_wrong_in_its_smallest_part_is_wrong() -> None:
    workload = of(KINDS["plain"], STEP)
    want = expected.remembered(workload, tensors(workload, CLIP), CLIP)
    got = want.answer.copy()
    got[-1] += 0.1 * np.abs(got[-workload.c_out :]).max()  # the bias's gradient
    assert want.error(want.answer) == 0 and want.error(got) == pytest.approx(0.1)
    assert sum(map(prod, workload.parts)) == len(got)


def test_work_and_names() -> None:
    layer = KINDS["plain"]
    found = expand([layer, workloads.by_id("cnn14.pool1")], ("forward", INPUT, STEP))
    assert [each.id for each in found] == ["vggish.conv1", "vggish.conv1.backward_input", "vggish.conv1.step", "cnn14.pool1"]
    assert found[1].flops == layer.flops and found[2].flops == 3 * layer.flops and found[1].out_shape == layer.x_shape
    assert of(layer, WEIGHT).batched(2).summed == 2 * layer.oh * layer.ow
    assert [each.id for each in workloads.select("quick", ["crepe.*.backward_weight"])] == [
        "crepe.conv1.backward_weight", "crepe.conv2.backward_weight", "crepe.conv3.backward_weight", "crepe.conv4.backward_weight",
        "crepe.conv5.backward_weight", "crepe.conv6.backward_weight",
    ]  # fmt: skip
    assert not any(isinstance(each, Training) for each in workloads.select("quick", ["crepe.*"]))
    with pytest.raises(ValueError, match="no pass 'back'; there are forward, input, weight, step"):
        expand([layer], ("back",))


def test_a_tiny_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "layers.txt").write_text("conv2d n1 c2 8x9 -> c4 k3x3 s1x1 p1+1x1+1 d1x1 g1 bias float32\n")
    words = ["run", "--layers", str(tmp_path / "layers.txt"), "--pass", "input,weight,step", "--contender", "auto", "--contender", "torch"]
    done = CliRunner().invoke(app, [*words, "--passes", "1", "--threads", "1", "--out", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert all(word in done.output for word in (" input", " weight", " step"))
    (folder,) = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    cells = archive.load(folder).cells
    assert [cell.workload.rpartition(".")[2] for cell in cells] == ["backward_input"] * 2 + ["backward_weight"] * 2 + ["step"] * 2
    assert all(cell.status == "ok" and cell.samples for cell in cells)
    assert "backward_<wbr>weight" in (folder / "index.html").read_text()
