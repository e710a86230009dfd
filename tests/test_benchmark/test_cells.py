"""What decides whether a cell runs, goes on or stays; the processes here are made up."""

import json
import signal
import subprocess
from types import SimpleNamespace

import pytest
from test_benchmark.made import GANET, LSTR, OURS, OWN, QDROP, finished, unstarted

from mmsf.benchmark import cell
from mmsf.benchmark.cell import Run
from mmsf.benchmark.run import expected_seconds, run_grid

HALF = [1, 0] * 4


class Processes:
    """Stands in for `subprocess.run`: writes ``text`` into the log and ends with ``code``."""

    def __init__(self, text: str = "", code: int = 0) -> None:
        self.text, self.code, self.started = text, code, []

    def __call__(self, command, *, stdout, **kwargs):
        self.started.append(command)
        stdout.write(self.text.encode())
        stdout.flush()
        return SimpleNamespace(returncode=self.code)


@pytest.fixture
def processes(monkeypatch):
    made = Processes()
    monkeypatch.setattr(cell.subprocess, "run", made)
    return made


def with_other_settings(run: Run) -> Run:
    return Run(run.cell, run.folder, {}, "other settings")


def test_a_finished_run_stays(tmp_path, processes):
    lines = []
    assert run_grid([finished(tmp_path, LSTR, OURS, HALF)], lines.append) == []
    assert processes.started == []
    assert lines == ["1 cells, 1 finished before"]


@pytest.mark.parametrize("name", ["summary.json", "frames.json"])
def test_a_run_without_whole_results_is_not_finished(tmp_path, name):
    run = finished(tmp_path, LSTR, OURS, HALF)
    assert run.finished()
    text = (run.folder / name).read_text()
    (run.folder / name).write_text(text[: len(text) // 2])
    assert not run.finished()


def test_results_of_other_settings_do_not_count_and_go(tmp_path, processes):
    old = finished(tmp_path, LSTR, OURS, HALF)
    (old.folder / "overlays").mkdir()
    new = with_other_settings(old)
    assert not new.finished()
    new.start()
    assert len(processes.started) == 1
    assert {path.name for path in new.folder.iterdir()} == {".lock", "cell.json", "console.log"}


def test_an_unfinished_run_goes_on_with_what_it_has(tmp_path, processes):
    run = finished(tmp_path, LSTR, OURS, HALF)
    state = json.loads((run.folder / "cell.json").read_text())
    (run.folder / "cell.json").write_text(json.dumps({**state, "finished": False}))
    (run.folder / "iter_4.pth").touch()
    run.start()
    assert len(processes.started) == 1
    assert (run.folder / "iter_4.pth").exists()


@pytest.mark.parametrize(
    ("text", "code", "error"),
    [
        ("fine so far\nerror: there is no folder x\n", 2, "there is no folder x"),
        ("Traceback (most recent call last):\n  ...\nValueError: too odd\n\n", 1, "ValueError: too odd"),
        ("iteration 3\n", -signal.SIGKILL, "killed by SIGKILL"),
        ("", 3, "exit status 3"),
        ("error: no data\n=====\nworker 0 failed\n=====\n", 1, "no data"),
        ("all done\n", 0, "it ended without summary.json and frames.json; does its config evaluate?"),
    ],
)
def test_why_a_run_failed_is_one_line_and_is_kept(tmp_path, processes, text, code, error):
    processes.text, processes.code = text, code
    run = unstarted(tmp_path, LSTR, OURS)
    assert run.start() == error
    assert run.state()["error"] == error
    assert not run.finished()


def test_the_error_is_the_last_attempts(tmp_path, processes):
    processes.text, processes.code = "error: first\n", 2
    run = unstarted(tmp_path, LSTR, OURS)
    run.start()
    processes.text, processes.code = "", 5
    assert run.start() == "exit status 5"


def test_a_run_that_fails_does_not_end_the_others(tmp_path, processes):
    processes.text, processes.code = "error: no\n", 2
    runs = [unstarted(tmp_path, LSTR, method) for method in (OURS, QDROP)]
    lines = []
    assert run_grid(runs, lines.append) == runs
    assert len(processes.started) == 2
    assert lines[-1] == "[2/2] lstr w4a4 qdrop seed 0: FAILED: no"


def test_a_run_that_another_grid_finishes_meanwhile_does_not_start_again(tmp_path, processes):
    runs, lines = [unstarted(tmp_path, LSTR, method) for method in (OURS, QDROP)], []

    def say(line):
        lines.append(line)
        if len(lines) == 2:  # the first one runs
            finished(tmp_path, LSTR, QDROP, HALF)

    run_grid(runs, say)
    assert len(processes.started) == 1
    assert lines[-1].startswith("[2/2] lstr w4a4 qdrop seed 0: F1 ")


def test_two_processes_do_not_run_the_same_cell(tmp_path, processes):
    run = unstarted(tmp_path, LSTR, OURS)
    run.folder.mkdir(parents=True)
    holder = subprocess.Popen(["flock", str(run.folder / ".lock"), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdin.write(b"locked\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == b"locked\n"  # it has the lock by now
    assert run.start() == "another process runs it at the moment"
    holder.communicate()
    run.start()
    assert len(processes.started) == 1


def test_what_is_left_is_told_from_runs_of_the_same_kind_first(tmp_path):
    known = {
        finished(tmp_path, LSTR, OURS, HALF, minutes=1): 10.0,
        finished(tmp_path, LSTR, OURS, HALF, seed=1): 20.0,
        finished(tmp_path, LSTR, QDROP, HALF): 60.0,
        finished(tmp_path, GANET, QDROP, HALF): 100.0,
    }
    assert expected_seconds(unstarted(tmp_path, LSTR, OURS, seed=2), known) == 15  # its detector and method
    assert expected_seconds(unstarted(tmp_path, LSTR, OWN), known) == 30  # its detector
    assert expected_seconds(unstarted(tmp_path, GANET, OWN), known) == 100
    assert expected_seconds(unstarted(tmp_path, GANET, OURS), dict.fromkeys(list(known)[:1], 7.0)) == 7  # its method
    assert expected_seconds(unstarted(tmp_path, GANET, OWN), {}) is None


def test_progress_says_how_long_the_rest_takes(tmp_path, processes):
    done = finished(tmp_path, LSTR, OURS, HALF, minutes=2)
    lines = []
    run_grid([done, unstarted(tmp_path, LSTR, QDROP)], lines.append)
    # 40 s of ranges, 80 s of tuning, 7 s of evaluation.
    assert lines[0] == "2 cells, 1 finished before; 1 cells left, about 0:02:07"
