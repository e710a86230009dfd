import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmsf.errors import UserError
from mmsf.quantization import (
    ACIQRange,
    KLRange,
    MinMaxRange,
    MSERange,
    OMSERange,
    PercentileRange,
    Quantizer,
    QuantizerSettings,
    ThreeSigmaRange,
)
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.registry import TASK_UTILS


def normal(count: int, scale: float | torch.Tensor = 1.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed)) * scale


def histogram_of(*batches: torch.Tensor) -> GrowingHistogram:
    histogram = GrowingHistogram()
    for batch in batches:
        histogram(batch)
    return histogram


def error_after(estimator, settings: QuantizerSettings, x: torch.Tensor, p: float) -> float:
    quantizer = Quantizer(settings)
    estimator.set_activation_range(quantizer, histogram_of(x))
    return (quantizer(x) - x).abs().pow(p).mean().item()


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=6), st.integers(0, 2**16), st.data())
def test_histograms_have_the_same_bits_in_any_order_and_however_they_are_merged(powers, seed, data):
    # Powers of two lie on the edges of bins, and on limits.
    batches = [
        torch.cat((normal(50, 2.0**p, seed + i), torch.tensor([2.0**p, -(2.0**p), 0.0]))) for i, p in enumerate(powers)
    ]
    whole = histogram_of(*batches)
    shuffled = histogram_of(*data.draw(st.permutations(batches)))
    cut = data.draw(st.integers(0, len(batches)))
    merged, other = histogram_of(*batches[:cut]), histogram_of(*batches[cut:])
    merged.merge(other)
    assert whole.counts.sum() == 53 * len(batches)
    for histogram in (shuffled, merged):
        assert (histogram.limit, histogram.low, histogram.high) == (whole.limit, whole.low, whole.high)
        assert torch.equal(histogram.counts, whole.counts)


@given(st.floats(-4, 4, width=32))
def test_a_value_lies_in_its_bin_and_on_an_edge_in_the_one_nearer_to_zero(value):
    histogram = histogram_of(torch.tensor([4.0, value]))
    counts = histogram.counts.clone()
    counts[-1] -= 1  # the limit itself
    (place,) = counts.nonzero().flatten().tolist()
    width = 2 * histogram.limit / histogram.bins
    low = place * width - histogram.limit
    assert low <= value <= low + width
    if value == low:
        assert value <= 0


def test_more_numbers_than_float32_can_count_are_counted_exactly():
    count = 2**24 + 3
    histogram = histogram_of(torch.ones(count))
    assert histogram.counts.max().item() == histogram.counts.sum().item() == count


def test_a_broken_activation_is_named():
    with pytest.raises(UserError, match=r"'neck\.conv'"):
        GrowingHistogram("neck.conv")(torch.tensor([1.0, float("nan")]))


def test_min_max_spans_the_data():
    low, high = MinMaxRange().from_histogram(histogram_of(torch.tensor([-1.5, 0.25, 3.0])), QuantizerSettings(8, False))
    assert (low.item(), high.item()) == (-1.5, 3.0)


def test_percentile_leaves_out_outliers_only():
    x = torch.cat((normal(100_000), torch.tensor([1000.0])))
    low, high = PercentileRange(99.9).from_histogram(histogram_of(x), QuantizerSettings(8, False))
    assert 2.5 < high < 4.5
    assert -4.5 < low < -2.5
    weights_low, weights_high = PercentileRange(99.9).from_channels(x[None], QuantizerSettings(8, True))
    torch.testing.assert_close(weights_high[0], torch.quantile(x[:100_000], 0.999), rtol=0.05, atol=0)
    assert weights_low[0] < -2.5


def test_a_tenth_of_ten_values_is_one():
    low, high = PercentileRange(90).from_channels(torch.arange(10.0)[None], QuantizerSettings(8, True))
    assert (low.item(), high.item()) == (1.0, 8.0)


