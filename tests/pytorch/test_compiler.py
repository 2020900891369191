"""torch.compile(backend="spectroconv"): the same numbers, as few regions as can be, few recompiles, weights that change."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE

torch = pytest.importorskip("torch")

import kernels.torch  # noqa: E402
from kernels.torch import compiler  # noqa: E402

nn, functional = torch.nn, torch.nn.functional
pytestmark = pytest.mark.usefixtures("fresh")


class Block(nn.Module):
    """A residual block of dilated convolutions, weight-normed, batch-normed."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.weight_norm(nn.Conv1d(c, c, 3, padding=1))
        self.norm = nn.BatchNorm1d(c)
        self.second = nn.Conv1d(c, c, 3, padding=2, dilation=2)
        with torch.no_grad():
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Any) -> Any:
        return functional.silu(self.second(functional.gelu(self.norm(self.first(x))))) + x


class Net(nn.Module):
    """Most of what a network does between its convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv1d(2, 8, 7, 2, 3), nn.Sequential(Block(8), Block(8))
        self.up, self.norm, self.linear, self.drop = nn.ConvTranspose1d(8, 4, 4, 2, 1), nn.GroupNorm(2, 4), nn.Linear(4, 3), nn.Dropout(0.5)

    def forward(self, x: Any) -> Any:
        y = self.blocks(torch.relu_(self.stem(x)))
        y = functional.max_pool2d(y[:, :, None], (1, 2))[:, :, 0]  # PyTorch's max_pool1d ties a trace to one length
        y = self.norm(self.up(functional.interpolate(y, scale_factor=2, mode="nearest")))
        y = torch.cat([y, functional.pad(y, (1, 1), mode="reflect")[..., 1:-1]], 1)
        return self.drop(self.linear(y[:, :4].transpose(1, 2)).softmax(-1)), y.mean(-1), torch.flip(y, [2]) * 2


def same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_one_region_for_a_whole_network_and_few_recompiles() -> None:
    net = Net().eval()
    fast = torch.compile(net, backend="spectroconv", fullgraph=True)
    with torch.no_grad():
        for shape in ((1, 2, 64), (1, 2, 80), (1, 2, 96), (1, 2, 112), (3, 2, 96), (5, 2, 104), (4, 2, 64)):
            x = torch.randn(shape)
            same(fast(x), net(x))
    assert len(compiler.RECENT) <= 4  # as it is, any length, any batch
    for compiled in compiler.RECENT:
        assert len(compiled.regions) == 1 and not compiled.rest
        assert compiled.regions[0].reason is None
    assert "1 regions, 0 operators left" in kernels.torch.explain() and "convolution.default x6" in kernels.torch.explain()


def test_changed_weights_are_seen() -> None:
    net = Net().eval()
    fast = torch.compile(net, backend="spectroconv")
    x = torch.randn(1, 2, 64)
    with torch.no_grad():
        same(fast(x), net(x))
        net.stem.weight.mul_(2)
        same(fast(x), net(x))
        net.load_state_dict({name: value * 1.1 for name, value in net.state_dict().items()})
        same(fast(x), net(x))
        net.stem.weight.data = torch.randn_like(net.stem.weight)
        same(fast(x), net(x))
        for _ in range(6):  # weights that go on changing are PyTorch's
            net.blocks[0].second.weight.mul_(1.1)
            same(fast(x), net(x))
        assert any("weights change" in str(region.reason) for compiled in compiler.RECENT for region in compiled.regions)
        for _ in range(3):
            same(fast(x), net(x))


class Stream(nn.Module):
    """A convolution that remembers the end of the block before, in a buffer that is another tensor or has other numbers each time."""

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.conv, self.anew = nn.Conv1d(2, 3, 5), anew
        self.register_buffer("past", torch.zeros(1, 2, 4))
        self.register_buffer("gain", torch.ones(3, 1))

    def forward(self, x: Any) -> Any:
        y = torch.cat([self.past, x], -1)
        if self.anew:
            self.past = y[..., -4:].clone()
        return self.conv(y).relu() * self.gain


@pytest.mark.parametrize("anew", [True, False], ids=["another tensor", "other numbers"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_buffers_that_go_on_changing_become_inputs(anew: bool, mode: Any) -> None:
    """Nothing is planned anew for them, and weights are still seen to change."""
    net = Stream(anew).eval()
    other = copy.deepcopy(net)
    fast = torch.compile(net, backend="spectroconv")
    programs = []
    with mode():
        for turn in range(12):
            x = torch.randn(1, 2, 16)
            if not anew:
                net.past.normal_()
                other.past.copy_(net.past)
            if turn == 9:
                for each in (net, other):
                    each.conv.weight.mul_(2)
                    each.gain.mul_(3)
            same(fast(x), other(x))
            same(net.past, other.past)
            programs.append(compiler.RECENT[-1].regions[0].program)
    assert compiler.RECENT[-1].regions[0].reason is None
    assert programs[6] is programs[7] is programs[8] is not programs[9], "one program serves all blocks"
    assert programs[10] is programs[11]


def test_two_modules_of_one_class_keep_their_weights_apart() -> None:
    nets = [Net().eval(), Net().eval()]
    fast = [torch.compile(net, backend="spectroconv") for net in nets]
    x = torch.randn(1, 2, 64)
    with torch.no_grad():
        for _ in range(2):
            for ours, net in zip(fast, nets):
                same(ours(x), net(x))


def test_training() -> None:
    nets = [Net(), Net()]
    nets[1].load_state_dict(nets[0].state_dict())
    for net in nets:
        net.drop.p = 0.0
    steps = [nets[0], torch.compile(nets[1], backend="spectroconv")]
    for _ in range(3):
        x = torch.randn(2, 2, 64)
        for step, net in zip(steps, nets):
            net.zero_grad()
            sum(y.square().sum() for y in step(x)).backward()
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter -= 1e-3 * parameter.grad
        for ours, theirs in zip(nets[1].parameters(), nets[0].parameters()):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(nets[1].blocks[0].norm.running_mean, nets[0].blocks[0].norm.running_mean, rtol=1e-4, atol=1e-5)


class Around(nn.Module):
    """Convolutions around what is no operator of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(1, 4, 3, padding=1), nn.Conv1d(4, 2, 3, padding=1)

    def forward(self, x: Any) -> Any:
        y = torch.relu(self.a(x))
        y = torch.sort(y, -1).values
        return self.b(y), torch.fft.rfft(y).abs()


