"""What tests of the compiler share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture
def fresh() -> Iterator[None]:
    """PyTorch has compiled nothing yet and begins its random numbers anew."""
    import torch

    from kernels.torch import compiler

    torch._dynamo.reset()
    compiler.RECENT.clear()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()
