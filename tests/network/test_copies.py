"""Whatever holds addresses, views or compiled code is copied, pickled and forked right: before calls and after, the original gone."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE

import kernels
from kernels import layer

ROOT = Path(__file__).parents[2]
X = np.random.default_rng(0).standard_normal((1, 16, 24, 24), dtype=np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((16, 16, 3, 3), dtype=np.float32)
LAYERS = [
    layer("conv2d", WEIGHT, np.ones(16, np.float32), padding=1), layer("batch_norm", *np.ones((2, 16), np.float32)),
    layer("activation", "relu"), layer("concatenate", [layer("conv2d", WEIGHT, padding=1)], []), layer("max_pool2d", 2),
    layer("conv2d", WEIGHT, groups=2),
    layer("flatten"), layer("linear", np.ones((3, 16 * 100), np.float32)),
]  # fmt: skip

MADE: dict[str, Callable[[], Any]] = {
    **{name: (lambda name=name: kernels.plan("conv2d", X.shape, WEIGHT, np.ones(16, np.float32), padding=1, implementation=name))
       for name in ("auto", "direct", "winograd", "fft", "im2col", "jit")},
    "depthwise": lambda: kernels.plan("conv2d", X.shape, WEIGHT[:, :1], groups=16, implementation="depthwise"),
    "half": lambda: kernels.plan("conv2d", X.shape, WEIGHT.astype(np.float16), activation=("elu", 0.5), pool=("max", 2), dtype="float16"),
    "channels last": lambda: kernels.plan("conv2d", (1, 24, 24, 16), WEIGHT.transpose(2, 3, 1, 0), layout="channels_last"),
    "transposed": lambda: kernels.plan("conv_transpose2d", X.shape, WEIGHT, stride=2, threads=1),
    "volume": lambda: kernels.plan("conv3d", (16, 4, 24, 24), WEIGHT[:, :, None]),
    "pool": lambda: kernels.plan("max_pool2d", X.shape, 3, 2, return_indices=True),
    "average": lambda: kernels.plan("adaptive_avg_pool2d", X.shape, 5),
    "gradient of input": lambda: kernels.plan("conv2d_input", X.shape, WEIGHT, X.shape, padding=1),
    "gradient of weight": lambda: kernels.plan("conv2d_weight", X.shape, WEIGHT.shape, X.shape, padding=1),
    "sequence": lambda: kernels.sequence(LAYERS[:6], X.shape), "network": lambda: kernels.sequence([
        *LAYERS[:5], layer("conv2d", np.ones((16, 32, 3, 3), np.float32)), *LAYERS[6:]], X.shape, dtype=np.float16),
    "no layers": lambda: kernels.sequence([], X.shape),
}  # fmt: skip


def arguments(name: str) -> tuple[np.ndarray, ...]:
    if name == "channels last":
        return (X.transpose(0, 2, 3, 1).copy(),)
    if name == "volume":
        return (np.ascontiguousarray(np.broadcast_to(X[0, :, None], (16, 4, 24, 24))),)
    if name == "gradient of weight":
        return X, X
    return (X.astype(np.float16) if name in ("half", "network") else X,)


def make(name: str) -> Any:
    if name == "sequence":  # of which the last layer's channels must fit
        return kernels.sequence([*LAYERS[:5], layer("conv2d", WEIGHT, groups=2)], X.shape)
    return MADE[name]()


def answer(made: Any, name: str) -> list[np.ndarray]:
    found = made(*arguments(name))
    return [each.copy() for each in (found if isinstance(found, tuple) else (found,))]


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy, "deepcopy": copy.deepcopy, "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "oldest pickle": lambda made: pickle.loads(pickle.dumps(made, 2)), "deepcopy of a list": lambda made: copy.deepcopy([made, made])[1],
}  # fmt: skip


@pytest.fixture(scope="module")
def few_to_collect() -> Iterator[None]:
    """The garbage collector looks at what these tests make alone: at all modules it takes a tenth of a second each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("few_to_collect")
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
@pytest.mark.parametrize("name", list(MADE))
def test_a_copy_computes_the_same_when_the_original_is_gone(name: str, called: bool, how: str) -> None:
    made = make(name)
    expected = answer(make(name), name)
    if called:
        answer(made, name)
    other = COPIES[how](made)
    del made
    gc.collect()
    scribble = [np.full(1 << 16, np.nan) for _ in range(8)]  # over whatever was freed
    for _ in range(2):
        for found, right in zip(answer(other, name), expected):
            np.testing.assert_array_equal(found, right)
    assert other.out_shape == make(name).out_shape and len(scribble) == 8


def test_both_may_be_called_in_turns() -> None:
    for name in ("sequence", "winograd"):
        one = make(name)
        expected = answer(one, name)
        two = COPIES["pickle"](one)
        for made in (two, one, two):
            np.testing.assert_array_equal(answer(made, name)[0], expected[0])


@pytest.mark.parametrize("name", ["winograd", "sequence", "gradient of weight"])
def test_a_pickle_holds_no_packed_weights_and_serves_another_process(tmp_path: Path, name: str) -> None:
    made = make(name)
    expected = answer(made, name)
    file = tmp_path / "made.pickle"
    file.write_bytes(pickle.dumps((made, arguments(name))))
    assert file.stat().st_size < X.nbytes * 2 + WEIGHT.nbytes * 4 + 10_000
    code = f"import pickle, sys; made, x = pickle.load(open({str(file)!r}, 'rb')); sys.stdout.buffer.write(made(*x).tobytes())"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.float32).reshape(expected[0].shape), expected[0])


def test_later_changes_to_weights_reach_no_pickle() -> None:
    weight = WEIGHT.copy()
    made = kernels.plan("conv2d", X.shape, weight)
    network = kernels.sequence([layer("add", [layer("conv2d", weight, padding=1)], [])], X.shape)
    expected = made(X), network(X)
    weight[:] = np.nan
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made))(X), expected[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(network))(X), expected[1])


def test_layers_themselves() -> None:
    for each in LAYERS:
        for how in COPIES.values():
            other = how(each)
            assert repr(other) == repr(each) and other.op == each.op
    before = kernels.sequence(LAYERS[:3], X.shape)(X)
    layers = pickle.loads(pickle.dumps(LAYERS[:3]))
    np.testing.assert_array_equal(kernels.sequence(layers, X.shape)(X), before)


def _child(pipe: Any, made: Any, name: str) -> None:
    pipe.send([each.tobytes() for each in answer(made, name)])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("called", [False, True], ids=["fresh", "called"])
@pytest.mark.parametrize("name", ["winograd", "direct", "fft", "sequence", "pool", "network"])
def test_a_forked_child_computes_the_same(name: str, called: bool) -> None:
    made = make(name)
    expected = [each.tobytes() for each in answer(make(name), name)]
    if called:
        answer(made, name)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, made, name))
    child.start()
    assert ours.poll(PATIENCE), "the child does not answer"
    assert ours.recv() == expected
    child.join(PATIENCE)
    assert child.exitcode == 0
    assert [each.tobytes() for each in answer(made, name)] == expected
