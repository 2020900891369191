"""The definition, step by step, under Numba and over BLAS: what the other methods are compared with."""
