"""Chosen tests on an emulated aarch64, for who has no such machine: QEMU runs an arm64 Python, instruction by instruction.

    python tests/emulated_aarch64.py FOLDER             # on Debian or Ubuntu; needs apt-get, dpkg-deb and pip, no root; 900 MB
    python tests/emulated_aarch64.py FOLDER -k winograd # further arguments are pytest's

The first run fills FOLDER: QEMU's user-mode emulator and an arm64 Python of the system's own packages, unpacked and not installed, and the
arm64 wheels of what the tests import. Compiling takes forty times as long as on the machine itself, so TESTS are few: each micro-kernel
with NEON's lanes, then one layer of each method and variant, with tails, strides, groups and what follows a layer, against float64. What
starts processes of its own is left out. kernels/primitives/README.md says what the last run found.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("python3", "libstdc++6", "libgomp1")  # the last two are what wheels expect of the system
WHEELS = ("numpy", "numba", "scipy", "pytest", "hypothesis")  # numba brings llvmlite
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")

MICRO_KERNELS = (
    "test_gemm_tile[6-4-False-4-float32]", "test_gemm_tile[14-2-False-4-float32]", "test_gemm_tile[8-3-True-4-float32]",
    "test_gemm_tiles_in_one_call[channels-4-float32]", "test_gemm_tile[6-4-False-2-float64]",
    "test_gemm_tile_oc[6-4-True-True-4-float32]", "test_gemm_tile_oc[6-4-False-False-4-float32]",
    "test_packing[1-4-float32]", "test_packing[2-4-float32]", "test_packing[11-4-float32]",
    "test_packing_lines_as_long_as_rows[7-4-float32]",
    "test_window[kernel0-stride0-dilation0-0-4-float32]", "test_window[kernel3-stride3-dilation3-1-4-float32]",
    "test_lines[17-1-4-float32]", "test_transform_there_and_back[20-4-float32]", "test_product_of_spectra[4-2-ahead1-4-float32]",
    "test_lines_in_and_out[0-4-float32]", "test_lines_in_and_out[1-4-float32]", "test_strips[(2, 2)-4-2-0-4-float32]",
    "test_planes_in_lanes[1-4-float32]", "test_transposition[4-float32]",
)  # fmt: skip
CONTRACTS = (
    "direct-blocks_of_every_kind-float32", "direct-stride_3x2-float32", "direct-more_channels_than_pixels-float32",
    "direct-groups_3_of_5_to_7-float32", "direct-width_17-float64", "winograd-inner_layer-float32", "winograd-padding_uneven-float32",
    "fft-kernel_64_1d-float32", "fft-wide_7x67-float32", "depthwise-depthwise-float32", "depthwise-depthwise_stride_2-float32",
    "im2col-stride_2-float32", "direct-pointwise-float32", "depthwise-depthwise_20_channels-float32",
    "winograd-images_of_one_tile-float32",
)  # fmt: skip
TESTS = (
    *(f"tests/primitives/test_microkernels.py::{name}" for name in MICRO_KERNELS),
    *(f"tests/methods/test_contract_conv.py::test_contract[{name}]" for name in CONTRACTS),
    "tests/methods/test_epilogue.py::test_order_of_steps[direct-True-gelu-('max', (2, 3), (2, 3))]",
    "tests/methods/test_contract_pool.py::test_maximum[window-window_2_odd-float32]",
    *(f"tests/methods/test_contract_conv.py::test_channels_last_inside_a_job[{name}-inner_layer-16]" for name in ("direct", "winograd")),
    "tests/methods/test_contract_transposed.py::test_contract[direct-doubling_k2-float32]",
    "tests/methods/test_gradients.py::test_contract[conv2d_weight n2 c3 9x11 -> c5 k3x3 s1x1 p1+1x1+1 d1x1 g1 float32-direct]",
    "tests/primitives/test_matrix_product.py::test_constant_matrices[109-192-100-None-float32]",
    "tests/primitives/test_reduction.py::test_nan_and_infinity[0-sum-1]",
    "tests/primitives/test_rows.py::test_softmax_of_extremes", "tests/primitives/test_rows.py::test_layer_norm_of_equal_numbers_is_beta",
    "tests/primitives/test_vector_math.py::test_functions[exp-float32]", "tests/primitives/test_activations.py::test_lines[-4-float32]",
    "tests/runtime/test_system.py::test_here_it_is_what_the_machine_uses",
)


def run(*command: str | Path, **options: object) -> None:
    """A step of the set-up; raises CalledProcessError if it fails."""
    subprocess.run([str(word) for word in command], check=True, **options)  # type: ignore[call-overload]


def unpack(folder: Path, architecture: str, *packages: str) -> None:
    """Unpack packages of the system's own archive, and what they depend on, into a folder, with lists and status of their own."""
    state = folder.with_name(folder.name + ".apt")
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": architecture, "APT::Architectures": architecture, "Dir::State": state, "Dir::State::Lists": state / "lists",
        "Dir::State::status": state / "status", "Dir::Cache": state, "Dir::Cache::archives": state / "archives",
        "APT::Install-Recommends": "false", "Debug::NoLocking": "true", "APT::Sandbox::User": "",
    }  # fmt: skip
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    run(*apt, "update")
    run(*apt, "install", "--yes", "--download-only", *packages)
    folder.mkdir(exist_ok=True)
    for package in sorted((state / "archives").glob("*.deb")):
        run("dpkg-deb", "--extract", package, folder)
    shutil.rmtree(state)


def emulator(folder: Path) -> str:
    """QEMU's emulator of a process: the system's, or one that is unpacked."""
    own = folder / "qemu/usr/bin/qemu-aarch64-static"
    if not (found := shutil.which(own.name)) and not own.exists():
        unpack(folder / "qemu", "amd64", "qemu-user-static")
    return found or str(own)


def set_up(folder: Path) -> list[str]:
    """Put in a folder what is not there yet; the command that runs the emulated Python."""
    folder.mkdir(parents=True, exist_ok=True)
    qemu, root, site = emulator(folder), folder / "root", folder / "site"
    if not (root / "usr/bin/python3").exists():
        unpack(root, "arm64", *PACKAGES)
    for name in ("lib", "bin"):  # where the dynamic linker's name leads, which packages of a merged /usr no longer hold
        if not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")
    python = next(root.glob("usr/bin/python3.[0-9]*[0-9]"))
    if not (site / "numba").exists():
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        version = python.name.removeprefix("python")
        pip = [sys.executable, "-m", "pip", "install", "--target", site, "--python-version", version, "--only-binary=:all:", *platforms]
        run(*pip, *WHEELS)
    return [qemu, "-L", str(root), str(python)]


def main(folder: Path, arguments: list[str]) -> int:
    """Pytest's exit code."""
    command = set_up(folder)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, folder / "site"))), "KERNELS_CACHE_DIR": str(folder / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--durations=0", "-v", *TESTS]
    return subprocess.run([*command, *pytest, *arguments], cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
