"""The named problems that every implementation must get right: small, and each here for one reason that its name tells."""

from __future__ import annotations

import dataclasses
import math
import zlib
from typing import Any

import numpy as np

Array = np.ndarray
Pairs = tuple[tuple[int, int], ...]

PRECISION: dict[str, dict[str, Any]] = {"direct_bfloat16": {"precision": "bfloat16"}}  # of methods that round, float32 only
# where the edge of a tile falls, for vectors of 2 to 16 lanes and tiles of up to 3 vectors
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49)
CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17)


@dataclasses.dataclass(frozen=True)
class ConvCase:
    """A convolution of x (n, c_in, *size) with weight (c_out, c_in/groups, *kernel)."""

    name: str
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    n: int
    c_in: int
    c_out: int
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int

    @property
    def op(self) -> str:
        return f"conv{len(self.size)}d"

    @property
    def options(self) -> dict[str, Any]:
        """What follows weight and bias in a call."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def summands(self) -> int:
        return self.c_in // self.groups * math.prod(self.kernel)

    @property
    def flops(self) -> int:
        axes = zip(self.size, self.kernel, self.stride, self.padding, self.dilation)
        out = [(n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in axes]
        return 2 * self.n * self.c_out * math.prod(out) * self.summands

    def arrays(self, dtype: str) -> tuple[Array, Array, Array]:
        """x, weight and bias: normal values from a generator seeded by the name."""
        draw = np.random.default_rng(zlib.crc32(self.name.encode()))
        shapes = (self.n, self.c_in, *self.size), (self.c_out, self.c_in // self.groups, *self.kernel), (self.c_out,)
        return tuple(draw.standard_normal(shape).astype(dtype) for shape in shapes)  # type: ignore[return-value]


@dataclasses.dataclass(frozen=True)
class PoolCase:
    """A pooling of x (n, channels, *size)."""

    name: str
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    n: int
    channels: int
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    ceil_mode: bool

    @property
    def window(self) -> tuple[Any, ...]:
        """Kernel, stride, padding, dilation and ceil_mode, as the reference takes them."""
        return self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode

    @property
    def options(self) -> dict[str, Any]:
        """What follows kernel_size in a call."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "ceil_mode": self.ceil_mode}

    def x(self, dtype: str) -> Array:
        """Normal values, rounded to quarters so that windows hold equal maxima."""
        draw = np.random.default_rng(zlib.crc32(self.name.encode()))
        return (np.round(4 * draw.standard_normal((self.n, self.channels, *self.size))) / 4).astype(dtype)


