"""PyTorch on the CPU with tensors of bfloat16, beside our own pairs of bfloat16; both run only where they are named."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.contenders.base import Prepared
from benchmarks.contenders.torch_cpu import Torch
from benchmarks.inputs.tensors import Tensors
from benchmarks.workloads.layer import Workload
from benchmarks.workloads.networks import Network

ROUNDING = 2.0**-8  # share by which a number changes that is rounded to bfloat16


class TorchBfloat16(Torch):
    """torch.nn.functional's convolutions on tensors of bfloat16, in channels-last memory format."""

    name, asked_only, peer, trains = "bfloat16_torch", True, False, ()
    inside_timer = "As torch_channels_last, with input, weights and bias already converted to bfloat16 before, and the output left so."
    channels_last = True

    def refuse(self, workload: Workload) -> str | None:
        if isinstance(workload, Network) or not workload.is_conv or workload.is_transposed:
            return "it stands beside precision=\"bfloat16\", which convolutions take"
        return super().refuse(workload)

    def tensor(self, workload: Workload, array: Any) -> Any:
        found = super().tensor(workload, array)
        return None if found is None else found.bfloat16()

    def prepare(self, workload: Workload, given: Tensors, threads: int) -> Prepared:
        prepared = super().prepare(workload, given, threads)
        # both factors and the output are rounded, sums are float32s as far as PyTorch says
        bound = (1 + ROUNDING) ** 3 - 1 + 4 * float(np.finfo(np.float32).eps) * (workload.terms + 1) ** 0.5
        return Prepared(run=prepared.run, answer=lambda y: y.float().numpy().reshape(workload.out_shape), error_bound=bound)
