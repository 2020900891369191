"""torch.nn's convolutions, pools and batch norms, computed by ours: subclasses with the same constructors and the same state_dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from kernels.torch.batch_norm import normalised, trainable
from kernels.torch.calls import keep, noted
from kernels.torch.derived import derived
from kernels.torch.eligibility import differentiated, undisturbed
from kernels.torch.functional import convolve, convolve_transposed, pool, pool_adaptively
from kernels.torch.rectified import convolve as rectified
from kernels.torch.weight_norm import weight_of

Tensor = torch.Tensor


class _Conv(nn.modules.conv._ConvNd):
    """What our convolutions have in common."""

    _op = ""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None, rectify: bool = False) -> Tensor:
        note = noted(self)
        padding: Any = self.padding
        x = input
        if self.padding_mode != "zeros":
            x, padding = functional.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode), 0
        given = self._op, x, weight, bias, self.stride, padding, self.dilation, self.groups, note
        y = rectified(*given) if rectify else None
        if y is None:
            y = convolve(*given)
            y = functional.relu(y, inplace=not y.requires_grad) if rectify else y
        keep(self, input, note)
        return y

    def forward(self, input: Tensor) -> Tensor:
        """The convolution of input, (N, C, *spatial) or (C, *spatial)."""
        return self._conv_forward(input, weight_of(self), self.bias)

    def _rectified(self, input: Tensor) -> Tensor:
        """What a ReLU makes of the convolution; where gradients may be required it costs nothing here."""
        return self._conv_forward(input, weight_of(self), self.bias, rectify=True)


class Conv1d(_Conv, nn.Conv1d):
    """torch.nn.Conv1d, computed by ours."""

    _op = "conv1d"


class Conv2d(_Conv, nn.Conv2d):
    """torch.nn.Conv2d, computed by ours."""

    _op = "conv2d"


class Conv3d(_Conv, nn.Conv3d):
    """torch.nn.Conv3d, computed by ours."""

    _op = "conv3d"


class _ConvTranspose(nn.modules.conv._ConvTransposeNd):
    """What our transposed convolutions have in common."""

    _op = ""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """The transposed convolution of input, (N, C, *spatial) or (C, *spatial), of the length asked for."""
        axes = len(self.kernel_size)
        more = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, axes, self.dilation  # type: ignore[arg-type]
        )
        note = noted(self)
        y = convolve_transposed(
            self._op, input, weight_of(self), self.bias, self.stride, self.padding, tuple(more), self.groups, self.dilation, note
        )
        keep(self, input, note)
        return y


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d, computed by ours."""

    _op = "conv_transpose1d"


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d, computed by ours."""

    _op = "conv_transpose2d"


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """torch.nn.ConvTranspose3d, computed by ours."""

    _op = "conv_transpose3d"


class _Pool(nn.Module):
    """What our pools have in common: `_numbers` are what follows the input in torch.nn.functional, by name."""

    _op = ""
    _numbers: tuple[str, ...] = ()

    def forward(self, input: Tensor) -> Any:
        """The pool of input, (N, C, *spatial) or (C, *spatial)."""
        note = noted(self)
        y = pool(self._op, input, *(getattr(self, name, None) for name in self._numbers), note=note)
        keep(self, input, note)
        return y


class _MaxPool(_Pool):
    _numbers = "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"


class _AvgPool(_Pool):
    _numbers = "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"


class MaxPool1d(_MaxPool, nn.MaxPool1d):
    """torch.nn.MaxPool1d, computed by ours."""

    _op = "max_pool1d"


class MaxPool2d(_MaxPool, nn.MaxPool2d):
    """torch.nn.MaxPool2d, computed by ours."""

    _op = "max_pool2d"


class MaxPool3d(_MaxPool, nn.MaxPool3d):
    """torch.nn.MaxPool3d, computed by ours."""

    _op = "max_pool3d"


class AvgPool1d(_AvgPool, nn.AvgPool1d):
    """torch.nn.AvgPool1d, computed by ours."""

    _op = "avg_pool1d"


class AvgPool2d(_AvgPool, nn.AvgPool2d):
    """torch.nn.AvgPool2d, computed by ours."""

    _op = "avg_pool2d"


class AvgPool3d(_AvgPool, nn.AvgPool3d):
    """torch.nn.AvgPool3d, computed by ours."""

    _op = "avg_pool3d"


class _AdaptivePool(nn.Module):
    """What our adaptive pools have in common."""

    _op = ""

    def forward(self, input: Tensor) -> Any:
        """The pool of input, (N, C, *spatial) or (C, *spatial)."""
        note = noted(self)
        y = pool_adaptively(self._op, input, self.output_size, bool(getattr(self, "return_indices", False)), note)
        keep(self, input, note)
        return y


class AdaptiveAvgPool1d(_AdaptivePool, nn.AdaptiveAvgPool1d):
    """torch.nn.AdaptiveAvgPool1d, computed by ours."""

    _op = "adaptive_avg_pool1d"


class AdaptiveAvgPool2d(_AdaptivePool, nn.AdaptiveAvgPool2d):
    """torch.nn.AdaptiveAvgPool2d, computed by ours."""

    _op = "adaptive_avg_pool2d"


class AdaptiveAvgPool3d(_AdaptivePool, nn.AdaptiveAvgPool3d):
    """torch.nn.AdaptiveAvgPool3d, computed by ours."""

    _op = "adaptive_avg_pool3d"


class AdaptiveMaxPool1d(_AdaptivePool, nn.AdaptiveMaxPool1d):
    """torch.nn.AdaptiveMaxPool1d, computed by ours."""

    _op = "adaptive_max_pool1d"


class AdaptiveMaxPool2d(_AdaptivePool, nn.AdaptiveMaxPool2d):
    """torch.nn.AdaptiveMaxPool2d, computed by ours."""

    _op = "adaptive_max_pool2d"


class AdaptiveMaxPool3d(_AdaptivePool, nn.AdaptiveMaxPool3d):
    """torch.nn.AdaptiveMaxPool3d, computed by ours."""

    _op = "adaptive_max_pool3d"


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """A batch norm at inference is a convolution of one tap a channel, in training `batch_norm`'s; where somebody wants gradients of one
    that does not train, PyTorch's own."""

    _axes = 0

    def forward(self, input: Tensor) -> Tensor:
        """The normalised input, (N, C, *spatial)."""
        return self._normalised(input, rectify=False)[0]

    def _rectified(self, input: Tensor) -> Tensor:
        """What a ReLU makes of the normalised input; in training it costs nothing here."""
        y, done = self._normalised(input, rectify=True)
        return y if done else functional.relu(y)

    def _normalised(self, input: Tensor, rectify: bool) -> tuple[Tensor, bool]:
        """The normalised input, and whether it is rectified."""
        if not isinstance(input, Tensor):  # torch.fx traces
            batch = self.training or self.running_mean is None
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, batch, self.momentum or 0.0, self.eps
            ), False
        note = noted(self)
        if note is None or input.dim() != self._axes + 2:
            return super().forward(input), False
        batch = self.training or self.running_mean is None or self.running_var is None
        if batch:
            note.reason = trainable(input, self.weight, self.bias, self.eps)
        elif differentiated(input, self.weight, self.bias) or not undisturbed(input, self.running_mean, self.weight):
            note.reason = "gradients may be asked for; call it under torch.no_grad()"
        ours = note.reason is None
        if not ours:
            y = super().forward(input)
        elif batch:
            y, note.method = self._trained(input, rectify), "by the batch"
        else:
            scale, shift = self._folded(self.running_mean, self.running_var)  # type: ignore[arg-type]
            ones = (1,) * self._axes
            y = convolve(f"conv{self._axes}d", input, scale, shift, ones, (0,) * self._axes, ones, self.num_features, note)
        keep(self, input, note)
        return y, ours and batch and rectify

    def _trained(self, input: Tensor, rectify: bool) -> Tensor:
        """The batch normalised by itself; what is kept for inference moves on as PyTorch's does."""
        y, mean, variance = normalised(input, self.weight, self.bias, self.eps, rectify)
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                counted = self.num_batches_tracked
                if counted is not None:
                    counted.add_(1)
                share = self.momentum if self.momentum is not None else 0.0 if counted is None else 1 / float(counted)
                count = input.numel() // input.shape[1]
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), share)
        return y

    def _folded(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """(scale as a weight, shift as a bias), the same tensors as long as what they come from is the same."""

        def fold() -> tuple[Tensor, Tensor]:
            scale = torch.rsqrt(var.double() + self.eps)
            scale = scale if self.weight is None else scale * self.weight.double()
            shift = -mean.double() * scale
            shift = shift if self.bias is None else shift + self.bias.double()
            return scale.to(mean.dtype).reshape(-1, 1, *(1,) * self._axes), shift.to(mean.dtype)

        sources = [mean, var, *(each for each in (self.weight, self.bias) if each is not None)]
        found: tuple[Tensor, Tensor] = derived(self, "_scale_shift", sources, fold)
        return found


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """torch.nn.BatchNorm1d; at inference on (N, C, L) computed by ours."""

    _axes = 1


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """torch.nn.BatchNorm2d, at inference computed by ours."""

    _axes = 2


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """torch.nn.BatchNorm3d, at inference computed by ours."""

    _axes = 3
