"""The benchmark of speed: its table, its comparison, and a part of a real run."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mmsf.benchmark.speed
from mmsf.benchmark.grid import Detector
from mmsf.benchmark.speed import PARTS, benchmark_speed, compare_speed, read_speed
from mmsf.benchmark.speed_metric import made_up_frames, measure_metric
from mmsf.benchmark.speed_setup import FRAMES, Setting, interleaved, ratio, started, write_frames
from mmsf.benchmark.speed_table import regressions, speed_table
from mmsf.engine.config import read_config
from mmsf.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
OWN = dict(
    float_ms=100.0,
    steps=dict(folded=0.9, weights=1.0, activations=1.2, loss=1.25, iteration=1.4),
    curves_share=0.04,
    reranking_share=0.002,
    decoded_frames_per_second=4000.0,
)
TABLE = dict(
    threads=1,
    rounds=5,
    clock="processor time",
    device="a processor",
    batch=8,
    detectors={
        "lstr": dict(
            iteration={"best": OWN},
            memory=dict(float_mb=100.0, tuning_mb={"best": 140.0}, ratio={"best": 1.4}),
            rival=dict(seconds=6000.0, speed_up={"best": 30.0}),
        )
    },
)


def slower(factor: float) -> dict:
    table = copy.deepcopy(TABLE)
    table["detectors"]["lstr"]["iteration"]["best"]["steps"]["iteration"] *= factor
    return table


def test_a_ratio_is_told_when_it_is_more_than_a_fifth_worse():
    assert regressions(slower(1.19), TABLE) == []
    assert regressions(slower(1.21), TABLE) == ["lstr, best: iteration 1.69, was 1.40"]
    assert regressions(TABLE, slower(1.21)) == []


def test_a_missing_config_is_told_before_a_frame_is_drawn(command, monkeypatch, tmp_path):
    monkeypatch.setattr(mmsf.benchmark.speed, "write_frames", lambda setting: pytest.fail("frames were drawn"))
    status, printed, errors = command("benchmark", "speed", "configs/lstr/nope.py", "--work-dir", tmp_path / "out")
    assert (status, printed, errors) == (2, "", "error: config configs/lstr/nope.py does not exist\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["speed", "deploy"])
@pytest.mark.parametrize("rounds", [-1, 0])
def test_no_rounds_are_refused_at_once(what, rounds, command):
    config = ROOT / "configs" / "benchmark" / "table1_tiny.py"
    status, _, errors = command("benchmark", what, config, "--rounds", rounds)
    assert (status, errors) == (2, "error: --threads and --rounds must be at least 1\n")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (("speed", "--detectors", "lstr"), "detectors"),
        (("speed", "--cfg-options", "a=1"), "cfg-options"),
        (("deploy", "configs/benchmark/table1_tiny.py", "--calibration-root", "x"), "calibration-root"),
        (("deploy", "configs/benchmark/table1_tiny.py", "--seeds", "0"), "seeds"),
        (("deploy", "configs/benchmark/table1_tiny.py", "--threads", "4"), "threads"),
        (("grid", "configs/benchmark/table1_tiny.py", "--against", "speed.json"), "against"),
        (("tables", "configs/benchmark/table1_tiny.py", "--rounds", "2"), "rounds"),
    ],
)
def test_an_option_that_is_not_read_is_refused(given, name, command):
    status, _, errors = command("benchmark", *given)
    assert (status, errors) == (2, f"error: {given[0]} does not read --{name}\n")


def test_only_what_both_tables_have_is_compared():
    without = copy.deepcopy(TABLE)
    del without["detectors"]["lstr"]["memory"]
    assert regressions(without, TABLE) == regressions(TABLE, without) == []


def test_a_comparison_says_so_and_answers(tmp_path):
    stored, said = tmp_path / "speed.json", []
    stored.write_text(json.dumps(TABLE))
    assert compare_speed(slower(2), read_speed(stored), said.append)
    assert not compare_speed(TABLE, read_speed(stored), said.append)
    assert said[0] == "slower than the stored table: lstr, best: iteration 2.80, was 1.40"
    assert said[1:] == ["no ratio is more than 20 % worse than in the stored table"]
    with pytest.raises(UserError, match="cannot be read"):
        read_speed(tmp_path / "other.json")
    stored.write_text('{"cells": []}')
    with pytest.raises(UserError, match="is no table of"):
        read_speed(stored)


def test_the_table_shows_every_part():
    text = speed_table(TABLE)
    assert "| lstr | 100 | 0.90 | 1.00 | 1.20 | 1.25 | 1.40 | 4.0 | 0.2 | 4000 |" in text
    assert "median over detectors: 1.40" in text
    assert "| lstr | 100 | 140 (1.40) |" in text
    assert "| lstr | 100 | 30.0 |" in text


def test_rounds_are_interleaved_and_the_first_warms_up():
    ran, ticks = [], iter(range(100))
    seconds = interleaved({name: lambda name=name: ran.append(name) for name in "ab"}, 2, lambda: next(ticks))
    assert ran == list("ababab")
    assert [len(values) for values in seconds.values()] == [2, 2]


def test_a_ratio_is_the_median_of_ratios_not_the_ratio_of_medians():
    assert ratio([1.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_made_up_frames_are_the_same_each_time_and_partly_found():
    one, other = (made_up_frames(40) for _ in range(2))
    for some, again in zip(one, other):
        assert all(np.array_equal(a, b) for x, y in zip(some, again) for a, b in zip(x, y, strict=True))
    found = measure_metric(40)
    assert found["frames"] == 40
    assert 0 < found["fn"] < found["tp"]


def test_the_peak_counts_what_was_built_and_what_a_step_takes_for_a_while():
    # In a process of its own: what others have freed in this one would be taken again, and not count.
    program = """
