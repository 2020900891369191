"""The verbs for signals that do not end: live plays blocks in real time, archive runs a model over a folder of recordings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from benchmarks.commands.shared import console, stop
from benchmarks.host import environment
from benchmarks.runner.run_options import REPORTS
from benchmarks.streams.live import Played
from benchmarks.streams.live_networks import NETWORKS


def live_command(
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="What is played instead of the synthesised clip.")] = None,
    network: Annotated[list[str], typer.Option(help="crepe, onset or encoder; all if not given; may repeat.")] = [],  # noqa: B006
    block: Annotated[list[int], typer.Option(help="Samples a block, 128 to 4096; may repeat. 0: 10 ms.")] = [0, 512, 2048],  # noqa: B006
    seconds: Annotated[float, typer.Option(help="How long each network plays.")] = 5.0,
    paced: Annotated[bool, typer.Option("--paced/--fast", help="Blocks come when they would from a sound card, or at once.")] = True,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = REPORTS / "live",
) -> None:
    """Play a clip in real-time blocks to networks: ours, PyTorch on the receptive field anew, cached_conv."""
    from benchmarks.inputs.audio_file import read_wav
    from benchmarks.inputs.synthesiser import synthesise
    from benchmarks.streams import live, live_page, players

    if unknown := set(network) - set(NETWORKS):
        stop(f"no network {min(unknown)!r}; there are {', '.join(NETWORKS)}")
    if bad := [each for each in block if each and not 1 <= each <= 1 << 16]:
        stop(f"--block {bad[0]}: from 1 to 65536 samples, or 0 for 10 ms")
    try:
        clip = read_wav(audio) if audio else synthesise()
    except ValueError as error:
        stop(error)
    played = []
    with console.status("") as status:
        for name in network or NETWORKS:
            listener = NETWORKS[name]()
            samples = clip.mono(listener.rate)
            for length in dict.fromkeys(each or listener.rate // 100 for each in block):
                for player in players.PLAYERS:
                    status.update(f"{name}, blocks of {length}: {player}")
                    one = live.play(listener, player, samples, length, paced=paced, seconds=seconds)
                    if one.seconds and player != "spectroconv":
                        one = replace(one, error=live.agrees(listener, player, samples, length))
                    played.append(one)
    console.print(_table(played))
    about = {
        "clip": clip.name, "cpu": str(environment.collect()["cpu"]), "day": time.strftime("%Y-%m-%d"), "paced": str(paced),
        "seconds": str(seconds), "threads": "1",
    }  # fmt: skip
    live.store(played, out, about)
    console.print(f"Raw data and page: {live_page.write(played, about, out)}", soft_wrap=True)


def _table(played: list[Played]) -> Table:
    table = Table("network", "player", "block", "lasts", "mean", "99.9 %", "worst", "missed", "difference", title_justify="left",
                  title="share of a block's duration")  # fmt: skip
    for each in played:
        head = each.network, each.player, str(each.block), f"{1e3 * each.lasts:.1f} ms"
        if each.seconds:
            shares = [f"{100 * share:.2f} %" for share in (each.load, each.rare, each.worst)]
            table.add_row(*head, *shares, str(each.late), "" if each.error is None else f"{each.error:.0e}")
        else:
            table.add_row(*head, "-")
    table.caption = "\n".join(dict.fromkeys(f"{each.player}, {each.network}: {each.reason}" for each in played if each.reason))
    return table
