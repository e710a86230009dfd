import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsf.errors import UserError
from mmsf.quantization import Quantizer, QuantizerSettings

settings = st.builds(
    QuantizerSettings,
    bits=st.integers(2, 8),
    symmetric=st.booleans(),
    per_channel=st.booleans(),
    channel_axis=st.just(0),
    learn_scale=st.booleans(),
)


def quantizer_for(x: torch.Tensor, chosen: QuantizerSettings) -> Quantizer:
    quantizer = Quantizer(chosen, len(x))
    low, high = x.aminmax(dim=1) if chosen.per_channel else x.aminmax()
    quantizer.set_range(low, high)
    return quantizer


def sample(seed: int, scale: float, shift: float) -> torch.Tensor:
    return torch.randn(3, 40, generator=torch.Generator().manual_seed(seed)) * scale + shift


@given(settings, st.integers(0, 9), st.floats(1e-4, 1e4), st.floats(-3, 3))
def test_quantizing_twice_is_quantizing_once(chosen, seed, scale, shift):
    x = sample(seed, scale, shift)
    quantizer = quantizer_for(x, chosen)
    once = quantizer(x)
    torch.testing.assert_close(quantizer(once), once, rtol=0, atol=0)


@given(settings, st.integers(0, 9), st.floats(1e-4, 1e4), st.floats(-3, 3))
def test_values_inside_the_range_move_by_half_a_step_at_most(chosen, seed, scale, shift):
    x = sample(seed, scale, shift)
    quantizer = quantizer_for(x, chosen)
    step = quantizer.scale.detach().reshape(-1, 1)
    # The zero point is rounded, and a symmetric grid has one step less above zero: the very ends may be cut by that much.
    ends = 1.0 if chosen.symmetric or x.min() < 0 < x.max() else 0.5
    assert ((quantizer(x) - x).abs() <= step * (ends + 1e-3)).all()


@given(settings)
def test_zero_stays_zero(chosen):
    x = sample(0, 1.0, 5.0)
    assert quantizer_for(x, chosen)(torch.zeros(3, 4)).abs().max() == 0


@given(settings, st.integers(0, 9))
def test_no_more_values_than_the_bits_allow(chosen, seed):
    x = sample(seed, 1.0, 0.0)
    rows = quantizer_for(x, chosen)(x).detach()
    groups = rows if chosen.per_channel else rows.reshape(1, -1)
    assert all(len(row.unique()) <= 2**chosen.bits for row in groups)


@pytest.mark.parametrize("bits", [1, 9, 0, -4, 3.0, True, "4"])
def test_bits_outside_two_to_eight_are_refused(bits):
    with pytest.raises(UserError, match="2 to 8"):
        QuantizerSettings(bits, symmetric=True)


def test_the_gradient_passes_inside_the_grid_and_stops_outside():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False))
    quantizer.set_range(torch.tensor(0.0), torch.tensor(1.5))
    x = torch.tensor([-1.0, 0.2, 1.4, 2.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]


def test_the_scale_gradient_is_that_of_lsq():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=True, learn_scale=True))
    with torch.no_grad():
        quantizer.scale.fill_(0.5)
    x = torch.tensor([0.7, -0.6, 9.0, -9.0])
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (quantizer(x) * weights).sum().backward()
    # Esser et al. 2019, Eq. 3: round(x/s) - x/s inside, the limits outside; times 1 / sqrt(N * Qp).
    slopes = torch.tensor([1 - 1.4, -1 + 1.2, 7.0, -8.0])
    torch.testing.assert_close(quantizer.scale.grad, (slopes * weights).sum() / (4 * 7) ** 0.5)


def test_evaluation_and_tuning_quantize_alike():
    quantizer = Quantizer(QuantizerSettings(3, symmetric=False))
    quantizer.set_range(torch.tensor(-1.0), torch.tensor(2.0))
    x = sample(3, 2.0, 0.0)
    assert torch.equal(quantizer(x), quantizer(x.clone().requires_grad_(True)).detach())


def test_a_constant_zero_tensor_has_a_range():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False))
    quantizer.set_range(torch.tensor(0.0), torch.tensor(0.0))
    assert quantizer(torch.zeros(5)).abs().max() == 0
