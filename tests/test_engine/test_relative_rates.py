import pytest
import torch
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG

from mmsf.engine import QuantWrapper
from mmsf.engine.relative_rates import settle_shares
from mmsf.errors import UserError
from mmsf.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


@pytest.fixture(scope="module")
def wrapper() -> QuantWrapper:
    cfg = Config.fromfile(CONFIG)
    return MODELS.build(dict(cfg.model, float_checkpoint=str(CHECKPOINT)))


def optimizer_of(wrapper: QuantWrapper, **paramwise) -> torch.optim.Optimizer:
    config = dict(
        type="RelativeRateConstructor",
        optim_wrapper_cfg=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4)),
        paramwise_cfg=paramwise,
    )
    return OPTIM_WRAPPER_CONSTRUCTORS.build(config)(wrapper).optimizer


def groups(wrapper: QuantWrapper, **paramwise) -> dict[str, float]:
    optimizer = optimizer_of(wrapper, **paramwise)
    rates = {group["params"][0]: group["lr"] for group in optimizer.param_groups}
    return {name: rates[parameter] for name, parameter in wrapper.named_parameters() if parameter in rates}


def test_quantized_weights_move_by_a_share_of_their_size_and_the_rest_at_the_plain_rate(wrapper):
    rates = groups(wrapper, weight_rate=0.02)
    assert set(rates) == {name for name, p in wrapper.named_parameters() if p.requires_grad}
    name, _, weight = next(iter(wrapper.quantized.quantized_weights()))
    size = weight.detach().flatten(1).abs().amax(1).mean().item()
    assert rates[f"quantized.network.{name}.layer.weight"] == pytest.approx(0.02 * size)
    assert rates[f"quantized.network.{name}.layer.bias"] == 3e-4
    assert rates[f"quantized.network.{name}.input_quantizer.scale"] == 3e-4


def test_activation_scales_move_by_a_share_of_what_range_estimation_gives_them(wrapper):
    optimizer = optimizer_of(wrapper, weight_rate=0.02, scale_rate=0.01)
    scales = [quantizer.scale for _, quantizer in wrapper.quantized.activation_quantizers()]
    with torch.no_grad():
        for number, scale in enumerate(scales):
            scale.fill_(0.5 + number)
    for _ in range(2):  # settling again changes nothing
        settle_shares(optimizer)
        rates = {group["params"][0]: group["lr"] for group in optimizer.param_groups}
        assert [rates[scale] for scale in scales] == pytest.approx([0.01 * (0.5 + n) for n in range(len(scales))])


def test_unknown_settings_are_refused(wrapper):
    with pytest.raises(UserError, match="weight_stepz"):
        groups(wrapper, weight_rate=1.0, weight_stepz=1.0)


def test_a_learned_weight_scale_and_a_learned_offset_move_by_the_same_share_of_their_size():
    cfg = Config.fromfile(CONFIG)
    quantizer = dict(cfg.model.quantizer, learn_weight_scale=True, learn_offset=True)
    wrapper = MODELS.build(dict(cfg.model, quantizer=quantizer, float_checkpoint=str(CHECKPOINT)))
    rates = groups(wrapper, weight_rate=0.02)
    name = next(iter(wrapper.quantized.quantized_weights()))[0]
    layer = f"quantized.network.{name}"
    # Weights that fill a signed 4-bit grid span 7 steps on either side; an affine 4-bit grid has 15.
    assert rates[f"{layer}.weight_quantizer.scale"] == pytest.approx(rates[f"{layer}.layer.weight"] / 7)
    assert rates[f"{layer}.input_quantizer.zero_point"] == pytest.approx(0.02 * 15)
    assert rates[f"{layer}.input_quantizer.scale"] == 3e-4