@pytest.mark.parametrize("last", [nn.BatchNorm1d(4), nn.InstanceNorm1d(4, track_running_stats=True)], ids=["batch", "instance"])
def test_what_trains_into_buffers_is_done(last: nn.Module) -> None:
    """What writes into an input of the graph has no readers, so that an order by what is read may put it behind the return."""
    net = nn.Sequential(nn.Conv1d(4, 4, 3), last).train()
    twin = copy.deepcopy(net)
    fast = torch.compile(net, backend="spectroconv")
    with torch.no_grad():
        for _ in range(2):
            x = torch.randn(2, 4, 12)
            same(fast(x), twin(x))
    for name, buffer in twin.named_buffers():
        same(net.get_buffer(name), buffer)


def test_the_rest_is_pytorchs() -> None:
    net = Around().eval()
    fast = torch.compile(net, backend="spectroconv")
    with torch.no_grad():
        for length in (32, 40, 48):
            x = torch.randn(2, 1, length)
            same(fast(x), net(x))
    assert all(len(compiled.regions) == 2 for compiled in compiler.RECENT)
    assert "aten.sort" in kernels.torch.explain()


attention = functional.scaled_dot_product_attention


def _written(x: Any) -> Any:
    y, z = torch.empty_like(x), x.clone()
    y[:] = x[0]
    y[:, :, 1:] = 2 * x[:, :, :-1]
    y[..., -1] = y[:, :, 0]
    y[1:, 0, 4:-2] += 1
    z[:, 1:3, 5:5] = 7
    z[:, :, -3:].fill_(0.5)
    z[:, -2] = x.new_full((1,), 2.0) + x.new_ones(x.shape[-1]) + x.new_zeros(1)
    return y + z


