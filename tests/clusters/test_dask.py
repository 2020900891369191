"""Networks on dask arrays against the unchunked call: chunks, metadata, schedulers, workers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patience import PATIENCE, lines_run

import kernels
from kernels import ProblemError, RefusedError, layer
from tests.streaming.test_stream import drawn, filled, stacks, whole

da = pytest.importorskip("dask.array")

import kernels.dask as lazy  # noqa: E402 -- needs dask
from kernels.dask import worker  # noqa: E402

Array = np.ndarray
slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LAYERS = [
    layer("conv1d", drawn(0, 8, 2, 9), drawn(1, 8), stride=3, padding=((5, 2),), activation="relu"), layer("max_pool1d", 2),
    layer("add", [layer("conv1d", drawn(2, 8, 8, 3), padding=1)], []), layer("conv_transpose1d", drawn(3, 8, 4, 4), stride=2, padding=1),
]  # fmt: skip


@slow
@given(stacks(), st.integers(1, 200), st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 2))
def test_any_chunks_give_the_unchunked_calls_bits(stack: Any, length: int, sizes: list[int], batch: int) -> None:
    layers, shape, axis = stack
    x = filled(shape, length)
    try:
        expected = whole(layers, x)
    except ProblemError:
        return
    along, rest = [], length
    while rest:
        along.append(min(rest, sizes[len(along) % len(sizes)]))
        rest -= along[-1]
    chunks = tuple(batch if i == 0 else tuple(along) if i == x.ndim + axis else each for i, each in enumerate(x.shape))
    try:
        y = lazy.apply(layers, da.from_array(x, chunks=chunks), axis=axis, implementation="direct")
    except RefusedError as error:
        assert "ceil_mode" in str(error) or "padding" in str(error)
        return
    assert y.shape == expected.shape and y.dtype == expected.dtype
    assert y._meta.dtype == expected.dtype and y._meta.shape == (0,) * expected.ndim
    for place in np.ndindex(y.numblocks):
        block = y.blocks[place].compute(scheduler="synchronous")
        assert block.shape == tuple(sizes[i] for sizes, i in zip(y.chunks, place)) and block.size
    np.testing.assert_array_equal(y.compute(scheduler="synchronous"), expected)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_every_scheduler(scheduler: str) -> None:
    x = drawn(4, 3, 2, 5003)
    y = lazy.apply(LAYERS, da.from_array(x, chunks=((2, 1), 2, 700)), implementation="direct")
    assert y.chunks[0] == (2, 1) and len(y.chunks[2]) == 8
    np.testing.assert_array_equal(y.compute(scheduler=scheduler, num_workers=2), whole(LAYERS, x))


def test_functions_take_what_those_of_arrays_take() -> None:
    x, weight = drawn(0, 2, 4, 900), drawn(1, 6, 2, 5)
    options: dict[str, Any] = {"stride": 2, "padding": "same", "groups": 2, "implementation": "direct"}
    chunked = da.from_array(x, chunks=(1, 4, 250))
    np.testing.assert_array_equal(lazy.conv1d(chunked, weight, **options).compute(), kernels.conv1d(x, weight, **options))
    np.testing.assert_array_equal(lazy.conv1d(chunked[0], weight, **options).compute(), kernels.conv1d(x[0], weight, **options))
    np.testing.assert_array_equal(lazy.max_pool1d(chunked, 3, 2, 1).compute(), kernels.max_pool1d(x, 3, 2, 1))
    up = drawn(2, 4, 3, 6)
    np.testing.assert_array_equal(
        lazy.conv_transpose1d(chunked, up, None, 3, 2, implementation="direct").compute(),
        kernels.conv_transpose1d(x, up, None, 3, 2, implementation="direct"),
    )
    for length in (2703, 2704):
        np.testing.assert_array_equal(
            lazy.conv_transpose1d(chunked, up, None, 3, 0, 0, 1, output_size=length, implementation="direct").compute(),
            kernels.conv_transpose1d(x, up, None, 3, 0, 0, 1, output_size=length, implementation="direct"),
        )
    with pytest.raises(ProblemError, match="output_size is 2706, must be 2703 to 2705"):
        lazy.conv_transpose1d(chunked, up, None, 3, output_size=2706)
    moved, order = da.from_array(np.moveaxis(x, 1, -1), chunks=(1, 250, 4)), np.moveaxis(weight, (0, 1), (-1, -2))
    options["layout"] = "channels_last"
    np.testing.assert_allclose(
        lazy.conv1d(moved, order, **options).compute(), kernels.conv1d(np.moveaxis(x, 1, -1), order, **options), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("chunks", [(1, 1, 20, 100), (1, 1, 7, 300), (1, 1, 7, 100)])
def test_two_axes_share_out_one(chunks: tuple[int, ...]) -> None:
    x, weight = drawn(0, 1, 1, 20, 300), drawn(1, 4, 1, 3, 5)
    y = lazy.conv2d(da.from_array(x, chunks=chunks), weight, padding=1, implementation="direct")
    np.testing.assert_array_equal(y.compute(), kernels.conv2d(x, weight, padding=1, implementation="direct"))
    noted = any((layer.annotations or {}).get("spectroconv") for layer in y.dask.layers.values())
    assert noted == (chunks[2:] == (7, 100))
    np.testing.assert_allclose(
        lazy.avg_pool2d(da.from_array(x, chunks=chunks), 3, 2).compute(), kernels.avg_pool2d(x, 3, 2), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("chunks", [(1, -1, -1, -1, 7), (2, -1, 3, -1, -1)], ids=["last", "first"])
def test_volumes(chunks: tuple[int, ...]) -> None:
    x = drawn(0, 2, 3, 8, 4, 20)
    chunked = da.from_array(x, chunks=chunks)
    for op, *arguments in (("conv3d", drawn(1, 4, 3, 2, 2, 3)), ("conv_transpose3d", drawn(2, 3, 2, 2, 1, 2), None, 2), ("max_pool3d", 2),
                           ("avg_pool3d", 2)):  # fmt: skip
        y = getattr(lazy, op)(chunked, *arguments)
        assert max(y.numblocks) > 1
        np.testing.assert_allclose(y.compute(), getattr(kernels, op)(x, *arguments), rtol=1e-4, atol=1e-5)


def test_chunks_too_short_are_joined_and_said() -> None:
    x = drawn(0, 1, 2, 500)
    y = lazy.apply(LAYERS, da.from_array(x, chunks=(1, 2, 5)), implementation="direct")
    notes = [(layer.annotations or {}).get("spectroconv") for layer in y.dask.layers.values()]
    assert any("chunks of 5 along time joined to" in (note or "") for note in notes)
    np.testing.assert_array_equal(y.compute(), whole(LAYERS, x))


def test_empty_chunks_are_left_out() -> None:
    x = drawn(0, 2, 2, 300)
    y = lazy.max_pool1d(da.from_array(x, chunks=((1, 0, 1), (2,), (100, 0, 200))), 2)
    assert y.chunks == ((1, 1), (2,), (50, 100))
    np.testing.assert_array_equal(y.compute(), kernels.max_pool1d(x, 2))


@pytest.mark.parametrize("chunks", [(1, 2, 100), ((0,), 2, (100, 0, 200))])
def test_batch_0_is_an_empty_result(chunks: Any) -> None:
    x, weight = np.zeros((0, 2, 300), np.float32), drawn(1, 4, 2, 5)
    chunked = da.from_array(x, chunks=(1, 2, 100)) if chunks[0] == 1 else da.zeros((0, 2, 300), chunks=chunks, dtype="float32")
    for y, expected in (
        (lazy.conv1d(chunked, weight, stride=3, padding=2), kernels.conv1d(x, weight, stride=3, padding=2)),
        (lazy.max_pool1d(chunked, 3), kernels.max_pool1d(x, 3)),
    ):
        assert y.shape == expected.shape and y.dtype == expected.dtype and y.numblocks[2] == 3 - (chunks[0] != 1)
        assert y.compute().shape == expected.shape


def test_a_signal_that_ends_between_two_layers() -> None:
    """The padding of the second would make an output of nothing."""
    layers = [layer("conv1d", np.ones((3, 2, 40), np.float32), padding=((31, 18),), dilation=3)]
    layers.append(layer("conv1d", np.ones((9, 3, 3), np.float32), stride=4, padding=2))
    for length, chunk in ((33, 30), (68, 17)):
        with pytest.raises(ProblemError, match=f"x has {length} inputs along time, its first output needs 69; pass more"):
            lazy.apply(layers, da.ones((1, 2, length), chunks=(1, 2, chunk), dtype="float32"))
    assert lazy.apply(layers, da.ones((1, 2, 69), chunks=(1, 2, 30), dtype="float32")).compute().shape == (1, 9, 1)


def test_weights_are_in_the_graph_once_and_plans_are_made_once() -> None:
    x = da.zeros((1, 2, 12000), chunks=(1, 2, 1200), dtype="float32")
    y = lazy.apply(LAYERS, x, implementation="direct")
    networks = [key for key in y.dask if "-network" in str(key)]
    assert len(networks) == 1
    worker._known.clear()
    y.compute(scheduler="threads", num_workers=2)
    assert len(worker._known) == 1
    found = next(iter(worker._known.values()))
    assert all(len(part.plans) <= 4 for part in found._wired.parts if hasattr(part, "plans")), "first, middle, last chunks"


def test_a_hundred_thousand_chunks() -> None:
    def made(count: int) -> Any:
        return lazy.apply(LAYERS, da.zeros((1, 2, count * 600), chunks=(1, 2, 600), dtype="float32"))

    assert made(100_000).numblocks == (1, 1, 100_000)
    few, many = (lines_run(lambda count=count: made(count)) for count in (1000, 2000))
    assert many < 2.1 * few, "the graph of twice as many chunks takes twice as long"


@pytest.mark.parametrize(("x", "message"), [
    (np.zeros((1, 2, 50), np.float32), "must be a dask array; dask.array.from_array"),
    (da.zeros((2, 50), dtype="float32"), "must be .N, C, .spatial"),
    (da.zeros((1, 2, 2), dtype="float32"), "2 inputs along time"),
    (da.zeros((1, 3, 90), dtype="float32"), "layer 0: conv1d: x has 3 channels"),
    (da.zeros((1, 2, 0), dtype="float32"), "only the batch may be 0"),
    (da.zeros((1, 2, 90), dtype="complex64"), "^dask.apply: x has dtype complex64, which is not computed; convert it to float32"),
    (da.zeros((1, 2, 90), chunks=30, dtype="float32")[da.ones(1, dtype=bool)], "compute_chunk_sizes"),
])  # fmt: skip
def test_mistakes(x: Any, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        lazy.apply([layer("conv1d", drawn(0, 2, 2, 9), stride=3)], x)


@pytest.mark.parametrize(("options", "message"), [
    ({"out": np.zeros(3)}, "out does not go with dask arrays: results are lazy"), ({"threads": 2}, "workers bring their own"),
])  # fmt: skip
def test_options_that_do_not_go(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        lazy.conv1d(da.zeros((1, 2, 90), dtype="float32"), drawn(0, 2, 2, 9), **options)
    with pytest.raises(ProblemError, match="return_indices counts"):
        lazy.max_pool1d(da.zeros((1, 2, 90), dtype="float32"), 2, return_indices=True)
    with pytest.raises(ProblemError, match="layers is a NoneType"):
        lazy.apply(None, da.zeros((1, 2, 90), dtype="float32"))
    with pytest.raises(RefusedError, match="layer 0: global_avg_pool needs the whole signal"):
        lazy.apply([layer("global_avg_pool")], da.zeros((1, 2, 90), dtype="float32"))


SCRIPT = """
import sys
import dask.array as da, numpy as np
from distributed import Client, LocalCluster
from kernels.dask import worker
from tests.clusters.test_dask import LAYERS, drawn, lazy, whole

