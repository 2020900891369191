"""What hot loops become on aarch64, cross-compiled here: multiply-adds by element, sums that stay in registers, few other instructions."""

from __future__ import annotations

import aarch64
import pytest

from kernels.cost import gemm
from kernels.methods.depthwise import channel_tile, row_tile
from kernels.methods.direct.blocking import TALLEST
from kernels.methods.fft import codelets, complex_gemm_tile
from kernels.methods.gradients import product_tile
from kernels.methods.winograd import transforms
from kernels.primitives import gemm_tile, gemm_tile_oc
from kernels.runtime.machine import pretend

REGISTERS = 32
LANES = {"lanes": 4, "itemsize": 4}
with pretend(vector_bytes=16, registers=REGISTERS) as NEON:
    TILES = [(min(gemm.most_rows(n, NEON), TALLEST), n) for n in range(1, 9)]  # the tallest of each width that methods choose
cpus = pytest.mark.parametrize("cpu", aarch64.CPUS)


@cpus
@pytest.mark.parametrize(("m", "n"), TILES)
def test_gemm_tile(m: int, n: int, cpu: str) -> None:
    loop = aarch64.hot(aarch64.assembly(gemm_tile._emit_packed, gemm_tile.GemmTile, gemm_tile.Moved, cpu=cpu, m=m, n=n, **LANES))
    assert loop.multiply_adds == loop.by_element == gemm_tile.UNROLL * m * n
    assert loop.spills == loop.count("dup", "ld1r") == 0
    counted = gemm.neon_instructions(m, n)
    assert abs(len(loop.lines) / gemm_tile.UNROLL - counted) <= 0.08 * counted
    assert counted / 4 <= 1.05 * max(m * n / 2, 8)  # of four instructions a cycle two may be multiply-adds, which are what is waited for


@cpus
@pytest.mark.parametrize(("m", "n"), TILES[:4])
def test_gemm_tile_with_output_channels_in_lanes(m: int, n: int, cpu: str) -> None:
    fixed = {"m": m, "n": n, "packed": 1, "blocked": 0, **LANES}
    loop = aarch64.hot(aarch64.assembly(gemm_tile_oc._emit, gemm_tile_oc.GemmTileOc, cpu=cpu, **fixed))
    assert loop.multiply_adds == loop.by_element == gemm_tile.UNROLL * m * n
    assert loop.spills == loop.count("dup", "ld1r") == 0
    assert len(loop.lines) <= 2.2 * loop.multiply_adds


@cpus
@pytest.mark.parametrize(("m", "n"), [(6, 4), (8, 3)])
def test_product_tile(m: int, n: int, cpu: str) -> None:
    form = {"m": m, "n": n, "apart": 0, **LANES}
    loop = aarch64.hot(aarch64.assembly(product_tile._emit, product_tile.ProductTile, product_tile._Moved, cpu=cpu, **form))
    assert loop.multiply_adds == loop.by_element == product_tile.UNROLL * m * n
    assert loop.spills == 0 and len(loop.lines) <= 1.5 * loop.multiply_adds


@cpus
@pytest.mark.parametrize(("m", "n"), [((REGISTERS - 2 - 2 * n) // (2 * n), n) for n in (2, 3, 4)])
def test_product_of_spectra(m: int, n: int, cpu: str) -> None:
    loop = aarch64.hot(aarch64.assembly(complex_gemm_tile._emit, complex_gemm_tile.ComplexGemmTile, cpu=cpu, m=m, n=n, **LANES))
    assert loop.multiply_adds == loop.by_element == 4 * m * n
    assert loop.spills == 0 and len(loop.lines) <= 2.1 * loop.multiply_adds


@cpus
def test_depthwise(cpu: str) -> None:
    row = aarch64.hot(aarch64.assembly(row_tile._emit, gemm_tile.GemmTile, "vectors", cpu=cpu, m=0, n=1, **LANES))
    assert row.multiply_adds == row_tile.UNROLL and row.spills == 0 and len(row.lines) <= 15
    sums = aarch64.hot(aarch64.assembly(channel_tile._sum_runs, channel_tile.Sums, cpu=cpu, run=8, step=1, columns=3, **LANES))
    assert sums.multiply_adds == 24 and sums.spills == 0 and len(sums.lines) <= 36


@cpus
@pytest.mark.parametrize("radix", codelets.RADICES)
def test_radix_passes_stay_in_registers(radix: int, cpu: str) -> None:
    """Where LLVM takes a Neoverse's loads first, the twiddle factors of radix 8 go to the stack and come back."""
    loops = aarch64.loops(aarch64.assembly(codelets._emit_pass, codelets.RadixPass, cpu=cpu, radix=radix, when=codelets.AFTER, **LANES))
    allowed = 24 if radix == 8 and cpu != "apple-m1" else 0
    assert loops and all(loop.spills <= allowed for loop in loops)


@cpus
@pytest.mark.parametrize("m", [2, 4, 6])
def test_winograd_transforms(m: int, cpu: str) -> None:
    """Of a tile of 16 points no number leaves the registers; of 36 and 64 rows wait on the stack, so that points are stored in order."""
    fixed, points = {"mh": m, "rh": 3, "mw": m, "rw": 3, "dilated": 0, **LANES}, (m + 2) ** 2
    text = aarch64.assembly(transforms._emit_input, transforms.InputTransform, cpu=cpu, **fixed)
    inside = max(aarch64.loops(text), key=lambda loop: loop.count("fadd", "fsub", "fmla", "fmls", "fmul"))
    assert inside.spills <= (0 if points <= REGISTERS else 6 * points)
    assert len(inside.lines) <= 27 * points
