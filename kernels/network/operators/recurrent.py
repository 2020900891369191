"""LSTM, GRU and RNN in NumPy, step by step as ONNX defines them: the twin that compiled recurrences are tested against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kernels.network.graph import Node
from kernels.network.operators.elementwise import UNARY
from kernels.network.operators.registry import Array, Meta, operator
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _infer(node: Node) -> list[Meta]:
    steps, batch, _ = node.x.lengths
    directions, hidden = node.inputs[2].lengths[0], node.inputs[2].lengths[2]  # type: ignore[union-attr]
    state = (directions, batch, hidden)
    shape = (steps, directions, batch, hidden)
    if node.attributes.get("layout"):
        batch, steps = steps, batch
        state, shape = (batch, directions, hidden), (batch, steps, directions, hidden)
    return [(shape, node.x.kind), (state, node.x.kind), (state, node.x.kind)][: len(node.outputs)]


def activation_names(node: Node, directions: int) -> list[list[str]]:
    """The activations of each direction. Raises ProblemError for those that need parameters."""
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}[node.op]
    given = [text(each).capitalize() for each in node.attributes.get("activations", usual * directions)]
    given = ["HardSigmoid" if each == "Hardsigmoid" else each for each in given]
    if unknown := set(given) - {"Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", "HardSigmoid"}:
        raise ProblemError(f"{node.op} {node.label!r}: activation {min(unknown)!r} is not known here")
    return [given[d * len(usual) : (d + 1) * len(usual)] for d in range(directions)]


def _function(name: str, limit: float | None, alpha: float, beta: float) -> Callable[[Array], Any]:
    """The activation of this name; with a limit its input is clipped to -limit..limit first. alpha and beta: a HardSigmoid's."""
    plain = (lambda x: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)) if name == "HardSigmoid" else UNARY[name]
    return (lambda x: plain(np.clip(x, -limit, limit))) if limit else plain


@operator("LSTM", "GRU", "RNN", infer=_infer)
def _recurrent(
    node: Node, x: Array, w: Array, r: Array, b: Array | None = None, lengths: Array | None = None, h: Array | None = None,
    c: Array | None = None, peephole: Array | None = None,
) -> Any:  # fmt: skip
    directions, hidden, first = len(w), r.shape[2], node.attributes.get("layout", 0)
    if first:
        x, h, c = x.swapaxes(0, 1), *(None if each is None else each.swapaxes(0, 1) for each in (h, c))
    steps, batch, _ = x.shape
    y = np.zeros((steps, directions, batch, hidden), x.dtype)
    last_h, last_c = (np.zeros((directions, batch, hidden), x.dtype) if each is None else each.copy() for each in (h, c))
    backwards = text(node.attributes.get("direction", "forward"))
    limit = node.attributes.get("clip")
    alphas, betas = (iter(node.attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta"))  # one for each that has such
    for d in range(directions):
        # what gates are made of is clipped, as onnxruntime has it, not the state that an LSTM's last activation sees
        functions = []
        for k, name in enumerate(activation_names(node, directions)[d]):
            numbers = (next(alphas, 0.2), next(betas, 0.5)) if name == "HardSigmoid" else (0.0, 0.0)
            functions.append(_function(name, limit if k < 2 else None, *numbers))
        order = range(steps - 1, -1, -1) if backwards == "reverse" or d == 1 else range(steps)
        bias = np.zeros(2 * GATES[node.op] * hidden, x.dtype) if b is None else b[d]
        for t in order:
            alive = slice(None) if lengths is None else np.flatnonzero(t < lengths)
            state = last_h[d, alive], last_c[d, alive]
            new = _STEPS[node.op](node, x[t, alive], *state, w[d], r[d], bias, None if peephole is None else peephole[d], functions)
            last_h[d, alive], last_c[d, alive] = new
            y[t, d, alive] = new[0]
    if first:
        y, last_h, last_c = y.transpose(2, 0, 1, 3), last_h.swapaxes(0, 1), last_c.swapaxes(0, 1)
    return (y, last_h, last_c)[: max(len(node.outputs), 1)] if len(node.outputs) > 1 else y


def _lstm(node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None, functions: list[Any]) -> Any:
    half = len(b) // 2
    gates = x @ w.T + h @ r.T + b[:half] + b[half:]
    i, o, f, g = np.split(gates, 4, -1)
    to_i, to_o, to_f = np.split(p, 3) if p is not None else (x.dtype.type(0),) * 3
    i, f = functions[0](i + to_i * c), functions[0](f + to_f * c)
    f = 1 - i if node.attributes.get("input_forget") else f
    c = f * c + i * functions[1](g)
    return functions[0](o + to_o * c) * functions[2](c), c


def _gru(node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None, functions: list[Any]) -> Any:
    n = h.shape[-1]
    gates, bias, back = x @ w.T, b[: 3 * n], b[3 * n :]
    z, reset = (functions[0](gates[:, s] + h @ r[s].T + bias[s] + back[s]) for s in (slice(0, n), slice(n, 2 * n)))
    last = slice(2 * n, 3 * n)
    if node.attributes.get("linear_before_reset"):
        g = functions[1](gates[:, last] + reset * (h @ r[last].T + back[last]) + bias[last])
    else:
        g = functions[1](gates[:, last] + (reset * h) @ r[last].T + back[last] + bias[last])
    return (1 - z) * g + z * h, c


def _rnn(node: Node, x: Array, h: Array, c: Array, w: Array, r: Array, b: Array, p: Array | None, functions: list[Any]) -> Any:
    half = len(b) // 2
    return functions[0](x @ w.T + h @ r.T + b[:half] + b[half:]), c


_STEPS: dict[str, Callable[..., Any]] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