def load():
    from distributed import get_worker
    return worker.threads_here(), get_worker().state.nthreads, len(worker._known)

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        x = drawn(4, 1, 2, 20011)
        y = lazy.apply(LAYERS, da.from_array(x, chunks=(1, 2, 1500)), implementation="direct")
        assert np.array_equal(y.compute(), whole(LAYERS, x))
        workers = client.scheduler_info()["workers"]
        found = [client.submit(load, workers=[each], pure=False).result() for each in workers]
        assert len(found) == 2 and {each[:2] for each in found} == {(1, 2)} and max(each[2] for each in found) == 1, found
    print("right")
"""


@pytest.mark.parametrize("threading_layer", ["omp", "workqueue"])
def test_a_local_cluster_under_every_threading_layer(threading_layer: str, tmp_path: Any) -> None:
    import os
    from pathlib import Path

    pytest.importorskip("distributed")
    script = tmp_path / "cluster.py"
    script.write_text(SCRIPT)
    root = str(Path(kernels.__file__).parents[1])
    environment = os.environ | {"NUMBA_THREADING_LAYER": threading_layer, "PYTHONPATH": os.pathsep.join([root, f"{root}/tests"])}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=PATIENCE, cwd=root)
    assert done.stdout.strip() == "right", done.stderr[-3000:]
