"""Direct convolution on pairs of bfloat16."""
