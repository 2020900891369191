"""What a live run leaves: its data, and a page with what is asked for, a table, and for each network and length of blocks a histogram of
block times against what a block lasts."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import jinja2

from benchmarks.report import own_files
from benchmarks.streams.live import Played
from benchmarks.streams.turns import Compared, standing

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="generator" content="{{ generator }}"><title>spectroconv live</title>
<style>body{font:15px/1.5 system-ui;margin:2em auto;max-width:60em;padding:0 1em}table{border-collapse:collapse}
td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}td:first-child,td:nth-child(2){text-align:left}
svg{max-width:100%;height:auto}
</style>
<h1>Networks on live blocks</h1>
<p>{{ about | join(' · ') }}</p>
{% if standing %}<table><tr><th>what<th><th>asked<th>measured<th>holds</tr>
{% for what, asked, measured, holds in standing %}<tr><td>{{ what }}<td><td>{{ asked }}<td>{{ measured }}<td>{{ holds }}</tr>
{% endfor %}</table>
<p>Multiples are medians of turns on the same blocks without pauses, one thread each.</p>{% endif %}
<p>Each block comes when its last sample would. Shares are of what a block lasts; a block that takes more than all of it is missed.</p>
<table><tr><th>network<th>player<th>block<th>lasts<th>mean share<th>99.9 %<th>worst<th>missed</tr>
{% for each in played %}<tr><td>{{ each.network }}<td>{{ each.player }}<td>{{ each.block }}
{%- if each.seconds %}<td>{{ '%.1f ms' | format(1e3 * each.lasts) }}<td>{{ '%.2f %%' | format(100 * each.load) }}
{%- if each.error is not none %} <small title="largest difference">±{{ '%.0e' | format(each.error) }}</small>{% endif -%}
<td>{{ '%.1f %%' | format(100 * each.rare) }}<td>{{ '%.1f %%' | format(100 * each.worst) }}
<td>{{ each.late }} of {{ each.seconds | length }}
{%- else %}<td colspan="5">{{ each.reason }}{% endif %}</tr>
{% endfor %}</table>
{% for svg in pictures %}{{ svg | safe }}{% endfor %}
</html>
"""


def histogram(played: Sequence[Played]) -> str:
    """An SVG of one network's block times at one length of blocks, a step line a player."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    shown = [each for each in played if each.seconds]
    figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
    times = [1e3 * np.array(each.seconds) for each in shown]
    edges = np.geomspace(min(t.min() for t in times) * 0.9, max(*(t.max() for t in times), 1e3 * shown[0].lasts) * 1.1, 80)
    for each, t in zip(shown, times):
        axes.hist(t, edges, histtype="step", label=each.player, linewidth=1.5)
    axes.axvline(1e3 * shown[0].lasts, color="black", linestyle=":", label="what a block lasts")
    axes.set(xscale="log", yscale="log", xlabel="ms a block", ylabel="blocks", title=f"{shown[0].network}, blocks of {shown[0].block}")
    axes.legend(fontsize="small")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def store(played: Sequence[Played], compared: Sequence[Compared], about: dict[str, str], folder: Path) -> Path:
    """Keep what was measured; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "live.json"
    rows = [asdict(each) | {"seconds": [round(second, 7) for second in each.seconds]} for each in played]
    data = {"comment": own_files.MARK, "about": about, "played": rows, "compared": [asdict(each) for each in compared]}
    return own_files.write(path, json.dumps(data))


def read(path: Path) -> tuple[list[Played], list[Compared], dict[str, str]]:
    """What `store` kept."""
    data = json.loads(path.read_text(encoding="utf-8"))
    played = [Played(**{**row, "seconds": tuple(row["seconds"])}) for row in data["played"]]
    return played, [Compared(**{**row, "shares": tuple(row["shares"])}) for row in data.get("compared", [])], data["about"]


def write(played: Sequence[Played], compared: Sequence[Compared], about: dict[str, str], folder: Path) -> Path:
    """Write the page beside the data; returns it."""
    groups: dict[tuple[str, int], list[Played]] = {}
    for each in played:
        groups.setdefault((each.network, each.block), []).append(each)
    pictures = [histogram(group) for group in groups.values() if any(each.seconds for each in group)]
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    path = folder / "live.html"
    told = [f"{key}: {value}" for key, value in about.items()]
    rows = standing(played, compared)
    text = page.render(played=played, pictures=pictures, about=told, standing=rows, generator=own_files.MARK)
    return own_files.write(path, text)
