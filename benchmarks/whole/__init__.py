"""Whole models: published ones fetched by hash, timed from input to output in front of other runtimes, with a time line a step."""
