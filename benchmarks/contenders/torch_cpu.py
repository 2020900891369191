"""PyTorch on the CPU (oneDNN underneath), in both memory formats it has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from benchmarks.contenders import training_calls
from benchmarks.contenders.base import Contender, Prepared, pads_differ
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.networks import Network
from benchmarks.workloads.nodes import BATCH_NORM_EPSILON, Node, folded
from benchmarks.workloads.training_passes import INPUT, STEP, WEIGHT, Training

OPS = (
    "conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
    "global_avg_pool", "global_max_pool", "network",
)  # fmt: skip


def as_without_ours() -> None:
    """PyTorch's threads wait for work as they do where our library is not: our calls from PyTorch make them sleep."""
    waiting = sys.modules.get("kernels.torch.waiting")
    if waiting:
        waiting.spins()


class Torch(Contender):
    """torch.nn.functional on plain contiguous (channels first) tensors."""

    name = "torch"
    modules = ("torch",)
    inside_timer = (
        "One torch.nn.functional call in inference mode, its output's allocation included (it takes no output argument); "
        "unequal padding, which PyTorch cannot say, is an F.pad inside (a transposed layer's is a view that leaves out what it crops). "
        "A network is one call a layer, batch norms that follow a convolution in its weights, activations in place. Gradients are one "
        "torch.autograd.grad, a step the layer, autograd and the update: autograd's own 10 to 40 us are in both."
    )
    channels_last = False
    trains = INPUT, WEIGHT, STEP

    def available(self) -> str | None:
        return None if find_spec("torch") else "PyTorch is not installed (pip install torch)"

    def version(self) -> str | None:
        return version("torch")

    def refuse(self, workload: Workload) -> str | None:
        if workload.op not in OPS:
            return f"the suite has no PyTorch call for {workload.op}"
        if workload.op.startswith("avg") and max(workload.dilation) > 1:
            return "PyTorch has no dilated average pool"
        if workload.op.startswith("avg") and _padded_apart(workload) and (workload.ceil_mode or not workload.count_include_pad):
            return "PyTorch's average pool takes equal padding of at most half a window; zeros put around before would count otherwise"
        return None

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        import torch

        torch.set_num_threads(threads)
        as_without_ours()
        if isinstance(workload, Training):
            return self.backward(workload, given)
        call = self.call(workload, given)
        x = self.tensor(workload, given.x)

        def run() -> Any:
            with torch.inference_mode():
                return call(x)

        return Prepared(run=run, answer=lambda y: y.numpy().reshape(workload.out_shape))

    def backward(self, workload: Training, given: Tensors) -> Prepared:
        """A pass of training by PyTorch's autograd."""
        x, weight, bias, grad = (self.tensor(workload, array) for array in (given.x, given.weight, given.bias, given.grad))
        dims = 2 if self.lifted(workload) else workload.dims
        run = training_calls.backward(workload, lambda w, b: call_layer(workload, w, b, dims), x, weight, bias, grad)
        return Prepared(run=run, answer=lambda found: training_calls.joined(workload, found))

    def lifted(self, workload: Workload) -> bool:
        """Whether 1-D tensors get height 1: they have no channels-last format in PyTorch, the same layer in two dimensions does."""
        return self.channels_last and workload.dims == 1

    def tensor(self, workload: Workload, array: Any) -> Any:
        """An array as a tensor in memory of its own, aligned as PyTorch likes it, in this contender's format."""
        import torch

        if array is None:
            return None
        found = torch.tensor(array)
        if found.ndim == 3 and self.lifted(workload):
            found = found.unsqueeze(2)
        return found.contiguous(memory_format=torch.channels_last) if self.channels_last and found.ndim == 4 else found

    def call(self, workload: Workload, given: Tensors) -> Callable[[Any], Any]:
        """What computes the workload from its input, weights in this contender's format."""
        dims = 2 if self.lifted(workload) else workload.dims
        tensor = partial(self.tensor, workload)
        if isinstance(workload, Network):
            return _chain(folded(workload.nodes), tensor, dims)
        return call_layer(workload, tensor(given.weight), tensor(given.bias), dims)


class TorchChannelsLast(Torch):
    """The same with input, weights and output in channels-last memory format."""

    name = "torch_channels_last"
    inside_timer = (
        "As torch, with input and weights already converted to channels-last before, and the output left so; 1-D layers run with height 1."
    )
    channels_last = True


