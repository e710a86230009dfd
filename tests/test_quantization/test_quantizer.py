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


def learned_offset(scale: float, zero_point: float, bits: int = 4) -> Quantizer:
    quantizer = Quantizer(QuantizerSettings(bits, symmetric=False, learn_scale=True, learn_offset=True))
    with torch.no_grad():
        quantizer.scale.fill_(scale)
        quantizer.zero_point.fill_(zero_point)
    return quantizer


@given(st.integers(0, 9), st.integers(2, 8), st.floats(0.5, 2.5))
def test_the_gradients_of_learned_scale_and_offset_are_those_of_lsq_plus(seed, bits, spread):
    steps = 2**bits - 1
    quantizer = learned_offset(4.0 / steps, steps * 0.4 + 0.2, bits)
    x = sample(seed, spread, 0.5)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 100))
    (quantizer(x) * weights).sum().backward()
    # Written out with autograd: a straight-through rounding, a clamp, and LSQ's factor.
    scale, z = (torch.tensor(p.item(), dtype=torch.float64, requires_grad=True) for p in quantizer.parameters())
    u = x.double() / scale
    place = u + (u.round() - u).detach() + z + (z.round() - z).detach()
    y = (place.clamp(0, steps) - (z + (z.round() - z).detach())) * scale
    (y * weights.double()).sum().backward()
    factor = (x.numel() * steps) ** -0.5
    torch.testing.assert_close(quantizer.scale.grad.double(), scale.grad * factor, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(quantizer.zero_point.grad.double(), z.grad * factor, rtol=1e-3, atol=1e-4)


def test_the_offsets_gradient_is_what_a_step_of_the_zero_point_does():
    x = torch.tensor([-2.0, -1.5, 0.1, 0.3, 2.2, 2.4])  # two below the grid, two well inside, two above
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    values = []
    for zero_point in (6.0, 7.0):
        quantizer = learned_offset(0.1, zero_point)
        values.append((quantizer(x) * weights).sum())
    values[0].backward()
    quantizer = learned_offset(0.1, 6.0)
    (quantizer(x) * weights).sum().backward()
    difference = (values[1] - values[0]).detach()
    torch.testing.assert_close(quantizer.zero_point.grad * (6 * 15) ** 0.5, difference)


def test_a_gradient_that_would_push_the_offset_out_of_the_grid_is_dropped_and_one_that_brings_it_back_is_not():
    below, above = torch.full((4,), -5.0), torch.full((4,), 5.0)
    for zero_point, x, sign, dropped in (
        (0.0, above, -1, True),  # larger outputs are wanted; a smaller zero point would reach higher, but there is none
        (0.0, above, 1, False),
        (-0.3, above, 1, False),
        (15.0, below, 1, True),
        (15.4, below, -1, False),
    ):
        quantizer = learned_offset(0.1, zero_point)
        (sign * quantizer(x)).sum().backward()
        assert (quantizer.zero_point.grad == 0) == dropped, (zero_point, sign)


@given(st.floats(-3, 18), st.integers(0, 9))
def test_a_settled_quantizer_acts_as_before_and_its_zero_point_is_an_integer_of_the_grid(zero_point, seed):
    quantizer = learned_offset(0.2, zero_point)
    x = sample(seed, 1.0, 0.0)
    before = quantizer(x).detach()
    quantizer.settle()
    assert torch.equal(quantizer(x).detach(), before)
    assert quantizer.zero_point.item() in range(16)


def test_a_learned_scale_may_be_tiny():
    quantizer = Quantizer(QuantizerSettings(8, symmetric=True, learn_scale=True))
    x = sample(0, 1e-9, 0.0)
    quantizer.set_range(*x.aminmax())
    assert (quantizer(x) - x).abs().max() <= 1.01 * quantizer.scale


@pytest.mark.parametrize("rate", [2e-4, 4e-4])
def test_a_learned_scale_that_a_step_has_put_below_zero_comes_back(rate):
    torch.manual_seed(0)
    x, weight = torch.randn(8, 30, 60).mul(0.01).relu(), torch.randn(60, 16)
    quantizer = Quantizer(QuantizerSettings(8, symmetric=False, learn_scale=True))
    quantizer.set_range(x.min(), x.max())
    assert quantizer.scale < rate
    optimizer, below = torch.optim.Adam([quantizer.scale], lr=rate), False
    for _ in range(150):
        optimizer.zero_grad()
        ((quantizer(x) - x) @ weight).square().sum(-1).mean().backward()
        optimizer.step()
        below |= quantizer.scale.item() < 0
    assert below
    quantizer.settle()
    assert ((quantizer(x) - x) @ weight).square().mean() < 0.1 * (x @ weight).square().mean()


def test_parameters_have_their_shape_and_the_files_keys_whether_learned_or_not():
    plain, learned = Quantizer(QuantizerSettings(4, symmetric=False)), learned_offset(1.0, 0.0)
    assert {n: v.shape for n, v in plain.state_dict().items()} == {n: v.shape for n, v in learned.state_dict().items()}
    assert {name for name, _ in learned.named_parameters()} == {"scale", "zero_point"}
    assert list(plain.parameters()) == []


@pytest.mark.parametrize("given", [dict(symmetric=True, learn_scale=True), dict(symmetric=False)])
def test_an_offset_is_learned_with_the_scale_of_an_affine_quantizer_only(given):
    with pytest.raises(UserError, match="offset"):
        QuantizerSettings(4, learn_offset=True, **given)
