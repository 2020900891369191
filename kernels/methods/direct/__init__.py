"""Direct convolution on register tiles."""
