"""The suite in a process that is told it runs on macOS: it knows its machine, finds nothing bad, and measures. (psutil of Linux, which it
asks, needs what Windows lacks, so that Windows cannot be pretended here.)"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from other_systems import run
from scipy.io import wavfile

MEASURE = """
from pathlib import Path
from benchmarks.host import busy, environment, peak_memory
from benchmarks.runner import doctor
from benchmarks.records import archive
from benchmarks.__main__ import app
from typer.testing import CliRunner

seen = environment.collect()
assert json.loads(json.dumps(seen))["threads"] == 2 and seen["governor"] is None and peak_memory.HighWater().growth() is None
findings = [*doctor.machine(seen), *doctor.library(), *doctor.layer(2), *doctor.cache(), *doctor.blas(), *doctor.cgroup(Path("/"), 2),
            *doctor.other_work(0.0, 2, doctor._read("/proc/stat"), None), *doctor.clock(), *doctor.reports()]
assert not [finding for finding in findings if finding.level == "bad"], findings
assert any("of Python when idle" in finding.found for finding in findings), findings
with busy.processes(1) as started:
    assert len(started) == 1
wave, out = sys.argv[3:]
arguments = ["run", "--workload=effat.preemph", "--contender=direct", "--contender=scipy", "--passes=1", "--threads=1"]
done = CliRunner().invoke(app, [*arguments, f"--audio={wave}", f"--out={out}"])
assert done.exit_code == 0, (done.output, done.exception)
(folder,) = (path.parent for path in Path(out).glob("*/run.json"))
assert {line.contender: line.status for line in archive.lines(folder)} == {"direct": "ok", "scipy": "ok"}
print("right")
"""


def test_the_suite_on_macos(tmp_path: Path) -> None:
    wave = tmp_path / "short.wav"
    wavfile.write(wave, 32000, np.ones((32000, 2), np.float32))
    run(MEASURE, str(tmp_path / "cache"), str(wave), str(tmp_path / "runs"), pretence="darwin")
