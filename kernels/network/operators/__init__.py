"""What every operator of a graph does: shapes and dtypes it gives, and its arithmetic in NumPy.

Importing a file registers its operators.
"""

from kernels.network.operators import drawing, elementwise, folding, integers, products, recurrent, reducing, resizing, shaping, windows  # noqa: F401