OPERATORS = {
    "writes": _written,
    "circles": lambda x: functional.pad(x, (3, 2), mode="circular").roll((3, -1), (-1, 1)) + x.roll(-55, 0).mean(),
    "indices": lambda x: x[:, torch.tensor([1, -1, 0])][..., torch.arange(3) - 1],
    "triangles": lambda x: (x.tril() @ x.triu(1).mT) + x.tril(-2) @ x.mT,
    "attention of turned heads": lambda x: attention(x.mT, x.mT, x.mT) + attention(
        x.mT, x.mT, x.mT, torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool).triu(1)),
    "activations with numbers": lambda x: functional.selu(x) + functional.celu(x, 2.0) + functional.logsigmoid(x * 30),
    "arithmetic of three": lambda x: torch.addcmul(x, x, x[0], value=0.3) + torch.addcdiv(x, x, x.abs() + 1) + torch.lerp(
        x, x.flip(-1), 0.3) + torch.lerp(x, 2 * x, x.sigmoid()) + x.clamp(x.mean(-1, keepdim=True), x.amax(0)) + 10 ** (x / 20),
    "sums of powers": lambda x: (x * 1000).logsumexp(2) + x.logsumexp((0, 1, 2)) + x.log().sign().sum(-1) + (3 * x).round().sum(-1),
    "avg_pool": lambda x: functional.avg_pool1d(functional.avg_pool2d(x[:, None], (3, 2), 2, 1, True, False)[:, 0], 2),
    "max_pool": lambda x: functional.max_pool2d(x, 3, 2, 1, 1, True),
    "max_pool3d": lambda x: functional.max_pool3d(x[None], 2, 1),
    "adaptive": lambda x: functional.adaptive_avg_pool1d(x, 1) * functional.adaptive_max_pool1d(x, 3),
    "resize": lambda x: functional.interpolate(x[None], (9, 13), mode="bilinear") + functional.interpolate(
        x[None], size=(9, 13), mode="bilinear", align_corners=True),
    "resize by cubics": lambda x: functional.interpolate(x[None], (9, 13), mode="bicubic") + functional.interpolate(
        x[None], scale_factor=(1.5, 0.7), mode="bicubic").mean() + functional.interpolate(
        x[None], size=(9, 13), mode="bicubic", align_corners=True),
    "resize by a scale": lambda x: functional.interpolate(x[None], scale_factor=(2, 3), mode="nearest"),
    "resize to lengths whose quotient is no float": lambda x: functional.interpolate(x[..., :14], 16),
    "resize to such lengths along two axes": lambda x: functional.interpolate(x[:, None, :, :14], (4, 16)),
    "resize by a scale to twice the length": lambda x: functional.interpolate(x[:, None, :, :9], scale_factor=(1.0, 2.06)),
    "resize along": lambda x: functional.interpolate(x, scale_factor=1.5, mode="linear"),
    "activations": lambda x: functional.elu(x) + functional.leaky_relu(x, 0.2) + functional.hardswish(x) + functional.hardsigmoid(x),
    "more activations": lambda x: functional.mish(x) + functional.softplus(x) + functional.relu6(x) + functional.gelu(
        x, approximate="tanh") + functional.glu(x, 1).mean(),
    "arithmetic": lambda x: torch.rsqrt(x.abs() + 1) + (2 - x) / 3 + x.pow(2).clamp(0.1, 2) + torch.where(x > 0, x, -x * 2) ** 1.5,
    "logarithms": lambda x: torch.log10(x.abs() + 1) + torch.log2(x.abs() + 1) + torch.log(x.square() + 1) + x.clamp_max(0.3),
    "norms": lambda x: functional.layer_norm(x, x.shape[1:]) + functional.instance_norm(x[:1]) + functional.group_norm(x, 2),
    "reductions": lambda x: x.mean((1, 2)) + x.amax(1).sum(-1) + x.std(-1).sum(1) + x.norm(dim=(1, 2)) + x.max(1).values.mean(-1),
    "softmax": lambda x: x.softmax(1) + x.log_softmax(-1) + x.argmax(1, keepdim=True),
    "shapes": lambda x: torch.stack([x[:, ::2].flatten(1), x[:, 1::2].reshape(x.shape[0], -1)], 1).repeat(2, 1, 2)[:, -1, 1:9].unsqueeze(1),
    "joins": lambda x: torch.cat([*x.chunk(2, 1), x[:, :1].expand(-1, 3, -1), x[:, 0][:, None]], 1).permute(2, 0, 1),
    "padding": lambda x: functional.pad(x, (2, 1), value=3) + functional.pad(x, (1, 2), mode="replicate") + functional.pad(
        x, (3, 0), mode="reflect"),
    "products": lambda x: torch.baddbmm(x, x @ x.transpose(1, 2), x) + torch.einsum("ncl,kl->nck", x, x[0]).sum(),
    "attention": lambda x: attention(x[:, None], 2 * x[:, None], x[:, None]) + attention(
        x[:, None], x[:, None, :3], x[:, None, 1:], scale=0.3, is_causal=True),
    "masked attention": lambda x: attention(x[:, None], x[:, None], x[:, None], x[:, None] @ x[:, None].mT) + attention(
        x[:, None], x[:, None], x[:, None], torch.arange(16).reshape(4, 4) % 5 > 3) + attention(x, x, x),
    "constants": lambda x: x + torch.arange(x.shape[-1]) * torch.ones_like(x) + torch.zeros(x.shape[-1]) + torch.full((1,), 2.0),
    "comparisons": lambda x: torch.where((x > 0.1) | (x.le(-0.5)), x, torch.maximum(x, x.mean())).masked_fill(x == 0, 1.0),
    "comparisons of dtypes": lambda x: x + (torch.full((1,), 16777217) > 16777216.5) + (
        torch.full_like(x, 0.1) > torch.tensor(0.1).double()),
    "thresholds": lambda x: functional.softplus(x, 1.0, 0.5),
    "fractions": lambda x: x.mean() + torch.arange(1000.0, 1004.75, 0.1) - 1000,
    "no axes": lambda x: (s := -x.abs().sum()).softmax(0) + s.log_softmax(-1) + s.max(0).values / s.mean(-1) + s.argmax(0)
        + torch.linalg.vector_norm(s) + s.transpose(0, -1) + s.var(0, correction=0) + s.index_select(0, torch.tensor([0])),
    "an ignored bias": lambda x: torch.addmm(x[0] * torch.nan, x[0] @ x[0].T, x[0], beta=0),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_operators(name: str, dtype: Any) -> None:
    """Each beside a convolution, so that a region is made of it; lengths static, then free."""
    weight = torch.randn(4, 4, 3, dtype=dtype)

    def call(x: Any) -> Any:
        return OPERATORS[name](functional.conv1d(x, weight, padding=1))

    fast = torch.compile(call, backend="spectroconv", fullgraph=True)
    with torch.no_grad():
        for length in (14, 20, 26):
            x = torch.randn(2, 4, length, dtype=dtype)
            theirs = call(x)
            torch.testing.assert_close(fast(x), theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()), equal_nan=True)
    assert all(compiled.regions and not any(region.reason for region in compiled.regions) for compiled in compiler.RECENT)


