import pytest
from mmengine.config import Config
from test_engine.runs import CHECKPOINT, CONFIG

from mmsf.engine import QuantWrapper
from mmsf.errors import UserError
from mmsf.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS


@pytest.fixture(scope="module")
def wrapper() -> QuantWrapper:
    cfg = Config.fromfile(CONFIG)
    return MODELS.build(dict(cfg.model, float_checkpoint=str(CHECKPOINT)))


def groups(wrapper: QuantWrapper, **paramwise) -> dict[str, float]:
    config = dict(
        type="RelativeRateConstructor",
        optim_wrapper_cfg=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4)),
        paramwise_cfg=paramwise,
    )
    optimizer = OPTIM_WRAPPER_CONSTRUCTORS.build(config)(wrapper).optimizer
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


def test_unknown_settings_are_refused(wrapper):
    with pytest.raises(UserError, match="weight_stepz"):
        groups(wrapper, weight_rate=1.0, weight_stepz=1.0)
