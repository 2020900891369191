"""Live blocks: front ends and players that give the same whatever the blocks, what is counted, and the command with its page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.inputs.synthesiser import synthesise
from benchmarks.streams import live, live_networks, live_page, players, turns


def test_frames_are_the_same_whatever_the_blocks() -> None:
    samples = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    whole = live_networks.LogMel(44100, 441, (1024, 2048), 20)(samples)
    assert whole.shape == (1, 2, 20, 5000 // 441)
    front = live_networks.LogMel(44100, 441, (1024, 2048), 20)
    pieces = [front(samples[first : first + 97]) for first in range(0, 5000, 97)]
    np.testing.assert_allclose(np.concatenate(pieces, -1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", live_networks.NETWORKS)
def test_networks_are_those_of_the_papers(name: str) -> None:
    halo = players.net_of(live_networks.NETWORKS[name]())
    ratio, frames = {"crepe": (256, 1024), "onset": (1, 15), "encoder": (64, 1)}[name]
    low, high = halo.needs(1000, 1001)
    assert 1 / halo.ratio == ratio and high - low >= frames
    assert name != "onset" or high - low == 15


@pytest.mark.parametrize(("name", "player", "block"), [
    ("encoder", "torch (field anew)", 441), ("encoder", "cached_conv", 256), ("onset", "torch (field anew)", 500),
])  # fmt: skip
def test_players_agree(name: str, player: str, block: int) -> None:
    pytest.importorskip("torch")
    if player == "cached_conv":
        pytest.importorskip("cached_conv")
    listener = live_networks.NETWORKS[name]()
    assert live.agrees(listener, player, synthesise().mono(listener.rate), block) < 1e-4


def test_what_cannot_play_says_why() -> None:
    samples = np.zeros(4000, np.float32)
    for name, block, reason in (("onset", 441, "1-D"), ("crepe", 256, "look ahead"), ("encoder", 441, "multiples of 64")):
        found = live.play(live_networks.NETWORKS[name](), "cached_conv", samples, block, paced=False, seconds=0.01)
        assert not found.seconds and reason in found.reason


def test_shares_of_what_a_block_lasts(tmp_path: Path) -> None:
    played = live.Played("crepe", "spectroconv", 160, 16000, (0.001,) * 999 + (0.02,), late=1)
    assert played.lasts == 0.01 and played.worst == 2.0 and 0.1 < played.rare < 2.0 and played.load == pytest.approx(0.1019)
    compared = turns.Compared("crepe", 160, turns.FIELD, 3.0, (2.0, 9.0, 4.5))
    path = live_page.store([played], [compared], {"cpu": "x"}, tmp_path)
    assert live_page.read(path) == ([played], [compared], {"cpu": "x"})
    other = live.Played("crepe", "cached_conv", 160, 16000, reason="it looks ahead")
    text = live_page.write([played, other], [compared], {"cpu": "x"}, tmp_path).read_text()
    assert "<td>4.50<td>yes" in text and "at most 0.5<td>2.000<td>no" in text
    assert "<svg" in text and "1 of 1000" in text and "it looks ahead" in text


@pytest.mark.parametrize(("name", "other"), [("encoder", "cached_conv"), ("onset", "whole signal"), ("encoder", "torch (field anew)")])
def test_turns(name: str, other: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if other != "whole signal":
        pytest.importorskip("torch")
    monkeypatch.setattr(turns, "SECONDS", 0.0)
    listener = live_networks.NETWORKS[name]()
    found = turns.compare(listener, 1024, other, 1.0, synthesise().mono(listener.rate))
    assert (len(found.shares) == turns.LEAST and found.share > 0) or found.reason.startswith("not installed")


def test_turns_without_the_other_say_why() -> None:
    found = turns.compare(live_networks.NETWORKS["crepe"](), 256, "cached_conv", 3.0, np.zeros(4000, np.float32))
    assert not found.shares and turns.standing([], [found])[0][2:] == (found.reason, "–") and "look ahead" in found.reason


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SECONDS", 0.0)
    arguments = ["live", "--network", "encoder", "--block", "1024", "--seconds", "0.2", "--fast", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    _, compared, about = live_page.read(tmp_path / "live.json")
    assert len(compared) == 6 and about["clip"] and "encoder, blocks of 4096" in (tmp_path / "live.html").read_text()
    assert "what is asked for" in done.output
    assert CliRunner().invoke(app, ["live", "--network", "nobody"]).exit_code == 2
    assert CliRunner().invoke(app, ["live", "--block", "-5"]).exit_code == 2
