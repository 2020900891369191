"""Micro-kernels: registers and strides. They take sizes, addresses and strides, never a problem."""
