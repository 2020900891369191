"""The page of a training run: one HTML file with its pictures inside."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import numpy as np
from jinja2 import Template
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.learning import filters as looks
from benchmarks.learning.sounds import BANDS, Floats, Ints
from benchmarks.learning.training import Outcome, Task

FILTER_EXAMPLES = 16  # filters drawn one by one

TEMPLATE = Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{{ generator }}">
<title>Learning {{ task.name }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d1f24; background: #fff; }
table { border-collapse: collapse; } td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid #dcdee2; }
svg { max-width: 100%; height: auto; } figure { margin: 1.5rem 0; } figcaption { color: #555a64; }
</style>
<h1>{{ task.sentence }}</h1>
<table>
<tr><th>held-out examples named right</th><td>{{ "%.1f" % (100 * outcome.accuracy) }} %</td></tr>
<tr><th>by {{ task.baseline_name }}, which learns nothing</th><td>{{ "%.1f" % (100 * outcome.baseline) }} %</td></tr>
<tr><th>steps</th><td>{{ outcome.losses | length }}, {{ batch }} examples each</td></tr>
{% if outcome.rates["torch"] %}
<tr><th>steps a second with these kernels</th><td>{{ "%.0f" % outcome.rate("ours") }}</td></tr>
<tr><th>with PyTorch's own layers, same process, in turns</th><td>{{ "%.0f" % outcome.rate("torch") }}</td></tr>
{% endif %}
<tr><th>run</th><td>{{ when }}, {{ machine }}, {{ threads }} threads</td></tr>
</table>
{% for caption, picture in pictures %}<figure>{{ picture }}<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</html>
""")


def page(
    task: Task, outcome: Outcome, batch: int, machine: str, threads: int, line: tuple[Ints, Ints] | None, generator: str
) -> str:  # fmt: skip
    """The whole file."""
    pictures = [("Cross-entropy of every step, and its mean over 20.", _losses(outcome.losses))]
    assert outcome.network is not None
    first = outcome.network[0].weight.detach().numpy()
    if task.name == "pitch":
        waves = first.reshape(len(first), -1)
        tuned = looks.tuning(waves)
        pictures += [
            ("Filters of the first layer, lowest to highest of their peak frequencies; every fourth.", _waves(waves)),
            (f"Their spectra, sorted. The median filter has {np.median(tuned):.0%} of its energy in a band of 125 Hz; noise has 3 %.",
             _spectra(waves)),
        ]  # fmt: skip
        if line:
            pictures.append(("A held-out melody over time: what sounds (line) and what the network names (dots).", _melody(*line)))
    else:
        pictures.append((f"Filters of the first layer over {BANDS} bands: frequency up, time to the right.", _patches(first[:, 0])))
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    return TEMPLATE.render(
        task=task, outcome=outcome, batch=batch, machine=machine, threads=threads, pictures=pictures, when=when,
        generator=generator,
    )  # fmt: skip


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "learn", "path.simplify_threshold": 0.5}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue()[text.getvalue().index("<svg") :], flags=re.DOTALL)
    return re.sub(r"(\.\d\d)\d+", r"\1", drawn)  # hundredths of a point are enough


def _losses(losses: list[float]) -> str:
    figure = Figure((9, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(losses, color="#c9cdd4", linewidth=0.8)
    mean = np.convolve(losses, np.ones(20) / 20, "valid") if len(losses) >= 20 else np.array(losses)
    axes.plot(np.arange(len(mean)) + len(losses) - len(mean), mean, color="#1759b8")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _waves(waves: Floats) -> str:
    ordered, peaks, _ = looks.sorted_by_pitch(waves)
    chosen = range(0, len(ordered), max(1, len(ordered) // FILTER_EXAMPLES))
    figure = Figure((9, 5), layout="constrained")
    grid = figure.subplots(4, 4).ravel()
    for axes, i in zip(grid, chosen):
        axes.plot(ordered[i], color="#1759b8", linewidth=0.5)
        axes.set_title(f"{peaks[i]:.0f} Hz", fontsize=8)
    for axes in grid:
        axes.axis("off")
    return _svg(figure)


def _spectra(waves: Floats) -> str:
    _, _, magnitude = looks.sorted_by_pitch(waves)
    frequencies = looks.spectra(waves)[0]
    shown = frequencies <= 2000
    loud = 20 * np.log10(magnitude[:, shown] / magnitude.max(1, keepdims=True) + 1e-3)
    figure = Figure((9, 4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(loud, aspect="auto", origin="lower", interpolation="none", cmap="viridis", vmin=-40,
                        extent=(0, 2000, 0, len(waves)))  # fmt: skip
    axes.set(xlabel="frequency (Hz)", ylabel="filter")
    figure.colorbar(image, label="dB below its peak")
    return _svg(figure)


def _melody(truth: Ints, named: Ints) -> str:
    figure = Figure((9, 3), layout="constrained")
    axes = figure.add_subplot()
    time = np.arange(len(truth)) * 0.128
    axes.step(time, truth + 36, where="mid", color="#c9cdd4", linewidth=3)
    axes.plot(time, named + 36, "o", color="#1759b8", markersize=3)
    axes.set(xlabel="time (s)", ylabel="MIDI note")
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _patches(patches: Floats) -> str:
    figure = Figure((9, 2.4), layout="constrained")
    for axes, patch in zip(figure.subplots(2, 8).ravel(), patches):
        axes.imshow(patch, cmap="RdBu", origin="lower", vmin=-np.abs(patch).max(), vmax=np.abs(patch).max())
        axes.axis("off")
    return _svg(figure)