def test_attention_to_very_many_stays_pytorchs(monkeypatch: Any) -> None:
    """PyTorch never holds all scores at once."""
    from kernels.torch.aten import attention as ours

    def call(x: Any) -> Any:
        return attention(x, x, x) + functional.relu(x).exp().tanh() * 2

    monkeypatch.setattr(ours, "MOST", 4 * 2 * 30 * 30)
    fast = torch.compile(call, backend="spectroconv")
    with torch.no_grad():
        for length in (30, 31):
            x = torch.randn(1, 2, length, 8)
            torch.testing.assert_close(fast(x), call(x), rtol=1e-4, atol=1e-5)
            reasons = [region.reason for compiled in compiler.RECENT for region in compiled.regions]
            assert any("scores take" in str(reason) for reason in reasons) == (length > 30)


def test_numbers_from_lengths_that_no_tensor_of_a_region_has() -> None:
    weight = torch.randn(4, 4, 3)

    def call(x: Any, y: Any, scale: float) -> Any:
        return functional.conv1d(y, weight).clamp(-1, (x.shape[-1] - 1) / 16) * scale, torch.sort(x).values

    fast = torch.compile(call, backend="spectroconv", dynamic=True)
    y = torch.randn(1, 4, 9)
    with torch.no_grad():
        for length, scale in (12, 0.5), (18, 0.7):
            x = torch.randn(length)
            same(fast(x, y, scale), call(x, y, scale))


