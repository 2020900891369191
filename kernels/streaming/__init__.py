"""Blocks of a live signal, with what they need of the past kept between calls."""
