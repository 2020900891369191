"""Who plays a listener's network block by block: ours, PyTorch on the receptive field anew, and cached_conv."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import kernels
from benchmarks.streams.live_networks import Listener, options_of
from benchmarks.workloads.layer import Floats
from kernels.problem.halo import Net, Slide

Play = Callable[[Floats], Floats]


def net_of(listener: Listener) -> Net:
    """The arithmetic of a listener's layers along time, which is the last axis."""
    slides = []
    for layer in listener.layers:
        options = options_of(layer)
        if layer.op.startswith("conv"):
            pair = options["padding"][-1] if options["padding"] else (0, 0)
            slides.append(Slide(layer.args[0].shape[-1], options["stride"], before=pair[0], after=pair[1]))
        else:
            kernel = layer.args[0] if isinstance(layer.args[0], int) else layer.args[0][-1]
            slides.append(Slide(kernel, kernel))
    return Net.row(*slides)


def ours(listener: Listener, block: int) -> Play:
    """kernels.stream, planned for blocks of this length."""
    return kernels.stream(listener.layers, shape=listener.shape, block=block)


def _torch_layers(torch: Any, listener: Listener) -> Callable[[Any], Any]:
    """The layers without padding along time."""
    functional = torch.nn.functional
    steps: list[Callable[[Any], Any]] = []
    for layer in listener.layers:
        axes, options = int(layer.op[-2]), options_of(layer)
        if layer.op.startswith("conv"):
            weight, bias = (torch.from_numpy(each) for each in layer.args[:2])
            convolve = getattr(functional, f"conv{axes}d")
            steps.append(lambda x, f=convolve, w=weight, b=bias, s=options["stride"]: f(x, w, b, s))  # type: ignore[misc]
            steps += _torch_activation(torch, options["activation"])
        else:
            pool = getattr(functional, f"max_pool{axes}d")
            steps.append(lambda x, f=pool, k=layer.args[0]: f(x, k))  # type: ignore[misc]

    def run(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return run


def _torch_activation(torch: Any, activation: Any) -> list[Callable[[Any], Any]]:
    if activation is None:
        return []
    if isinstance(activation, tuple):
        return [lambda x: torch.nn.functional.leaky_relu(x, activation[1])]
    return [getattr(torch, activation)]


def torch_again(listener: Listener, block: int) -> Play:
    """PyTorch as it is used where nothing keeps state: for the outputs that a block completes, their receptive field is run anew."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    run, halo = _torch_layers(torch, listener), net_of(listener)
    past = np.zeros([0 if each is None else each for each in listener.shape], np.float32)
    first, heard, done = 0, 0, 0

    def play(x: Floats) -> Floats:
        nonlocal past, first, heard, done
        past = np.concatenate([past, x], -1)
        heard += x.shape[-1]
        outputs = halo.ready(heard)
        if outputs == done:
            return np.empty((1, 0, 0), np.float32)
        low, high = halo.needs(done, outputs)
        if low < 0:  # the beginning, where inner layers pad: said to be silence before the signal, which only the first outputs notice
            x = np.pad(past[..., : high - first], [(0, 0)] * (past.ndim - 1) + [(-low, 0)])
        else:
            x = past[..., low - first : high - first]
        with torch.inference_mode():
            y = run(torch.from_numpy(np.ascontiguousarray(x))).numpy()
        done = outputs
        keep = max(halo.needs(done, done + 1)[0], 0)
        past, first = past[..., keep - first :], keep
        return np.asarray(y)

    return play


def cached(listener: Listener, block: int) -> Play:
    """cached_conv on the same layers. Raises ValueError where it cannot play them."""
    if len(listener.shape) != 3:
        raise ValueError("cached_conv has 1-D convolutions only")
    if any(options_of(layer)["padding"] and options_of(layer)["padding"][-1][1] for layer in listener.layers):
        raise ValueError("its delays of layers that look ahead are not those of the network; it plays causal ones")
    step = math.prod(int(1 / part.ratio) for part in net_of(listener).parts)
    if block % step:
        raise ValueError(f"it takes blocks that are multiples of {step}, this is {block}")
    torch, library = importlib.import_module("torch"), importlib.import_module("cached_conv")
    torch.set_num_threads(1)
    library.use_cached_conv(True)
    modules = []
    for layer in listener.layers:
        options, (weight, bias) = options_of(layer), layer.args[:2]
        made = library.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], stride=options["stride"],
                              padding=library.get_padding(weight.shape[2], options["stride"], mode="causal"))  # fmt: skip
        with torch.no_grad():
            made.weight.copy_(torch.from_numpy(weight))
            made.bias.copy_(torch.from_numpy(bias))
        modules.append(made)
        if options["activation"]:
            modules.append(torch.nn.LeakyReLU(options["activation"][1]))
    network = torch.nn.Sequential(*modules).eval()

    def play(x: Floats) -> Floats:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(np.ascontiguousarray(x))).numpy())

    return play


PLAYERS: dict[str, Callable[[Listener, int], Play]] = {"spectroconv": ours, "torch (field anew)": torch_again, "cached_conv": cached}