def test_inference_mode_and_integer_inputs() -> None:
    embed = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(1)).eval()
    conv = nn.Conv1d(1, 2, 3).eval()

    def call(x: Any) -> Any:
        return conv(embed(x)[:, None])

    fast = torch.compile(call, backend="spectroconv")
    x = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with torch.inference_mode():
        same(fast(x), call(x))
        same(fast(x), call(x))
    with torch.no_grad():
        same(fast(x), call(x))


def test_channels_last_and_mutated_inputs() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1).eval()

    def call(x: Any) -> Any:
        y = conv(x).relu_()
        x.mul_(2)
        return y.permute(0, 2, 3, 1).reshape(-1, 4)

    fast = torch.compile(call, backend="spectroconv")
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    twin = x.clone()
    with torch.no_grad():
        same(fast(x), call(twin))
    same(x, twin)


def test_numbers_that_memory_does_not_hold() -> None:
    weight = torch.randn(3, 2, 3)
    spectra, layer = torch.randn(1, 2, 9, dtype=torch.complex64), lambda x: functional.conv1d(x, weight).relu()

    def conjugate(x: Any) -> Any:
        return layer(x.conj().imag)

    with torch.no_grad():
        same(torch.compile(conjugate, backend="spectroconv")(spectra), conjugate(spectra))
        fast = torch.compile(layer, backend="spectroconv")
        for x in (torch._neg_view(torch.randn(1, 2, 9)), spectra.conj().imag, torch._efficientzerotensor((1, 2, 9))):
            same(fast(x), layer(x))
            torch._dynamo.reset()


def test_options_are_refused() -> None:
    with pytest.raises(Exception, match="takes no options"), torch.no_grad():
        torch.compile(nn.Conv1d(1, 1, 3), backend="spectroconv", options={"fast": True})(torch.randn(1, 1, 9))


def test_installed_it_is_found_without_an_import(tmp_path: Path) -> None:
    information = tmp_path / "spectroconv-0.1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: spectroconv\nVersion: 0.1.0\n")
    (information / "entry_points.txt").write_text("[torch_dynamo_backends]\nspectroconv = kernels.torch.backend:spectroconv\n")
    code = (
        "import sys, torch\n"
        "assert 'kernels' not in sys.modules\n"
        "conv = torch.nn.Conv1d(1, 2, 3)\n"
        "with torch.no_grad():\n"
        "    x = torch.randn(1, 1, 9)\n"
        "    torch.testing.assert_close(torch.compile(conv, backend='spectroconv')(x), conv(x))\n"
        "import kernels.torch\n"
        "assert '1 regions' in kernels.torch.explain()\n"
    )
    root = Path(kernels.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": f"{tmp_path}:{root}", "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