import torch
from mmsf.benchmark.speed_memory import peak_of

def build():
    kept = torch.ones(16 * 2**20 // 4)
    return lambda: float(torch.ones(64 * 2**20 // 4).sum() + kept[0])

print(peak_of(build))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(80, abs=8)


def test_the_rival_needs_an_iteration(tmp_path):
    with pytest.raises(UserError, match="iteration"):
        benchmark_speed([], tmp_path, ROOT, 1, 1, ["rival"], print)


@pytest.mark.slow
def test_every_part_is_measured(tmp_path):
    name = "lstr_tiny_synthetic"
    detector = Detector("lstr", str(ROOT / f"configs/lstr/{name}.py"), str(ROOT / f"mmsf/zoo/{name}.pth"))
    found = benchmark_speed([detector], tmp_path, ROOT / "configs/_base_/ptq", 1, 1, PARTS[:3], print)
    assert json.loads((tmp_path / "speed.json").read_text()) == found
    assert (tmp_path / "speed.md").read_text() == speed_table(found)
    own = found["detectors"]["lstr"]
    for preset in ("selective-focus", "best"):
        assert own["iteration"][preset]["steps"]["iteration"] > own["iteration"][preset]["steps"]["folded"]
        assert 0 < own["iteration"][preset]["curves_share"] < 1
        assert 0 <= own["iteration"][preset]["reranking_share"] < 1
        assert own["memory"]["ratio"][preset] > 0.5
        assert own["rival"]["speed_up"][preset] > 1


def test_full_size_detectors_are_measured_without_their_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    setting = Setting(tmp_path, ROOT / "configs/_base_/ptq", rounds=1, threads=1)
    write_frames(setting)
    config = ROOT / "configs/lstr/lstr_r18s-1x_culane.py"
    _, loop = started(Detector("lstr", str(config)), "best", setting)
    assert len(loop.frames) == FRAMES
    assert loop.images([0]).shape == (1, 3, *read_config(config).input_size)
