"""What `QuantWrapper` promises to MMEngine."""

import pytest
import torch
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG

from mmsf.engine import QuantWrapper
from mmsf.errors import UserError
from mmsf.registry import MODELS


@pytest.fixture(scope="module")
def wrapper() -> QuantWrapper:
    cfg = Config.fromfile(CONFIG)
    return MODELS.build(dict(cfg.model, float_checkpoint=str(CHECKPOINT)))


def test_the_wrapper_keeps_the_float_detector_to_itself(wrapper):
    original = {id(p) for p in wrapper.float_detector.parameters()}
    assert not original & {id(p) for p in wrapper.parameters()}
    assert not any(name.startswith("float_detector") for name in wrapper.state_dict())
    assert not any(p.requires_grad for p in wrapper.float_detector.parameters())


def test_the_wrapper_never_leaves_eval_mode(wrapper):
    wrapper.train()
    assert not any(module.training for module in wrapper.modules())


def test_images_of_another_size_are_not_predicted_on(wrapper):
    with pytest.raises(UserError, match="images of 160 x 400 pixels, but the model was quantized for 144 x 400"):
        wrapper(torch.rand(1, 3, 160, 400), [], mode="predict")


def test_predictions_before_any_range_equal_the_float_detectors(wrapper):
    images = torch.rand(1, 3, 144, 400)
    with torch.no_grad(), wrapper.quantized.observing():
        observed = wrapper(images, mode="tensor")
    for name, tensor in wrapper.float_raw(images).items():
        torch.testing.assert_close(observed[name], tensor, rtol=1e-4, atol=1e-4)
