"""Options of the test run, and command lines in its own process."""

import logging
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from mmengine.registry import DefaultScope

from mmsf.cli import run
from mmsf.safe_globals import ONLY_WEIGHTS

TOOLS = Path(__file__).resolve().parents[1] / "tools"

# Machines are shared: how long an example takes says nothing. The examples are the same in every run.
settings.register_profile("mmsf", deadline=None, derandomize=True)
settings.load_profile("mmsf")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mmsf")
    group.addoption("--goldens", type=Path, help="folder of golden files to check in place of tests/data/goldens")
    group.addoption("--real-data", type=Path, help="folder of real frames; adds the tests that need them")
    group.addoption("--weights", type=Path, help="folder of the original weights that the tests on real frames load")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The tests on real frames exist only where the frames and weights are given."""
    given = config.getoption("--real-data") and config.getoption("--weights")
    return True if collection_path.name == "test_real_frames.py" and not given else None


@pytest.fixture(autouse=True)
def _own_scope() -> Iterator[None]:
    """Names of types are looked up as in a new process: a Runner leaves its config's scope behind."""
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a tool as the command line does; give its exit status and what the process printed and complained of."""

    def call(tool: str, *arguments: object) -> tuple[int, str, str]:
        # What the command sets for its process is taken back after the test.
        monkeypatch.setenv(ONLY_WEIGHTS, "0")
        monkeypatch.setattr(logging, "raiseExceptions", True)
        main = runpy.run_path(str(TOOLS / f"{tool}.py"))["main"]
        monkeypatch.setattr(sys, "argv", [tool, *map(str, arguments)])
        status = 0
        try:
            run(main)
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return call
