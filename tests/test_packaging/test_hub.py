"""Configs, tools and bundled weights are found by name, as in OpenMMLab's packages."""

import re
from pathlib import Path

import mmengine.hub
import mmengine.registry
import pytest
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import Registry

import mmsf
from mmsf.errors import UserError
from mmsf.hub import MIM, bundled_weights
from mmsf.models.checkpoints import read_checkpoint
from mmsf.registry import MODELS

ROOT = Path(__file__).parents[2]
PTQ = "ptq/lstr_tiny_synthetic_w4a4_selective-focus"
FLOAT = "lstr/lstr_tiny_synthetic"


def without_scopes(value):
    """MMEngine marks what it took from another package with its scope."""
    if isinstance(value, dict):
        return {key: without_scopes(part) for key, part in value.items() if key != "_scope_"}
    return [without_scopes(part) for part in value] if isinstance(value, (list, tuple)) else value


def test_the_links_of_the_package_lead_to_the_files_of_the_checkout():
    for name in ("configs", "tools", "model-index.yml"):
        assert (MIM / name).resolve() == ROOT / name


@pytest.mark.smoke
@pytest.mark.parametrize("name", [PTQ, f"{PTQ}.py"])
def test_a_config_is_found_by_its_name(name):
    assert mmsf.get_config(name).to_dict() == Config.fromfile(ROOT / "configs" / f"{PTQ}.py").to_dict()


@pytest.mark.smoke
def test_a_base_of_the_package_is_read_from_any_folder(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(f'_base_ = "mmsf::{PTQ}.py"\nmodel = dict(quantizer=dict(bits="w8a8"))\n')
    read, wanted = Config.fromfile(path), mmsf.get_config(PTQ)
    wanted.model.quantizer.bits = "w8a8"
    assert without_scopes(read.to_dict()) == without_scopes(wanted.to_dict())


@pytest.mark.smoke
def test_mmengine_finds_a_config_and_a_base_that_has_no_weights():
    assert mmengine.hub.get_config(f"mmsf::{PTQ}.py").model.type == "mmsf.QuantWrapper"
    assert "input_size" in mmengine.hub.get_config("mmsf::_base_/datasets/synthetic.py")


def test_pretrained_gives_weights_that_load():
    config = mmsf.get_config(FLOAT, pretrained=True)
    detector = MODELS.build(config.model)
    detector.load_state_dict(read_checkpoint(config.model_path).state)


def test_an_unknown_name_is_told_with_its_neighbours():
    with pytest.raises(UserError, match=f"no config '{PTQ[:-1]}'.*{PTQ}"):
        mmsf.get_config(PTQ[:-1])


def test_a_config_without_bundled_weights_says_so():
    with pytest.raises(UserError, match=f"no weights are bundled for '{PTQ}'"):
        mmsf.get_config(PTQ, pretrained=True)


def metafile_models() -> list[dict]:
    index = load(ROOT / "model-index.yml")
    assert sorted(index["Import"]) == sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/metafile.yml")
    )
    return [model for name in index["Import"] for model in load(ROOT / name)["Models"]]


def test_every_bundled_file_of_weights_has_its_entry_and_every_path_exists():
    models = metafile_models()
    for model in models:
        assert (ROOT / model["Config"]).is_file()
        assert Path(model["Config"]).stem == Path(model["Weights"]).stem == model["Name"]
    assert {ROOT / model["Weights"] for model in models} == set((ROOT / "mmsf" / "zoo").glob("*.pth"))
    assert set(bundled_weights().values()) == {ROOT / model["Weights"] for model in models}


def test_the_metafiles_have_the_figures_of_the_docs():
    rows = re.findall(
        r"^\| (\w+) \| float \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", (ROOT / "docs" / "zoo.md").read_text(), re.M
    )
    documented = {name: dict(zip(("CULane F1", "precision", "recall"), map(float, figures))) for name, *figures in rows}
    told = {model["In Collection"]: model["Results"][0]["Metrics"] for model in metafile_models()}
    assert told == documented


def test_the_metafiles_have_the_sizes_of_the_detectors():
    for model in metafile_models():
        detector = MODELS.build(Config.fromfile(ROOT / model["Config"]).model)
        assert sum(parameter.numel() for parameter in detector.parameters()) == model["Metadata"]["Parameters"]


def test_no_registry_of_the_package_sends_mmengine_to_look_for_another():
    """It would ask for `mmsf.utils`, and warn that mmsf is not installed."""
    roots = [value for value in vars(mmengine.registry).values() if isinstance(value, Registry)]
    nodes = [child for root in roots for child in root.children.values() if child.scope == "mmsf"]
    assert len(nodes) > 15
    assert all(node._locations for node in nodes)
