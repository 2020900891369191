"""The verbs for signals that do not end: live plays blocks in real time, archive runs a model over recordings, cluster times workers."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markdown import Markdown
from rich.table import Column, Table

from benchmarks.commands.shared import console, stop
from benchmarks.host import environment
from benchmarks.report import own_files
from benchmarks.runner.run_options import RUNS
from benchmarks.streams.live import Played
from benchmarks.streams.live_networks import NETWORKS
from benchmarks.streams.local_cluster import local_client


def live_command(
    audio: Annotated[Path | None, typer.Option(metavar="FILE", help="What is played instead of the synthesised clip.")] = None,
    network: Annotated[list[str], typer.Option(help="crepe, onset or encoder; all if not given; may repeat.")] = [],  # noqa: B006
    block: Annotated[list[int], typer.Option(help="Samples a block, 128 to 4096; may repeat. 0: 10 ms.")] = [0, 512, 2048],  # noqa: B006
    seconds: Annotated[float, typer.Option(help="How long each network plays.")] = 5.0,
    paced: Annotated[bool, typer.Option("--paced/--fast", help="Blocks come when they would from a sound card, or at once.")] = True,
    turns: Annotated[bool, typer.Option("--turns/--no-turns", help="Also compare throughput with others, block by block in turns.")] = True,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = RUNS / "live",
) -> None:
    """Play a clip in real-time blocks to networks: ours, PyTorch on the receptive field anew, cached_conv."""
    from benchmarks.inputs.audio_file import read_audio
    from benchmarks.inputs.synthesiser import synthesise
    from benchmarks.streams import live, live_page, players
    from benchmarks.streams.turns import ASKED, compare, standing

    if unknown := set(network) - set(NETWORKS):
        stop(f"no network {min(unknown)!r}; there are {', '.join(NETWORKS)}")
    if bad := [each for each in block if each and not 1 <= each <= 1 << 16]:
        stop(f"--block {bad[0]}: from 1 to 65536 samples, or 0 for 10 ms")
    try:
        clip = read_audio(audio) if audio else synthesise()
        own_files.ready(out, "live.json", "live.html")
    except (OSError, ValueError) as error:
        stop(error)
    played, compared = [], []
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
        for name, length, other, asked in ASKED if turns else ():
            if name in (network or NETWORKS):
                status.update(f"{name}, blocks of {length}: in turns with {other}")
                listener = NETWORKS[name]()
                compared.append(compare(listener, length, other, asked, clip.mono(listener.rate)))
    console.print(_table(played))
    if rows := standing(played, compared):
        asked_for = Table("what", "asked", "measured", "holds", title="what is asked for", title_justify="left")
        for row in rows:
            asked_for.add_row(*row)
        console.print(asked_for)
    collected = environment.collect()
    about = {
        "clip": clip.name, "cpu": str(collected["cpu"]), "day": time.strftime("%Y-%m-%d"), "paced": str(paced),
        "seconds": str(seconds), "threads": "1", "commit": str(collected.get("commit") or "unknown")[:7],
    }  # fmt: skip
    live_page.store(played, compared, about, out)
    console.print(f"Raw data and page: {live_page.write(played, compared, about, out)}", soft_wrap=True)


def _table(played: list[Played]) -> Table:
    names = "network", "player", "block", "lasts", "mean", "99.9 %", "worst", "missed", "difference"
    table = Table(*(Column(name, overflow="fold") for name in names), title="share of a block's duration", title_justify="left")
    for each in played:
        head = each.network, each.player, str(each.block), f"{1e3 * each.lasts:.1f} ms"
        if each.seconds:
            shares = [f"{100 * share:.2f} %" for share in (each.load, each.rare, each.worst)]
            table.add_row(*head, *shares, str(each.late), "" if each.error is None else f"{each.error:.0e}")
        else:
            table.add_row(*head, "-")
    table.caption = "\n".join(dict.fromkeys(f"{each.player}, {each.network}: {each.reason}" for each in played if each.reason))
    return table


def archive_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Recordings, in folders of any depth.")],
    model: Annotated[Path, typer.Option(metavar="MODEL.onnx", help="What hears them.")],
    out: Annotated[Path, typer.Option(metavar="OUT.zarr", help="Where results go; a run that was stopped goes on there.")],
    cluster: Annotated[str, typer.Option(metavar="tcp://…", help="A dask scheduler; its workers see the same files.")] = "",
    workers: Annotated[int, typer.Option(help="Processes of one thread here; 0: threads of this process, one a core.")] = 0,
    front: Annotated[str, typer.Option(help="raw (samples) or log-mel.")] = "raw",
    rate: Annotated[int, typer.Option(help="Samples a second that the model hears.")] = 16000,
    resample: Annotated[bool, typer.Option("--resample", help="Recordings of other rates are resampled; else they are left out.")] = False,
    bands: Annotated[int, typer.Option(help="Of log-mel.")] = 64,
    n_fft: Annotated[int, typer.Option("--n-fft", help="Samples a frame of log-mel.")] = 512,
    hop: Annotated[int, typer.Option(help="Samples from frame to frame.")] = 160,
    seconds: Annotated[float, typer.Option(help="Of audio a piece: what a worker holds at a time.")] = 60.0,
) -> None:
    """Run a model over a folder of recordings, on this machine or a cluster, into Zarr: values and their times in seconds."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    try:
        from benchmarks.streams import recordings as archive
    except ImportError as error:
        stop(error)
    if front not in ("raw", "log-mel"):
        stop(f"--front {front!r}: raw or log-mel")
    if min(rate, bands, n_fft, hop) < 1 or workers < 0 or not 0 < seconds < math.inf:
        stop("--rate, --bands, --n-fft, --hop and --seconds must be above 0, --workers at least 0")
    if not model.is_file() or not folder.is_dir():
        stop(f"there is no {'folder ' + str(folder) if model.is_file() else 'model ' + str(model)}")
    heard = archive.Front(rate, bands if front == "log-mel" else 0, n_fft, hop)
    job = archive.Job(str(model.resolve()), heard, str(out.resolve()))
    try:
        todo, bad, before = archive.pieces(job, folder, seconds, resample=resample)
    except (ValueError, ImportError) as error:
        stop(error)
    audio, begun = 0.0, time.perf_counter()
    with _client(cluster, workers) as (client, count), Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} pieces"), TimeRemainingColumn(),
        TextColumn("{task.fields[speed]}"), console=console,
    ) as progress:  # fmt: skip
        bar = progress.add_task(f"{before} done before" if before else "pieces", total=len(todo), speed="")
        for piece, result in archive.run(job, todo, client, count):
            if isinstance(result, BaseException):
                bad[piece.name] = f"piece {piece.number}: {result}"
            else:
                audio += result
            speed = audio / (time.perf_counter() - begun)
            progress.update(bar, advance=1, speed=f"{speed:.0f} hours of audio per hour")
    took = time.perf_counter() - begun
    speed = audio / max(took, 1e-9)
    console.print(f"{audio / 3600:.2f} hours of audio in {took:.1f} s: {speed:.0f} hours per hour; results: {out}", soft_wrap=True)
    for name, reason in sorted(bad.items()):
        console.print(f"left out: {name}: {reason}", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(1 if bad else 0)


def cluster_command(
    network: Annotated[list[str], typer.Option(help="crepe or encoder; both if not given; may repeat.")] = [],  # noqa: B006
    hours: Annotated[list[float], typer.Option(help="Of audio for the workers; may repeat, the longest counts.")] = [1.0, 10.0],  # noqa: B006
    seconds: Annotated[list[float], typer.Option(help="Of audio a chunk; may repeat.")] = [60.0],  # noqa: B006
    workers: Annotated[int, typer.Option(help="Processes; one a core if not given.")] = 0,
    threads: Annotated[int, typer.Option(help="Of each worker.")] = 1,
    source: Annotated[list[str], typer.Option(help="file (workers read), tasks (chunks are made); may repeat.")] = ["file"],  # noqa: B006
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page goes.")] = RUNS / "cluster",
) -> None:
    """Networks on hours of audio: a LocalCluster of this machine against one process with as many threads on chunks in memory."""
    from benchmarks.inputs.synthesiser import synthesise

    try:
        import distributed  # noqa: F401

        from benchmarks.streams import clusters
    except ImportError as error:
        stop(f"a cluster needs dask, distributed and soundfile: pip install 'spectroconv[cluster]' ({error})")
    if unknown := {*network} - {"crepe", "encoder"}:
        stop(f"no network {min(unknown)!r} hears samples; there are crepe and encoder")
    if unknown := {*source} - {*clusters.SOURCES}:
        stop(f"--source {min(unknown)!r}: {' or '.join(clusters.SOURCES)}")
    if not all(0 < each < math.inf for each in (*hours, *seconds, threads, workers + 1)):
        stop("--hours, --seconds and --threads must be above 0")
    try:
        own_files.ready(out, "cluster.json", "README.md")
    except (OSError, ValueError) as error:
        stop(error)
    clip, found = synthesise(), []
    workers = workers or max(1, (environment.usable_cores() or 1) // threads)
    with console.status("") as status:
        for name, each, chunk in itertools.product(network or ("encoder", "crepe"), source, seconds):
            samples = clip.mono(NETWORKS[name]().rate)
            found.append(clusters.measure(name, samples, sorted(hours), chunk, workers, threads, each, status.update))
        status.update("a graph")
        graph = clusters.graph_seconds()
    collected = environment.collect()
    about = {
        "cpu": str(collected["cpu"]), "day": time.strftime("%Y-%m-%d"), "commit": str(collected.get("commit") or "unknown")[:7],
        "graph": f"{graph:.1f}",
    }  # fmt: skip
    clusters.store(found, out, about)
    console.print(Markdown("\n".join(clusters.lines(found, about))))
    console.print(f"Raw data and page: {clusters.write(found, about, out)}", soft_wrap=True)
    raise typer.Exit(0 if all(each.same for each in found) else 1)


@contextlib.contextmanager
def _client(cluster: str, workers: int) -> Iterator[tuple[Any, int]]:
    """(a client of the cluster or of processes here, None for threads; how many pieces run at once)."""
    if not cluster and not workers:
        import kernels

        yield None, kernels.plan("max_pool1d", (1, 1, 64), 2).threads
        return
    try:
        from distributed import Client
    except ImportError as error:
        stop(f"--cluster and --workers need dask's distributed: pip install 'spectroconv[cluster]' ({error})")
    with Client(cluster) if cluster else local_client(workers) as client:
        yield client, sum(client.nthreads().values())
