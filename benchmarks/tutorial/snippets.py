"""The five lines of code of each section, and what they print: they are run while the page is written."""

from __future__ import annotations

import contextlib
import io

SNIPPETS = {
    "flip": """
import kernels, numpy as np
note, echo = np.array([1.0, 0.5, 0.25]), np.array([1.0, 0, 0, 0.5])
x, weight = note[None, None], echo[None, None]
print(kernels.conv1d(x, weight, padding=3, flip=True)[0, 0])
print(np.convolve(note, echo))
""",
    "kernel": """
import kernels, numpy as np
mel = np.zeros((1, 1, 6, 8)); mel[..., 3:] = 1  # silence, sound
edge = np.array([[[[-1.0, 0, 1]] * 3]])  # softer, then louder
onset = kernels.conv2d(mel, edge, padding="same")
print(onset[0, 0, 2])
""",
    "channels": """
import kernels, numpy as np
x = np.ones((1, 3, 5, 5))  # K = 3 channels
weight, bias = np.ones((4, 3, 3, 3)), np.arange(4.0)  # J = 4
y = kernels.conv2d(x, weight, bias)
print(y.shape, y[0, :, 0, 0])
""",
    "arithmetic": """
import kernels, numpy as np
x, w = np.ones((1, 4, 7, 7)), np.ones((4, 4, 3, 3))
print(kernels.conv2d(x, w, stride=2, padding=1).shape)
print(kernels.conv2d(x, w[:, :1], groups=4).shape)  # depthwise
print(kernels.conv_transpose2d(x, w, stride=2, padding=1).shape)
""",
    "kinds": """
import kernels, numpy as np
x = np.ones((1, 32, 64, 128))
each, mix = np.ones((32, 1, 3, 3)), np.ones((32, 32, 1, 1))
y = kernels.separable_conv2d(x, each, mix, padding=1)
print(y.shape, each.size + mix.size, "weights, not", 32 * 32 * 9)
""",
    "pooling": """
import kernels, numpy as np
onsets = np.zeros((1, 1, 12)); onsets[..., 4] = 1
for x in (onsets, np.roll(onsets, 1)):  # as played, a frame later
    print(kernels.max_pool1d(x, 4)[0, 0])
print(kernels.global_avg_pool(onsets).shape)  # at any length
""",
    "capture": """
import kernels
stack = [(3, 1), (2, 2), (3, 1), (2, 2), (3, 1)]  # kernel, stride
for field in kernels.receptive_field(
    stack, hop=256, sample_rate=16000):
    print(field.size, f"{1000 * field.seconds.size:.0f} ms")
""",
    "shift": """
import kernels, numpy as np
x = np.random.default_rng(0).standard_normal((1, 1, 40))
weight = np.array([[[-1.0, 0, 1]]])
y, late = (kernels.conv1d(z, weight) for z in (x, np.roll(x, 3)))
print(np.abs(late[..., 3:] - y[..., :-3]).max())
""",
    "raw": """
import kernels, numpy as np
wave = lambda f, n: np.cos(2 * np.pi * f * np.arange(n) / 8000)
bank = np.hanning(256) * [wave(f, 256) for f in (220, 440, 880)]
heard = kernels.conv1d(wave(440, 8000)[None, None], bank[:, None])
print(np.abs(heard[0]).max(axis=1).round(1))
""",
    "fast": """
import kernels, numpy as np
x, w = (np.ones(s, "f") for s in ((1, 64, 64, 96), (64, 64, 3, 3)))
plan = kernels.plan("conv2d", x.shape, w, padding=1)
y = plan(x)
print(plan.implementation, y.shape)
""",
}


def output(snippet: str) -> str:
    """What a snippet prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(snippet, "<tutorial>", "exec"), {"__name__": "snippet"})
    return said.getvalue().strip()


def examples() -> dict[str, dict[str, str]]:
    """Section to code and its output."""
    return {name: {"code": text.strip(), "output": output(text)} for name, text in SNIPPETS.items()}
