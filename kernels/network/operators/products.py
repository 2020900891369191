"""Products: MatMul, Gemm, Einsum, and the spectral transforms that are products by definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.registry import Array, Meta, broadcast, numbers, operator, whole
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError


def matmul_shape(node: Node) -> tuple[int, ...]:
    """Of a product of the first two inputs."""
    a, b = (each.lengths for each in node.inputs[:2] if each is not None)
    left, right = a if len(a) > 1 else (1, *a), b if len(b) > 1 else (*b, 1)
    if left[-1] != right[-2]:
        raise ProblemError(f"{node.op} {node.label!r}: shapes {a} and {b} do not multiply: {left[-1]} numbers meet {right[-2]}")
    return (*broadcast(node, [left[:-2], right[:-2]]), *left[-2:-1] * (len(a) > 1), *right[-1:] * (len(b) > 1))


@operator("MatMul", infer=lambda node: [(matmul_shape(node), node.x.kind)])
def _matmul(node: Node, a: Array, b: Array, added: Array | None = None) -> Any:
    return np.matmul(a, b) if added is None else np.matmul(a, b) + added  # as `passes.residuals` makes them


def _gemm_infer(node: Node) -> list[Meta]:
    a, b = (each.lengths for each in node.inputs[:2] if each is not None)
    left = a[::-1] if node.attributes.get("transA") else a
    right = b[::-1] if node.attributes.get("transB") else b
    if len(a) != 2 or len(b) != 2 or left[1] != right[0]:
        raise ProblemError(f"{node.op} {node.label!r}: shapes {left} and {right} do not multiply")
    return [((left[0], right[1]), node.x.kind)]


@operator("Gemm", infer=_gemm_infer)
def _gemm(node: Node, a: Array, b: Array, c: Array | None = None) -> Any:
    y = np.matmul(a.T if node.attributes.get("transA") else a, b.T if node.attributes.get("transB") else b)
    y = y * y.dtype.type(node.attributes.get("alpha", 1.0))
    return y if c is None else (y + c * y.dtype.type(node.attributes.get("beta", 1.0))).astype(y.dtype)


def _einsum_infer(node: Node) -> list[Meta]:
    hollow = [np.broadcast_to(np.zeros((), np.float32), each.lengths) for each in node.inputs if each is not None]
    equation = text(node.attributes["equation"]).replace(" ", "")
    found: dict[Any, list[tuple[int, ...]]] = {}
    for term, array in zip(equation.split("->")[0].split(","), hollow):
        for letter, n in _letters(term, array.shape):
            found.setdefault(letter, []).append((n,))
    lengths = {letter: broadcast(node, each)[0] for letter, each in found.items()}  # axes of length 1 repeat
    if "->" in equation:
        term = equation.split("->")[1]
    else:
        term = "".join(sorted(each for each in set(equation) - {",", "."} if equation.count(each) == 1))
        term = "..." * ("..." in equation) + term
    dots = sorted((each for each in lengths if isinstance(each, int)), reverse=True)
    places = [*term.split("...")[0], *dots, *term.split("...")[1]] if "..." in term else list(term)
    return [(tuple(lengths[each] for each in places), node.x.kind)]


def _letters(term: str, shape: tuple[int, ...]) -> list[tuple[Any, int]]:
    """Letter and length of each axis; axes under the dots are counted from the last, 1 upwards."""
    if "..." not in term:
        return list(zip(term, shape))
    before, after = term.split("...")
    count = len(shape) - len(before) - len(after)
    dots = [count - i for i in range(count)]
    return list(zip([*before, *dots, *after], shape))


@operator("Einsum", infer=_einsum_infer)
def _einsum(node: Node, *arrays: Array) -> Any:
    return np.einsum(text(node.attributes["equation"]).replace(" ", ""), *arrays, optimize=len(arrays) > 2)


def _dft_axis(node: Node) -> int:
    given = whole(node, 2)
    at = given[0] if given else node.attributes.get("axis", -2)
    return int(at) % len(node.x.lengths)


def _dft_infer(node: Node) -> list[Meta]:
    shape, at = list(node.x.lengths), _dft_axis(node)
    given = whole(node, 1)
    n = given[0] if given else shape[at]
    onesided, inverse = node.attributes.get("onesided", 0), node.attributes.get("inverse", 0)
    if onesided and inverse and not given:
        n = 2 * (shape[at] - 1)
    shape[at] = n // 2 + 1 if onesided and not inverse else n
    shape[-1] = 1 if onesided and inverse else 2
    return [(tuple(shape), node.x.kind)]


@operator("DFT", infer=_dft_infer)
def _dft(node: Node, x: Array, length: Array | None = None, axis: Array | None = None) -> Any:
    from scipy import fft  # 30 ms to import; keeps float32

    at = _dft_axis(node)
    half = node.attributes.get("inverse") and node.attributes.get("onesided")
    n = int(np.ravel(length)[0]) if length is not None else 2 * (x.shape[at] - 1) if half else x.shape[at]
    if node.attributes.get("inverse"):
        values = x[..., 0] + 1j * x[..., 1]
        if node.attributes.get("onesided"):
            return fft.irfft(values, n, at)[..., None].astype(x.dtype)
        spectrum = fft.ifft(values, n, at)
    elif node.attributes.get("onesided"):
        spectrum = fft.rfft(x[..., 0], n, at)
    else:
        spectrum = fft.fft(x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0], n, at)
    return np.stack([spectrum.real, spectrum.imag], -1).astype(x.dtype)


def _stft_infer(node: Node) -> list[Meta]:
    shape, step = node.x.lengths, int(np.ravel(numbers(node, 1))[0])  # type: ignore[arg-type]
    n = frame_length(node)
    bins = n // 2 + 1 if node.attributes.get("onesided", 1) else n
    return [((shape[0], (shape[1] - n) // step + 1, bins, 2), node.x.kind)]


def frame_length(node: Node) -> int:
    """Numbers of an STFT's frame: as said, or those of its window."""
    given = whole(node, 3)
    if given:
        return given[0]
    window = node.inputs[2]
    assert window is not None, "an STFT has a window or a frame length"
    return window.lengths[0]


