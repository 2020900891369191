"""Pooling by vectors."""
