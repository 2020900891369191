"""Attributes that are one of a few words, in ONNX's spelling (https://onnx.ai/onnx/operators). Any other is an error, not the default."""

from __future__ import annotations

from kernels.network.graph import Node
from kernels.network.operators.shaping import text
from kernels.problem.errors import ProblemError

Words = dict[str, tuple[str, ...]]  # by attribute, the default first

_AUTO_PAD: Words = {"auto_pad": ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")}
_DIRECTION: Words = {"direction": ("forward", "reverse", "bidirectional")}
_REDUCTION: Words = {"reduction": ("none", "add", "mul", "max", "min")}
WORDS: dict[str, Words] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "MaxPool", "AveragePool"), _AUTO_PAD),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _DIRECTION),
    **dict.fromkeys(("ScatterElements", "ScatterND"), _REDUCTION),
    "Pad": {"mode": ("constant", "edge", "reflect", "wrap")},
    "DepthToSpace": {"mode": ("DCR", "CRD")},
    "Gelu": {"approximate": ("none", "tanh")},
    "Resize": {
        "mode": ("nearest", "linear", "cubic"),
        "coordinate_transformation_mode": (
            "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize",
            "tf_half_pixel_for_nn",
        ),
        "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
        "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    },
}  # fmt: skip


def check_words(node: Node) -> None:
    """Raises ProblemError that names the attribute and the words it may be."""
    for name, known in WORDS.get(node.op, {}).items():
        word = text(node.attributes.get(name, known[0]))
        if word not in known:
            raise ProblemError(f"{node.op} {node.label!r}: {name} is {word!r}, must be {', '.join(known[:-1])} or {known[-1]}")
