"""Options of `pytest benchmarks`, and the cells that they choose."""

from __future__ import annotations

import pytest

from benchmarks import contenders, workloads
from benchmarks.inputs.synthesiser import synthesise
from benchmarks.runner import schedule
from benchmarks.runner.cell import Bench
from benchmarks.runner.pytest_plugin import NAME, Suite


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("spectroconv")
    group.addoption("--preset", choices=workloads.PRESETS, default="quick", help="which workloads (default: quick)")
    group.addoption("--workload", action="append", default=[], metavar="GLOB", help="workloads by id instead of the preset's; may repeat")
    group.addoption("--contender", action="append", default=[], metavar="GLOB", help="contenders by name; may repeat")
    group.addoption("--threads", type=int, default=None, help="threads (default: every usable core)")


def _suite(config: pytest.Config) -> Suite:
    found = config.pluginmanager.get_plugin(NAME)
    if found is None:
        from numba import config as numba_config

        threads = config.getoption("--threads") or numba_config.NUMBA_NUM_THREADS
        try:
            matrix = schedule.specs(
                workloads.select(config.getoption("--preset"), config.getoption("--workload")),
                contenders.select(config.getoption("--contender")),
                [threads],
            )
        except ValueError as error:
            raise pytest.UsageError(str(error)) from None
        budget = schedule.PRESETS[config.getoption("--preset")].budget
        found = Suite(Bench(synthesise(), budget), matrix)
        config.pluginmanager.register(found, NAME)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "spec" in metafunc.fixturenames:
        cells = _suite(metafunc.config).cells
        metafunc.parametrize("spec", cells, ids=[spec.id for spec in cells])


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> Suite:
    return _suite(request.config)