@pytest.mark.parametrize("percentile", [50, 101])
def test_a_percentile_outside_its_bounds_is_refused(percentile):
    with pytest.raises(UserError, match="percentile"):
        PercentileRange(percentile)


@pytest.mark.parametrize(("symmetric", "one_sided"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_mse_is_as_good_as_a_search_by_hand(symmetric, one_sided, bits):
    x = normal(4000) ** 3
    if one_sided:
        x = x.abs()
    settings = QuantizerSettings(bits, symmetric)
    found = error_after(MSERange(p=2.0), settings, x, 2.0)
    shares = torch.linspace(0.02, 1, 50)
    best = float("inf")
    ends = itertools.product(shares, shares) if not (symmetric or one_sided) else zip(shares, shares)
    for low, high in ends:
        quantizer = Quantizer(settings)
        quantizer.set_range(x.min() * low, x.max() * high)
        best = min(best, (quantizer(x) - x).square().mean().item())
    # The histogram's bins and the coarser grid cost a little.
    assert found <= best * 1.05


def test_mse_of_channels_searches_each_channel():
    weight = torch.stack((normal(500), normal(500, 100.0, 1)))
    quantizer = Quantizer(QuantizerSettings(4, symmetric=True, per_channel=True), 2)
    MSERange().set_weight_range(quantizer, weight)
    for row, scale in zip(weight, quantizer.scale):
        alone = Quantizer(QuantizerSettings(4, symmetric=True))
        MSERange().set_weight_range(alone, row)
        torch.testing.assert_close(alone.scale, scale)


def test_transposed_convolutions_have_their_channels_on_axis_one():
    weight = torch.stack((normal(30).view(5, 6), normal(30, 9.0, 1).view(5, 6)), 1)
    quantizer = Quantizer(QuantizerSettings(8, symmetric=True, per_channel=True, channel_axis=1), 2)
    MinMaxRange().set_weight_range(quantizer, weight)
    torch.testing.assert_close(quantizer.scale, weight.abs().amax((0, 2)) / 127.5)


def noise_at(row: torch.Tensor, limit: torch.Tensor, settings: QuantizerSettings, p: float) -> float:
    quantizer = Quantizer(settings)
    quantizer.set_range(-limit, limit)
    return (quantizer(row) - row).double().abs().pow(p).mean().item()


@pytest.mark.parametrize("shape", ["normal", "heavy", "few", "even", "one outlier", "zeros"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("p", [2.0, 2.4, 4.0])
def test_no_candidate_is_better_than_the_one_found(shape, bits, p):
    rows = {
        "normal": normal(900).view(3, 300),
        "heavy": normal(900).view(3, 300) ** 3,
        "few": normal(27).view(3, 9),
        "even": torch.linspace(-1, 1, 300).repeat(3, 1),
        "one outlier": torch.cat((normal(900).view(3, 300), torch.full((3, 1), 30.0)), 1),
        "zeros": torch.zeros(3, 10),
    }[shape]
    estimator = OMSERange() if p == 2 else MSERange(p)
    _, high = estimator.from_channels(rows, QuantizerSettings(bits, symmetric=True, per_channel=True))
    settings = QuantizerSettings(bits, symmetric=True)
    for row, found in zip(rows, high):
        candidates = row.abs().max() * torch.linspace(1, 1 / 100, 100)
        best = min(noise_at(row, limit, settings, p) for limit in candidates)
        assert noise_at(row, found, settings, p) == pytest.approx(best, rel=1e-5, abs=1e-30)


def test_affine_channels_on_either_side_of_zero_are_searched_together():
    rows = torch.stack((normal(300).abs(), -normal(300).abs(), normal(300)))
    settings = QuantizerSettings(4, symmetric=False, per_channel=True)
    low, high = MSERange().from_channels(rows, settings)
    for row, a, b in zip(rows[:2], low, high):
        alone = [end[0] for end in MSERange().from_channels(row[None], settings)]
        noise = []
        for ends in ((a, b), alone):
            quantizer = Quantizer(QuantizerSettings(4, symmetric=False))
            quantizer.set_range(*ends)
            noise.append((quantizer(row) - row).abs().pow(2.4).mean())
        assert noise[0] <= noise[1] * 1.05


def test_omse_is_the_search_of_squares():
    x = histogram_of(normal(5000) ** 3)
    settings = QuantizerSettings(4, symmetric=False)
    assert OMSERange().from_histogram(x, settings) == MSERange(p=2.0).from_histogram(x, settings)


def test_powers_below_two_are_refused():
    with pytest.raises(UserError, match="at least 2"):
        MSERange(p=1.0)


@pytest.mark.parametrize("estimator", [MinMaxRange(), PercentileRange(), MSERange(), OMSERange(), ACIQRange(), KLRange()])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("factor", [2.0**-10, 2.0**7])
def test_ranges_grow_with_the_data(estimator, symmetric, factor):
    settings = QuantizerSettings(4, symmetric, per_channel=True)
    rows = normal(2000).view(4, 500)
    for before, after in zip(estimator.from_channels(rows, settings), estimator.from_channels(rows * factor, settings)):
        torch.testing.assert_close(after, before * factor, rtol=1e-5, atol=0)
    settings = QuantizerSettings(4, symmetric)
    before, after = (estimator.from_histogram(histogram_of(x), settings) for x in (rows, rows * factor))
    torch.testing.assert_close(torch.stack(after), torch.stack(before) * factor, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["MinMaxRange", "PercentileRange", "MSERange", "OMSERange", "ACIQRange", "KLRange"])
def test_estimators_are_built_from_configs(name):
    assert type(TASK_UTILS.build(dict(type=name))).__name__ == name


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_three_sigma_gives_lsq_plus_first_scale(bits, narrow):
    weight = normal(60).reshape(3, 20) * torch.tensor([[1.0], [0.01], [5.0]]) + torch.tensor([[0.5], [-0.2], [0.0]])
    quantizer = Quantizer(QuantizerSettings(bits, symmetric=True, per_channel=True, narrow=narrow), 3)
    ThreeSigmaRange().set_weight_range(quantizer, weight)
    for row, scale in zip(weight.numpy(), quantizer.scale):
        ends = abs(row.mean() - 3 * row.std()), abs(row.mean() + 3 * row.std())
        assert scale.item() == pytest.approx(max(ends) / 2 ** (bits - 1), rel=1e-5)
    assert not quantizer.zero_point.any()


def test_three_sigma_is_for_symmetric_weights():
    quantizer = Quantizer(QuantizerSettings(4, symmetric=False, per_channel=True), 3)
    with pytest.raises(UserError, match="symmetric"):
        ThreeSigmaRange().set_weight_range(quantizer, torch.ones(3, 4))
    with pytest.raises(UserError, match="activation_range"):
        ThreeSigmaRange().set_activation_range(Quantizer(QuantizerSettings(4, symmetric=False)), histogram_of(normal(50)))


@pytest.mark.parametrize("constant", [0.0, 5e-7, 0.3, -0.3, 4e4])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "estimator",
    [MinMaxRange(), PercentileRange(99.9), MSERange(), OMSERange(), KLRange(), ACIQRange()],
    ids=lambda e: type(e).__name__,
)
def test_an_activation_that_is_constant_has_a_finite_grid_which_keeps_it(estimator, symmetric, constant):
    quantizer = Quantizer(QuantizerSettings(4, symmetric))
    x = torch.full((100,), constant)
    estimator.set_activation_range(quantizer, histogram_of(x))
    assert quantizer.scale.isfinite()
    assert quantizer.scale > 0
    # Half a step of a 4-bit grid over [0, 2c] at most.
    assert (quantizer(x) - x).abs().max() <= abs(constant) / 7 + 1e-12
