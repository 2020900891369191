"""Whole networks in the suite: their sizes are the catalogue's, and every contender that runs them answers as the reference does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import contenders, workloads
from benchmarks.contenders import Contender
from benchmarks.inputs import expected
from benchmarks.inputs.clip import Clip
from benchmarks.inputs.tensors import tensors
from benchmarks.records.results import CHOOSERS
from benchmarks.workloads.networks import ELU, FLATTEN, RELU, Draw, Network, networks
from kernels import Layer, layer

CLIP = Clip("test", 8000, np.ones((2, 8000), np.float32))


def small(draw: Draw) -> list[Layer]:
    """Everything that the six are made of."""
    return [
        draw.norm(12, axis=2),
        layer("conv2d", draw.weight(4, 1, 3, 3), padding=1), draw.norm(4), ELU, layer("max_pool2d", (2, 1)),
        layer("concatenate",
              [draw.conv(3, 4, 3, 2, padding=[(1, 1), (0, 0)]), RELU, draw.norm(3), layer("max_pool2d", (1, 15))],
              [draw.conv(2, 4, 4, 1), RELU, draw.norm(2), layer("avg_pool2d", (1, 16))]),
        layer("add", [layer("global_max_pool")], [layer("global_avg_pool")]),
        FLATTEN, *draw.tags(6, 5, 1.0),
    ]  # fmt: skip


def small_1d(draw: Draw) -> list[Layer]:
    """The same for signals."""
    first = [draw.conv(4, 1, 5, stride=3, padding=0), draw.norm(4), RELU, layer("max_pool1d", 2)]
    return [*first, draw.conv(3, 4, 4), FLATTEN, draw.linear(2, 39)]


IMAGE = replace(networks()[0], build=small, id="network.small", h=12, w=16, input=None)
SIGNAL = replace(networks()[-1], build=small_1d, id="network.signal", w=83, input=None)


@pytest.mark.parametrize("contender", contenders.installed(), ids=lambda each: each.name)
@pytest.mark.parametrize("network", [IMAGE, IMAGE.batched(3), SIGNAL], ids=["image", "three images", "signal"])
def test_answers_agree_with_the_reference(network: Network, contender: Contender) -> None:
    if sentence := contender.refuse(network):
        able = (*CHOOSERS, "torch", "torch_channels_last", "torch_compiled", "onnxruntime", "openvino")
        assert contender.name not in able and len(sentence.split()) >= 4
        pytest.skip(sentence)
    given = tensors(network, CLIP)
    prepared = contender.prepare(network, given, threads=1)
    want = expected.answer(network, given)
    for _ in range(2):  # the second call must not find the first one's leftovers
        got = prepared.answer(prepared.run())
        assert got.shape == want.shape == network.out_shape and got.dtype == np.float32
        bound = expected.tolerance(network) if prepared.error_bound is None else prepared.error_bound
        assert expected.error(got, want) <= bound


@pytest.mark.parametrize("network", networks(), ids=lambda each: each.id)
def test_convolutions_are_the_catalogues(network: Network) -> None:
    rows = [row for row in workloads.catalogue() if row.model == network.model and row.is_conv and not row.layer.startswith("mid")]
    convolutions = [
        node.workload for top in network.nodes for node in (top, *(each for branch in top.branches for each in branch))
        if node.workload and node.workload.is_conv
    ]  # fmt: skip
    sizes = ("n", "c_in", "h", "w", "c_out", "kh", "kw", "stride", "padding")
    assert [[getattr(each, name) for name in sizes] for each in convolutions] == [[getattr(row, name) for name in sizes] for row in rows]
    assert network.flops > sum(row.flops for row in rows)
    assert network.batched(8).x_shape[0] == 8 * network.x_shape[0]


def test_globs_find_networks_and_presets_leave_them_out() -> None:
    names = [each.id for each in workloads.select("quick", ["network.*"])]
    assert names == [f"network.{name}" for name in ("vggish", "cnn14", "choi-fcn5", "musicnn-frontend", "samplecnn", "crepe")]
    assert not any(each.id.startswith("network.") for name in workloads.PRESETS for each in workloads.preset(name))
