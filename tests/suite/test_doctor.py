"""The doctor: every trap it knows is found where it is set, with its remedy, and nothing where nothing is wrong."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.runner import doctor, doctor_threads

NO_STEAL = "cpu  1000 0 100 9000 10 0 5 0 0 0\n"


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OMP_NUM_THREADS": "8"}, "OMP_NUM_THREADS=8"), ({"OMP_NUM_THREADS": "1"}, "some peers will not use all 2"),
        ({"OMP_NUM_THREADS": "2,2"}, None), ({"MKL_NUM_THREADS": "64"}, "MKL_NUM_THREADS=64"), ({"NUMBA_NUM_THREADS": "2"}, None),
        ({"OMP_NESTED": "TRUE"}, "OMP_NESTED"), ({"OMP_NESTED": "false"}, None), ({"OMP_MAX_ACTIVE_LEVELS": "3"}, "threads squared"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "spinning"), ({"OMP_WAIT_POLICY": "passive"}, None), ({"GOMP_SPINCOUNT": "infinity"}, "spinning"),
        ({"KMP_BLOCKTIME": "200"}, "KMP_BLOCKTIME=200"), ({"KMP_BLOCKTIME": "0"}, None), ({"OMP_PROC_BIND": "close"}, "same cores"),
        ({"OMP_DYNAMIC": "1"}, "fewer threads"), ({}, None),
    ],
)  # fmt: skip
def test_thread_variables(environ: dict[str, str], named: str | None) -> None:
    found = list(doctor_threads.variables(environ, usable=2))
    assert len(found) == 1
    if named is None:
        assert found[0].level == "ok"
    else:
        assert found[0].level == "trap" and named in found[0].found and found[0].remedy == f"unset {next(iter(environ))}"


def container(root: Path, files: dict[str, str], membership: str) -> Path:
    """A file system with these files of control groups."""
    for name, text in ({f"sys/fs/cgroup/{name}": text for name, text in files.items()} | {"proc/self/cgroup": membership}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "membership", "said"),
    [
        ({"a/b/cpu.max": "150000 100000"}, "0::/a/b", "1.5 cores' worth"), ({"cpu.max": "max 100000"}, "0::/", None),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b", "1 cores' worth"),  # a limit further up holds too
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/elsewhere", "0.5 cores' worth"),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None), ({"cpu.max": "400000 100000"}, "0::/", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_cpu_limits_of_containers(tmp_path: Path, files: dict[str, str], membership: str, said: str | None) -> None:
    found = list(doctor.cgroup(container(tmp_path, files, membership), usable=2))
    assert len(found) == 1 and found[0].level == ("ok" if said is None else "trap")
    if said:
        assert said in found[0].found and "--threads 1" in found[0].remedy


def test_memory_limits_of_containers(tmp_path: Path) -> None:
    limited = container(tmp_path / "limited", {"memory.max": str(3 << 30)}, "0::/")
    assert [each.what for each in doctor.cgroup(limited, 2) if each.level == "note"] == ["memory"]
    free = container(tmp_path / "free", {"memory.max": "max"}, "0::/")
    assert [each.level for each in doctor.cgroup(free, 2)] == ["ok"]


def test_what_else_runs() -> None:
    assert [each.level for each in doctor.other_work(0.1, 2, NO_STEAL, None)] == ["ok"]
    stolen = NO_STEAL.replace(" 5 0 0 0", " 5 500 0 0")
    traps = list(doctor.other_work(1.9, 2, stolen, "powersave"))
    assert [(each.what, each.level) for each in traps] == [("other work", "trap"), ("virtual machine", "trap"), ("governor", "trap")]
    assert "4.7 %" in traps[1].found and all(each.remedy for each in traps)


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kernels.runtime.disk_cache.folder", lambda: None)
    monkeypatch.setenv("KERNELS_CACHE_DIR", "/read/only")
    (found,) = doctor.cache()
    assert found.level == "trap" and "/read/only" in found.found and "KERNELS_CACHE_DIR" in found.remedy
    monkeypatch.setattr("kernels.runtime.disk_cache.folder", lambda: tmp_path / "build")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "f.bin").write_bytes(bytes(1 << 20))
    (found,) = doctor.cache()
    assert found.level == "ok" and "1 functions for this build; 1 builds" in found.found and "1 MiB" in found.found


def test_threads_that_were_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.runtime.machine.cores", lambda: 1)
    assert [(each.what, each.level) for each in doctor.layer(2)] == [("threads", "trap")]
    assert [each.level for each in doctor.layer(1)] == ["ok"]


def test_vectors_that_were_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {each.level for each in doctor.vectors({})} <= {"ok", "note"}
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: {"avx2": True, "fma": True, "sse2": True})
    monkeypatch.setattr("kernels.runtime.machine.cpu", lambda: ("old", "+sse2,-avx2"))
    (found,) = doctor.vectors({})
    assert found.level == "trap" and "the processor also has avx2, fma" in found.found and "NUMBA_CPU_FEATURES" in found.remedy
    traps = [each for each in doctor.vectors({"NUMBA_DISABLE_JIT": "1", "NUMBA_OPT": "0", "NUMBA_DEBUG": "0"}) if each.what == "compiler"]
    assert [each.remedy for each in traps] == ["unset NUMBA_DISABLE_JIT", "unset NUMBA_OPT"]


def test_peers_and_what_is_missing() -> None:
    here = SimpleNamespace(name="torch", available=lambda: None, version=lambda: "2.13.0")
    gone = SimpleNamespace(name="openvino", available=lambda: "openvino is not installed", version=lambda: None)
    ours = SimpleNamespace(name="direct", available=lambda: None, version=lambda: "1")
    found = list(doctor.peers([ours, here, gone]))
    assert [(each.what, each.level, each.found) for each in found] == [
        ("torch", "ok", "2.13.0"), ("openvino", "note", "openvino is not installed"),
    ]  # fmt: skip
    assert "pip install" in found[1].remedy


@pytest.mark.parametrize(
    ("environ", "gomp", "llvm"),
    [
        ({}, "300,000 rounds, the default", "200 ms, the default"), ({"OMP_WAIT_POLICY": "PASSIVE"}, None, None),
        ({"OMP_WAIT_POLICY": "active"}, "without end", "without end"), ({"GOMP_SPINCOUNT": "0"}, None, "200 ms"),
        ({"GOMP_SPINCOUNT": "7"}, "7 rounds", "200 ms"), ({"KMP_BLOCKTIME": "0"}, "300,000", None),
        ({"KMP_BLOCKTIME": "50"}, "300,000", "50 ms"),
        ({"GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "active"}, None, "without end"), ({"GOMP_SPINCOUNT": ""}, "300,000", "200 ms"),
    ],
)  # fmt: skip
def test_who_spins_and_what_to_do(environ: dict[str, str], gomp: str | None, llvm: str | None) -> None:
    """What is not set is not zero: both runtimes spin by default."""
    for name, said in (("libgomp", gomp), ("libomp", llvm), ("libiomp", llvm)):
        pools = [{"user_api": "openmp", "prefix": name, "filepath": f"/lib/{name}.so"}] * 2
        for loaded in (False, True):
            (found,) = doctor_threads.waiting(environ, pools, loaded)
            assert found.what == f"{name} waits"
            if said is None:
                assert found.level == "ok" and "sleep" in found.found
            else:
                assert found.level == ("trap" if loaded else "note") and said in found.found and "OMP_WAIT_POLICY=passive" in found.remedy
    assert list(doctor_threads.waiting(environ, [{"user_api": "blas", "prefix": "libopenblas", "filepath": "x"}], True)) == []


def test_several_openmp_runtimes() -> None:
    pools = [{"user_api": "openmp", "prefix": name, "filepath": f"/lib/{name}.so"} for name in ("libgomp", "libiomp")]
    assert [each.level for each in doctor_threads.runtimes(pools)] == ["note"]
    assert [each.level for each in doctor_threads.runtimes(pools[:1])] == ["ok"]


def test_the_command_names_all_and_fails_only_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_threads, "pools", list)  # importing every peer takes seconds
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    for what in ("machine", "vectors", "library", "threads", "code cache", "onnxruntime", "BLAS of numpy", "cgroup", "clock"):
        assert what in done.output
    monkeypatch.setattr(doctor, "library", lambda: 1 / 0)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1 and "ZeroDivisionError" in done.output and "The library does not work" in done.output
