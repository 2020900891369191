"""PyTorch's operators (decomposed ATen, as torch.compile hands them over) as nodes of our graph, one file a kind.

Importing the package registers them.
"""

from kernels.torch.aten import attention, own, pointwise, products, reducing, shaping, windows  # noqa: F401
