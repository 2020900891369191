"""Gradients of convolutions with respect to their weights: every sum runs over all images and positions."""