def _each(value: int | tuple[int, ...], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else value


def _pairs(value: int | tuple[int, ...] | Pairs, axes: int) -> Pairs:
    if isinstance(value, int):
        return ((value, value),) * axes
    return tuple((p, p) if isinstance(p, int) else p for p in value)


def conv(
    name: str, size: tuple[int, ...], kernel: tuple[int, ...], c_in: int = 1, c_out: int = 1, *, n: int = 1,
    stride: int | tuple[int, ...] = 1, padding: Any = 0, dilation: int | tuple[int, ...] = 1, groups: int = 1,
) -> ConvCase:  # fmt: skip
    axes = len(size)
    return ConvCase(name, size, kernel, n, c_in, c_out, _each(stride, axes), _pairs(padding, axes), _each(dilation, axes), groups)


def pool(
    name: str, size: tuple[int, ...], kernel: tuple[int, ...], *, n: int = 1, channels: int = 2,
    stride: int | tuple[int, ...] | None = None, padding: Any = 0, dilation: int | tuple[int, ...] = 1, ceil_mode: bool = False,
) -> PoolCase:  # fmt: skip
    axes = len(size)
    stride = kernel if stride is None else _each(stride, axes)
    return PoolCase(name, size, kernel, n, channels, stride, _pairs(padding, axes), _each(dilation, axes), ceil_mode)


CONV = [
    conv("first_layer", (20, 33), (3, 3), 1, 16, padding=1),
    conv("first_layer_7x7_stride_2", (23, 30), (7, 7), 1, 9, padding=3, stride=2),
    conv("inner_layer", (9, 14), (3, 3), 8, 12, padding=1),
    conv("five_by_five", (11, 19), (5, 5), 3, 5, padding=2),
    conv("blocks_of_every_kind", (17, 29), (3, 3), 40, 70, n=2, padding=1),
    conv("more_channels_than_pixels", (4, 3), (3, 3), 130, 140, padding=1),
    conv("long_rows", (3, 1100), (3, 3), 2, 3, padding=1),
    conv("long_columns", (1100, 3), (3, 3), 2, 3, padding=1),
    conv("unfolds_to_32_mb", (200, 200), (5, 5), 8, 3, padding=2),
    conv("power_of_two_pitch", (16, 256), (3, 3), 4, 8, padding=1),
    # 1x1
    conv("pointwise", (5, 7), (1, 1), 13, 10),
    conv("pointwise_batch", (4, 4), (1, 1), 6, 17, n=3),
    conv("pointwise_strided", (9, 8), (1, 1), 5, 6, stride=2),
    conv("pointwise_padded", (4, 5), (1, 1), 3, 4, padding=((1, 2), (0, 3))),
    conv("pointwise_1d", (37,), (1,), 4, 9),
    # where vectors and tiles end
    *(conv(f"width_{w}", (5, w + 2), (3, 3), 2, 3) for w in WIDTHS),
    *(conv(f"width_{w}_stride_2", (5, 2 * w + 1), (3, 3), 2, 3, stride=2) for w in (1, 7, 8, 9, 15, 16, 17, 33)),
    *(conv(f"channels_out_{c}", (4, 11), (3, 3), 3, c) for c in CHANNELS),
    *(conv(f"channels_in_{c}", (4, 9), (2, 3), c, 5) for c in (1, 2, 3, 5, 8, 16, 17, 33)),
    # strides
    conv("stride_2", (11, 20), (3, 3), 3, 4, stride=2, padding=1),
    conv("stride_3", (13, 22), (5, 4), 2, 7, stride=3),
    conv("stride_2x1", (11, 20), (3, 3), 3, 4, stride=(2, 1), padding=1),
    conv("stride_1x2", (11, 21), (3, 3), 3, 4, stride=(1, 2), padding=1),
    conv("stride_3x2", (14, 25), (4, 3), 3, 4, stride=(3, 2), padding=(1, 2)),
    conv("stride_past_the_kernel", (17, 23), (2, 3), 2, 3, stride=(5, 4)),
    conv("stride_past_the_input", (4, 5), (2, 2), 2, 3, stride=9),
    conv("patches", (16, 32), (8, 8), 1, 6, stride=8),
    conv("overlapping_patches", (36, 46), (16, 16), 1, 5, stride=10),
    # dilation
    conv("dilation_2", (13, 18), (3, 3), 3, 4, dilation=2, padding=2),
    conv("dilation_1x3", (6, 25), (3, 3), 2, 5, dilation=(1, 3), padding=(1, 3)),
    conv("dilation_4x1", (21, 10), (5, 2), 2, 3, dilation=(4, 1), padding=(8, 0)),
    conv("dilated_and_strided", (19, 27), (3, 4), 2, 5, dilation=(3, 2), stride=(2, 3), padding=((4, 1), (0, 5))),
    conv("dilation_64_1d", (400,), (3,), 4, 4, dilation=64, padding=64),
    conv("dilated_tiles", (14, 37), (3, 3), 9, 16, n=2, dilation=(2, 5), padding=((2, 1), (5, 8))),
    conv("dilated_tiles_1d", (150,), (3,), 8, 17, n=2, dilation=16, padding=((32, 0),)),
    conv("dilated_tiles_of_one_column", (19, 21), (5, 1), 8, 8, dilation=(3, 1), padding=(6, 0)),
    # groups
    conv("groups_2", (7, 10), (3, 3), 4, 6, groups=2, padding=1),
    conv("groups_3_of_5_to_7", (6, 9), (3, 3), 15, 21, groups=3, padding=1),
    conv("groups_2_of_3_to_1", (5, 8), (2, 2), 6, 2, groups=2),
    conv("depthwise", (9, 17), (3, 3), 7, 7, groups=7, padding=1),
    conv("depthwise_stride_2", (12, 19), (3, 3), 5, 5, groups=5, padding=1, stride=2),
    conv("depthwise_multiplier_2", (8, 13), (3, 3), 4, 8, groups=4, padding=1),
    conv("depthwise_multiplier_3_5x5", (9, 11), (5, 5), 3, 9, groups=3, padding=2, n=2),
    conv("images_share_a_job", (4, 5), (3, 3), 32, 48, n=4, padding=1),
    conv("images_of_one_tile", (2, 3), (3, 3), 16, 64, n=9, padding=1),
    conv("line_of_whole_vectors", (46,), (3,), 1, 7, padding=1),
    conv("depthwise_20_channels", (6, 4), (3, 3), 20, 20, groups=20, padding=1, n=2),
    conv("depthwise_rows_cut", (40, 3), (3, 2), 17, 34, groups=17, padding=(1, 1), stride=(2, 1), dilation=(2, 1)),
    conv("depthwise_dilated_1d", (700,), (3,), 6, 6, groups=6, dilation=64, padding=64),
    conv("depthwise_wide_1d", (90,), (9,), 5, 5, groups=5, padding=4),
    # one dimension
    conv("same_1d", (50,), (3,), 3, 5, padding=1),
    conv("kernel_64_1d", (300,), (64,), 4, 5, padding=((31, 32),)),
    conv("kernel_512_stride_4", (2000,), (512,), 1, 3, stride=4, padding=((254, 254),)),
    conv("kernel_10_stride_5", (203,), (10,), 1, 8, stride=5),
    conv("transform_1024_hop_320", (3300,), (1024,), 1, 4, stride=320, n=2),
    conv("raw_audio", (20000,), (100,), 2, 3, padding=50),
    # tall and wide
    conv("tall_70x1", (80, 9), (70, 1), 2, 4),
    conv("tall_70x3", (90, 8), (70, 3), 2, 3, padding=((34, 35), (1, 1))),
    conv("tall_16x3", (40, 12), (16, 3), 3, 5, padding=((7, 8), (1, 1))),
    conv("wide_3x39", (6, 60), (3, 39), 2, 5, padding=(1, 19)),
    conv("wide_7x67", (12, 90), (7, 67), 1, 4, padding=((3, 3), (0, 0))),
    conv("wide_1x64", (4, 96), (1, 64), 3, 6),
    conv("column_of_pixels", (40, 1), (3, 1), 4, 5, padding=((1, 1), (0, 0))),
    conv("row_of_pixels", (1, 40), (1, 3), 4, 5, padding=((0, 0), (1, 1))),
    # padding
    conv("padding_uneven", (7, 11), (3, 4), 3, 4, padding=((0, 3), (2, 1))),
    conv("padding_before_only", (6, 18), (4, 5), 2, 6, padding=((3, 0), (4, 0))),
    conv("padding_after_only", (6, 18), (4, 5), 2, 6, padding=((0, 3), (0, 4))),
    conv("same_even_2x4", (7, 18), (2, 4), 3, 4, padding=((0, 1), (1, 2))),
    conv("same_even_4x6_stride_2", (9, 21), (4, 6), 2, 3, padding=((1, 2), (2, 3)), stride=2),
    conv("same_even_2x2", (11, 43), (2, 2), 9, 10, padding=((0, 1), (1, 0))),
    conv("same_even_2_of_93", (93,), (2,), 17, 8, padding=((1, 0),), n=2),
    conv("taps_2x3", (12, 21), (2, 3), 8, 11, padding=((1, 1), (0, 1))),
    conv("padding_past_the_kernel", (5, 6), (3, 3), 2, 3, padding=5),
    conv("padding_past_the_input", (2, 3), (3, 3), 2, 3, padding=4),
    # extremes
    conv("batch_0", (5, 6), (3, 3), 2, 3, n=0),
    conv("batch_3", (6, 9), (3, 3), 3, 4, n=3, padding=1),
    conv("batch_3_grouped_strided", (7, 8), (3, 2), 6, 4, n=3, groups=2, stride=2),
    conv("one_pixel_1x1", (1, 1), (1, 1), 3, 5),
    conv("one_pixel_padded", (1, 1), (3, 3), 4, 6, padding=1),
    conv("one_number", (1,), (1,)),
    conv("one_pixel_out", (3, 3), (3, 3), 5, 4),
    conv("kernel_of_the_input", (7, 19), (7, 19), 2, 3),
    conv("kernel_past_the_input", (2, 3), (5, 7), 2, 4, padding=((2, 2), (3, 3))),
    conv("last_rows_unread", (10, 12), (3, 3), 2, 3, stride=4),
]  # fmt: skip

POOL = [
    pool("window_2", (8, 12), (2, 2)),
    pool("window_2_odd", (9, 13), (2, 2)),
    pool("window_2_ceil", (9, 13), (2, 2), ceil_mode=True),
    pool("window_3_stride_2", (11, 17), (3, 3), stride=2, padding=1),
    pool("window_3_stride_2_ceil", (10, 14), (3, 3), stride=2, padding=1, ceil_mode=True),
    pool("window_3_same", (6, 21), (3, 3), stride=1, padding=1),
    pool("window_4x2", (17, 9), (4, 2)),
    pool("window_1x8", (3, 80), (1, 8)),
    pool("window_8x1", (80, 3), (8, 1)),
    pool("window_5x7_stride_3x2", (16, 40), (5, 7), stride=(3, 2), padding=(2, 3)),
    *(pool(f"width_{w}", (4, 2 * w), (2, 2)) for w in WIDTHS),
    *(pool(f"width_{w}_stride_1", (4, w + 2), (3, 3), stride=1) for w in WIDTHS),
    *(pool(f"width_{w}_stride_3", (3, 3 * w), (2, 2), stride=(1, 3)) for w in (1, 5, 8, 16, 17)),
    pool("uneven_padding", (7, 10), (3, 4), stride=2, padding=((0, 2), (3, 1))),
    pool("uneven_padding_ceil", (7, 10), (3, 4), stride=(2, 3), padding=((2, 0), (1, 3)), ceil_mode=True),
    pool("dilated", (12, 15), (3, 2), stride=(1, 2), dilation=(2, 3), padding=(2, 1)),
    pool("dilated_ceil", (12, 16), (2, 3), stride=3, dilation=(4, 2), ceil_mode=True),
    pool("stride_past_the_window", (14, 23), (2, 3), stride=(5, 4)),
    pool("stride_past_the_input_ceil", (4, 6), (3, 3), stride=9, padding=1, ceil_mode=True),
    pool("whole_plane", (9, 31), (9, 31), channels=5),
    pool("columns", (20, 7), (20, 1), channels=3),
    pool("batch_0", (4, 6), (2, 2), n=0),
    pool("batch_3", (5, 9), (2, 3), n=3, channels=4),
    pool("one_pixel", (1, 1), (1, 1)),
    pool("one_pixel_padded", (1, 1), (3, 3), stride=1, padding=1),
    pool("one_dimension", (57,), (4,)),
    pool("one_dimension_3_same", (40,), (3,), stride=1, padding=1, channels=3),
    pool("one_dimension_long_window", (300,), (160,), stride=10),
    pool("one_dimension_ceil_overhang", (20,), (3,), stride=2, ceil_mode=True),
    pool("narrow", (12, 4), (2, 2), channels=37),
    pool("narrow_rows_left_over", (31, 2), (2, 2), n=2, channels=20),
    pool("narrow_columns_left_over", (9, 7), (3, 2), channels=11),
    pool("long_rows", (4, 1000), (2, 4), channels=3),
]