def call_layer(workload: Workload, weight: Any, bias: Any, dims: int, functions: Any = None) -> Callable[[Any], Any]:
    """What computes a layer from its input; functions: who has torch.nn.functional's convolutions, if not PyTorch."""
    import torch.nn.functional as F

    functions = functions or F
    if workload.is_global:
        pool = F.adaptive_max_pool2d if workload.is_max else F.adaptive_avg_pool2d
        return lambda x: pool(x, 1)
    stride, dilation, pads = workload.stride[-dims:], workload.dilation[-dims:], workload.padding[-dims:]
    if workload.is_transposed:
        return _call_transposed(workload, weight, bias, dims, functions)
    if workload.is_conv:
        conv = {1: functions.conv1d, 2: functions.conv2d}[dims]
        if not pads_differ(workload):
            before = tuple(pad[0] for pad in pads)
            return lambda x: conv(x, weight, bias, stride, before, dilation, workload.groups)
        around = [amount for pad in reversed(pads) for amount in pad]  # F.pad counts from the last axis
        return lambda x: conv(F.pad(x, around), weight, bias, stride, 0, dilation, workload.groups)
    return _call_pool(workload, dims)


def _padded_apart(workload: Workload) -> bool:
    """Whether a pool needs padding that PyTorch's own argument cannot say."""
    return pads_differ(workload) or any(before > size // 2 for (before, _), size in zip(workload.padding, (workload.kh, workload.kw)))


def _call_pool(workload: Workload, dims: int) -> Callable[[Any], Any]:
    import torch.nn.functional as F

    pool = getattr(F, f"{'max' if workload.is_max else 'avg'}_pool{dims}d")
    pads, options = workload.padding[-dims:], {"ceil_mode": workload.ceil_mode}
    options |= {"dilation": workload.dilation[-dims:]} if workload.is_max else {"count_include_pad": workload.count_include_pad}
    kernel, stride = (workload.kh, workload.kw)[-dims:], workload.stride[-dims:]
    if not _padded_apart(workload):
        return lambda x: pool(x, kernel, stride, tuple(pad[0] for pad in pads), **options)
    around, nothing = [amount for pad in reversed(pads) for amount in pad], float("-inf") if workload.is_max else 0.0
    return lambda x: pool(F.pad(x, around, value=nothing), kernel, stride, **options)


def _call_transposed(workload: Workload, weight: Any, bias: Any, dims: int, functions: Any) -> Callable[[Any], Any]:
    conv = {1: functions.conv_transpose1d, 2: functions.conv_transpose2d}[dims]
    stride, dilation, pads = workload.stride[-dims:], workload.dilation[-dims:], workload.padding[-dims:]
    both = tuple(max(0, min(pad)) for pad in pads)  # PyTorch crops as much before as after; the rest is left out of the result
    sizes = (workload.oh, workload.ow)[-dims:]
    kept = (..., *(slice(before - low, before - low + size) for (before, _), low, size in zip(pads, both, sizes)))
    more = workload.output_padding[-dims:]
    return lambda x: conv(x, weight, bias, stride, both, more, workload.groups, dilation)[kept]


def _chain(nodes: Sequence[Node], tensor: Callable[[Any], Any], dims: int) -> Callable[[Any], Any]:
    """All layers of a network, one call after the other."""
    calls = [_layer(node, tensor, dims) for node in nodes]

    def run(x: Any) -> Any:
        for call in calls:
            x = call(x)
        return x

    return run


def _layer(node: Node, tensor: Callable[[Any], Any], dims: int) -> Callable[[Any], Any]:
    import torch
    import torch.nn.functional as F

    if node.workload:
        weight, bias = (*map(tensor, node.arrays), None, None)[:2]
        return call_layer(node.workload, weight, bias, dims)
    if node.branches:
        branches = [_chain(branch, tensor, dims) for branch in node.branches]
        if node.op == "concatenate":
            return lambda x: torch.cat([branch(x) for branch in branches], 1)
        return lambda x: sum(branch(x) for branch in branches)
    if node.op == "batch_norm" and node.axis == 1:
        mean, var, gamma, beta = map(tensor, node.arrays)
        return lambda x: F.batch_norm(x, mean, var, gamma, beta, eps=BATCH_NORM_EPSILON)
    if node.op == "batch_norm":
        scale, shift = map(tensor, node.scale_and_shift())
        return lambda x: torch.addcmul(shift, x, scale)
    if node.op == "linear":
        matrix, offset = map(tensor, node.arrays)
        return lambda x: F.linear(x, matrix, offset)
    return {
        "flatten": lambda x: torch.flatten(x, 1), "relu": F.relu_, "elu": F.elu_, "sigmoid": torch.sigmoid_,
    }[node.op]  # fmt: skip