@operator("STFT", infer=_stft_infer)
def _stft(node: Node, x: Array, step: Array, window: Array | None = None, length: Array | None = None) -> Any:
    from scipy import fft

    n, by = frame_length(node), int(np.ravel(step)[0])
    signal = x[..., 0] + 1j * x[..., 1] if x.ndim == 3 and x.shape[2] == 2 else x.reshape(x.shape[:2])
    frames = np.lib.stride_tricks.sliding_window_view(signal, n, 1)[:, ::by]
    frames = frames if window is None else frames * window
    onesided = node.attributes.get("onesided", 1)
    spectrum = fft.rfft(frames) if onesided and not np.iscomplexobj(frames) else fft.fft(frames)
    spectrum = spectrum[..., : n // 2 + 1] if onesided else spectrum
    return np.stack([spectrum.real, spectrum.imag], -1).astype(x.dtype)


def _window_infer(node: Node) -> list[Meta]:
    return [((int((whole(node, 0) or [0])[0]),), np.dtype(node.attributes.get("output_datatype", np.float32)))]


_COSINES = {"HannWindow": (0.5, 0.5, 0.0), "HammingWindow": (25 / 46, 21 / 46, 0.0), "BlackmanWindow": (0.42, 0.5, 0.08)}


@operator(*_COSINES, infer=_window_infer)
def _cosine_window(node: Node, size: Array) -> Any:
    n, (a, b, c) = int(np.ravel(size)[0]), _COSINES[node.op]
    angle = 2 * np.pi * np.arange(n) / (n if node.attributes.get("periodic", 1) else n - 1)
    return (a - b * np.cos(angle) + c * np.cos(2 * angle)).astype(node.attributes.get("output_datatype", np.float32))


def _mel_infer(node: Node) -> list[Meta]:
    bands, length = (int((whole(node, i) or [0])[0]) for i in (0, 1))
    return [((length // 2 + 1, bands), np.dtype(node.attributes.get("output_datatype", np.float32)))]


@operator("MelWeightMatrix", infer=_mel_infer)
def _mel(node: Node, *given: Array) -> Any:
    bands, length, rate, low, high = (np.ravel(each)[0] for each in given)
    first_mel, last_mel = (2595 * np.log10(1 + hertz / 700) for hertz in (low, high))
    edges = first_mel + np.arange(int(bands) + 2) * (last_mel - first_mel) / (int(bands) + 2)  # so ONNX steps, short of the upper edge
    bins = np.floor((length + 1) * (700 * (10 ** (edges / 2595) - 1)) / rate).astype(int)
    weights = np.zeros((int(length) // 2 + 1, int(bands)))
    for band, (first, top, last) in enumerate(zip(bins, bins[1:], bins[2:])):
        weights[first : top + 1, band] = np.arange(top + 1 - first) / (top - first) if top > first else 1
        weights[top:last, band] = np.arange(last - top, 0, -1) / max(last - top, 1)
    return weights.astype(node.attributes.get("output_datatype", np.float32))
