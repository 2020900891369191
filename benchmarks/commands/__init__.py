"""The verbs of `python -m benchmarks`, one function each."""

import os
import sys

if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):  # said here, before anything that compiles is imported
    sys.stderr.write("NUMBA_DISABLE_JIT is set: nothing would be compiled, so nothing can be measured. Unset it.\n")
    raise SystemExit(2)
