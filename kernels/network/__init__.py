"""Layers in a row, as one plan."""
