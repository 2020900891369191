"""Signals that do not end: networks on live blocks, and on archives that no memory holds."""
