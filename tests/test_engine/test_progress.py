"""What a long row of iterations says of itself."""

from types import SimpleNamespace

import pytest

import mmsf.engine.progress as module
from mmsf.engine.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(module.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def lines(monkeypatch):
    said = []
    monkeypatch.setattr(module.MMLogger, "get_current_instance", lambda: SimpleNamespace(info=said.append))
    return said


def test_the_time_left_goes_by_work_and_not_by_the_number_of_iterations(clock, lines):
    progress = Progress("tuning", 0, 10 * 3.0 + 10 * 1.0)
    for _ in range(10):  # three seconds each; those that follow will take one
        clock.now += 3
        progress.due(3.0)
    progress.log("first unit")
    assert lines == ["first unit; tuning 75%, eta 0:00:10"]


def test_work_of_an_earlier_run_counts_as_done_but_not_as_time(clock, lines):
    progress = Progress("tuning", 30.0, 40.0)
    clock.now = 4
    progress.due(2.0)
    progress.log("resumed")
    assert lines == ["resumed; tuning 80%, eta 0:00:16"]


def test_a_line_is_due_after_some_seconds_alone(clock, lines):
    progress = Progress("tuning", 0, 10, every=10.0)
    clock.now = 9
    assert not progress.due(1.0)
    clock.now = 10
    assert progress.due(1.0)
    progress.log("line")
    assert not progress.due(1.0)
