"""PyTorch's threads do not spin beside ours: one thread sleeps in a region of its own, until PyTorch is to be timed alone, unless the user
has said how OpenMP waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from patience import PATIENCE

pytest.importorskip("torch")

SCRIPT = """
import json, threading, time
import torch
torch.set_num_threads(2)
import kernels.torch
from kernels.torch import waiting
x, weight = torch.randn(1, 4, 16, 16), torch.randn(4, 4, 3, 3, requires_grad=True)
def sleeping():
    return [thread.name for thread in threading.enumerate()].count("spectroconv-waiting")
counts = [sleeping()]
for _ in range(2):
    kernels.torch.conv2d(x, weight).sum().backward()
    counts.append(sleeping())
big = torch.randn(1 << 20)
assert torch.equal(big + big, 2 * big)
again = waiting.sleeps()
waiting.spins()
while sleeping():
    time.sleep(0.01)
counts.append(sleeping())
kernels.torch.conv2d(x, weight).sum().backward()
counts.append(sleeping())
assert torch.equal(big + big, 2 * big)
print(json.dumps([waiting._library() is not None, counts, again]))
"""


@pytest.mark.parametrize("said", [{}, {"OMP_WAIT_POLICY": "passive"}])
def test_one_thread_sleeps(said: dict[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")} | said
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=PATIENCE, env=environment, check=True)
    found, counts, again = json.loads(done.stdout)
    one = int(found and not said)
    assert counts == [0, one, one, 0, one] and not again
