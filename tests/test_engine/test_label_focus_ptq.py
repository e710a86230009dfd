"""Tuning with masks from labels, from end to end."""

import json

import torch
from test_engine.runs import run_tool

from mmsf.engine.quantized_file import read_quantized

OPTIONS = ["model.label_focus=True", "train_dataloader.dataset.labelled=True"]


def test_labels_of_the_calibration_frames_change_the_tuned_model_and_are_told(finished, roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=OPTIONS)
    assert result.returncode == 0, result.stderr
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (finished, tmp_path)]
    assert [summary["calibration_labels"] for summary in summaries] == [False, True]
    told = ["tuned with labels" in (folder / "report.html").read_text() for folder in (finished, tmp_path)]
    assert told == [False, True]
    # Ranges see no labels, tuning does.
    ranges = [torch.load(folder / "ranges.pth", weights_only=False)["state_dict"] for folder in (finished, tmp_path)]
    assert all(torch.equal(value, ranges[1][name]) for name, value in ranges[0].items())
    models = [read_quantized(folder / "quantized.pth").state_dict() for folder in (finished, tmp_path)]
    assert any(not torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_masks_without_labels_are_refused_in_one_line(roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=["model.label_focus=True"])
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: model.label_focus needs labels")


def test_masks_from_labels_do_not_go_with_versions_whose_labels_nobody_knows(roads, tmp_path):
    result = run_tool(roads, tmp_path, more_options=[*OPTIONS, "train_cfg.tuning_frames=64"])
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: model.label_focus does not go with")
