"""Networks that learn from synthesised music, with these kernels and with PyTorch's own."""
