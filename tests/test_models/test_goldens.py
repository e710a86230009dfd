"""Detectors equal their originals: numbers that the original projects' code computed, stored in golden files.

``pytest tests/test_models/test_goldens.py --goldens DIR`` checks another folder of the same format.
"""

from pathlib import Path

import goldens_rule
import numpy as np
import pytest
import torch
from originals import ROOT, Original, assert_lanes_equal, config_of, original_of
from torch import Tensor

from mmsf.models.checkpoints import convert
from mmsf.registry import MODELS, TASK_UTILS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder = metafunc.config.getoption("--goldens") or ROOT / "tests" / "data" / "goldens"
    files = sorted(folder.glob("*.npz"))
    if "golden_file" in metafunc.fixturenames:
        assert files, f"{folder} holds no golden file"
        # The CLR networks are other projects' classes: test_adapters/test_clr_adapter.py and test_engine/test_clrnet_ptq.py.
        left = ("clrnet_", "clrernet_")
        chosen = [
            p for p in files if "_unit_" not in p.stem and not p.stem.endswith("_real") and not p.stem.startswith(left)
        ]
        metafunc.parametrize("golden_file", chosen, ids=[path.stem for path in chosen])


def test_a_detector_equals_its_original(golden_file: Path) -> None:
    original = original_of(golden_file)
    if "_post_" in golden_file.stem:
        check_decoding(golden_file, original)
    else:
        check_network(golden_file, original)


def check_decoding(path: Path, original: Original) -> None:
    adapter = TASK_UTILS.build(config_of(original).model.adapter)
    meta, cases = goldens_rule.post_cases(path)
    for case in cases:
        inputs = {name: torch.from_numpy(np.asarray(value)) for name, value in case["inputs"].items()}
        raw = {original.raw_name(name): original.raw_value(name, value) for name, value in inputs.items()}
        raw |= original.added(raw)
        lanes = adapter.decode(adapter.split(raw), [{"ori_shape": original.ori_shape}])[0]
        assert_lanes_equal(lanes, original.lanes(case["lanes"]), meta["lane_tol_px"])


def check_network(path: Path, original: Original) -> None:
    golden = goldens_rule.Golden(path)
    model = MODELS.build(config_of(original).model).eval()
    weights = {key: torch.from_numpy(value) for key, value in golden.state_dict().items()}
    model.load_state_dict(convert(weights, original.family), strict=True)
    features: dict[str, Tensor] = {}
    for name in golden.tensors():
        if name.startswith("feat."):
            module = model.get_submodule(original.module(name[5:]))
            module.register_forward_hook(lambda _, inputs, output, name=name: features.__setitem__(name, output))
    picture = torch.from_numpy(golden.image()).permute(2, 0, 1)
    inputs = model.data_preprocessor({"inputs": [picture]})["inputs"]
    with torch.no_grad():
        raw = original.raw_outputs(model, inputs)
    for name in golden.tensors():
        if name.startswith("feat."):
            value = original.layout(name[5:], features[name])
        elif name.startswith("fixed."):
            value = original.constant(model, name[6:])
        else:
            value = inputs if name == "input" else original.layout(name[4:], raw[original.raw_name(name[4:])])
        report = golden.compare(name, value.numpy())
        assert report["ok"], f"{path.name}: {name} differs by {report['max_err']}"
    lanes = model.adapter.decode(model.adapter.split(raw), [{"ori_shape": original.ori_shape}])[0]
    assert_lanes_equal(lanes, original.lanes(golden.lanes()), golden.meta["lane_tol_px"])
