"""The tiles of direct convolution on pairs of bfloat16: a pair has the size of a float32, so that only the multiply-add is another one."""

from __future__ import annotations

from functools import partial

from kernels.primitives import gemm_tile, gemm_tile_oc
from kernels.primitives.gemm_tile import GemmTile, Moved, stage_of
from kernels.primitives.gemm_tile_oc import GemmTileOc
from kernels.runtime.ir import VectorBuilder
from kernels.runtime.ir_pairs import multiply_pairs, multiply_pairs_apart
from kernels.runtime.jit import njit
from kernels.runtime.machine import machine
from kernels.runtime.micro_kernel import address, emitter


@emitter
def _emit(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """One tile."""
    gemm_tile.emit(w, p, at, True, partial(multiply_pairs, w))


@emitter
def _emit_apart(w: VectorBuilder, p: GemmTile, at: Moved) -> None:
    """The same on any CPU."""
    gemm_tile.emit(w, p, at, True, partial(multiply_pairs_apart, w))


@emitter
def _emit_oc(w: VectorBuilder, p: GemmTileOc) -> None:
    """The tile with lanes along output channels."""
    gemm_tile_oc.emit(w, p, partial(multiply_pairs, w))


@emitter
def _emit_oc_apart(w: VectorBuilder, p: GemmTileOc) -> None:
    """The same on any CPU."""
    gemm_tile_oc.emit(w, p, partial(multiply_pairs_apart, w))


@njit
def _tile(p):
    stage = stage_of(p, 0, p.k)
    for i in range(p.times):
        _emit(p, Moved(p.a + i * p.a_step, 0, p.y + i * p.y_step, p.vectors + i * p.vectors_step, p.offsets, p.k, stage))


@njit
def _tile_apart(p):
    stage = stage_of(p, 0, p.k)
    for i in range(p.times):
        _emit_apart(p, Moved(p.a + i * p.a_step, 0, p.y + i * p.y_step, p.vectors + i * p.vectors_step, p.offsets, p.k, stage))


@njit
def _tile_oc(p):
    _emit_oc(p, ())


@njit
def _tile_oc_apart(p):
    _emit_oc_apart(p, ())


def _apart(lanes: int) -> bool:
    """Whether pairs are multiplied as two float32s each, for tests of what lies around the instruction."""
    return machine().bfloat16 != "avx512_bf16" or lanes != 16


def tile(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m rows by n vectors, which takes a GemmTile of weights [k][m]; k counts pairs, kc is ignored."""
    return address(_tile_apart if _apart(lanes) else _tile, GemmTile, m=m, n=n, lanes=lanes, itemsize=itemsize)


def tile_oc(m: int, n: int, lanes: int, itemsize: int) -> int:
    """Address of the compiled tile of m positions by n vectors of channels, which takes a GemmTileOc."""
    of = _tile_oc_apart if _apart(lanes) else _tile_oc
    return address(of, GemmTileOc, m=m, n=n, lanes=lanes, itemsize=itemsize, packed=1, blocked=0)
