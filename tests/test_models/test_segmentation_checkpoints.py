"""Checkpoints of pytorch-auto-drive's SCNN and RESA are recognised, renamed and loaded strictly, or refused in one line."""

import subprocess
import sys
from pathlib import Path

import goldens_rule
import pytest
import torch
from originals import ROOT
from small_segmentation import FAMILIES, small
from torch import Tensor

from mmsf.errors import UserError
from mmsf.models.checkpoints import FAMILIES as KNOWN
from mmsf.models.checkpoints import convert, load_float_checkpoint, recognise
from mmsf.registry import MODELS


def original(family: str, size: str = "small") -> dict[str, Tensor]:
    path = ROOT / "tests" / "data" / "goldens" / f"{family}_{size}_seed0.npz"
    return {key: torch.from_numpy(value) for key, value in goldens_rule.Golden(path).state_dict().items()}


def as_older_files_have_it(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.replace("lane_classifier", "aux_head"): value for key, value in state.items()}


def write(path: Path, state: dict[str, Tensor]) -> Path:
    torch.save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "lr_scheduler": {"last_epoch": 1}}, path)
    return path


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", ["small", "mid"])
def test_sizes_are_read_off_the_weights_and_the_file_loads_strictly(family: str, size: str, tmp_path: Path) -> None:
    state = original(family, size)
    assert recognise(state) == family
    config = KNOWN[family].model_config(convert(state, family))
    assert config["input_size"] == (288, 800)
    notes = load_float_checkpoint(MODELS.build(config), write(tmp_path / "original.pt", state))
    assert notes == ["took 'model' and left lr_scheduler, optimizer"]


@pytest.mark.parametrize("family", FAMILIES)
def test_older_files_call_the_existence_head_aux_head(family: str) -> None:
    state = original(family)
    assert recognise(as_older_files_have_it(state)) == family
    new, old = convert(state, family), convert(as_older_files_have_it(state), family)
    assert list(new) == list(old)
    assert all(torch.equal(new[key], old[key]) for key in new)


@pytest.mark.parametrize("family", FAMILIES)
def test_converting_twice_changes_nothing_more(family: str) -> None:
    once = convert(original(family), family)
    assert list(convert(once, family)) == list(once)
    assert recognise(once) == family


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unknown_input_size_still_gives_a_model_that_loads(family: str) -> None:
    state = small(family, input_size=(72, 120)).state_dict()
    config = KNOWN[family].model_config(state)
    MODELS.build(config).load_state_dict(state, strict=True)


@pytest.mark.parametrize(("family", "other"), [("scnn", "resa"), ("resa", "scnn")])
def test_a_file_of_the_other_family_is_refused_by_its_name(family: str, other: str, tmp_path: Path) -> None:
    path = write(tmp_path / "other.pt", original(other))
    with pytest.raises(UserError, match=f"looks like {other.upper()}, but the config is of {family.upper()}"):
        load_float_checkpoint(small(family), path)


def test_a_file_of_another_detector_is_refused_by_its_name(tmp_path: Path) -> None:
    golden = goldens_rule.Golden(ROOT / "tests" / "data" / "goldens" / "lstr_orig_seed0.npz")
    path = write(tmp_path / "lstr.pt", {key: torch.from_numpy(value) for key, value in golden.state_dict().items()})
    with pytest.raises(UserError, match="looks like LSTR, but the config is of SCNN"):
        load_float_checkpoint(small("scnn"), path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_deeper_backbone_is_refused_with_the_first_difference(family: str, tmp_path: Path) -> None:
    model = MODELS.build(KNOWN[family].model_config(convert(original(family), family)))
    with pytest.raises(UserError, match=r"weights have no place, such as backbone\.layer1\.2\.conv1\.weight"):
        load_float_checkpoint(model, write(tmp_path / "mid.pt", original(family, "mid")))


def test_the_tool_converts_an_older_file(tmp_path: Path) -> None:
    path = write(tmp_path / "resa.pt", as_older_files_have_it(original("resa")))
    command = [
        sys.executable,
        "tools/convert_checkpoint.py",
        str(path),
        "--family",
        "resa",
        "--out",
        str(tmp_path / "out.pth"),
    ]
    result = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "RESA: 277 weights renamed and loaded strictly" in result.stdout
    written = torch.load(tmp_path / "out.pth", weights_only=True)["state_dict"]
    converted = convert(original("resa"), "resa")
    assert set(written) == set(converted)
    assert all(torch.equal(written[key], converted[key]) for key in converted)
