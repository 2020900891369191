"""The verbs of `python -m benchmarks`, one function each."""
