import math

import pytest
import torch

from mmsf.quantization import KLRange, QuantizerSettings
from mmsf.quantization.histogram import GrowingHistogram


def histogram_of(x: torch.Tensor, bins: int = 4096) -> GrowingHistogram:
    histogram = GrowingHistogram(bins=bins)
    histogram(x)
    return histogram


def even(low: float, high: float, count: int = 100_000) -> torch.Tensor:
    """Values spread so evenly that all bins hold about the same."""
    return torch.linspace(low, high, count)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("low", [0.0, -1.0])
def test_evenly_spread_values_keep_their_range(bits, low):
    x = even(low, 1.0)
    ends = KLRange().from_histogram(histogram_of(x), QuantizerSettings(bits, symmetric=False))
    assert [e.item() for e in ends] == pytest.approx([low, 1.0], abs=0.02)


def normal(count: int = 20_000) -> torch.Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0))


def test_values_on_the_levels_lose_nothing_at_their_own_range():
    levels = torch.linspace(0, 1, 16)
    x = levels.repeat_interleave(torch.arange(16, 0, -1) ** 3)
    low, high = KLRange().from_histogram(histogram_of(x), QuantizerSettings(4, symmetric=False))
    assert (low.item(), high.item()) == (0.0, 1.0)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_few_outliers_are_clipped(symmetric):
    x = torch.cat((normal(), torch.tensor([-40.0, 40.0])))
    low, high = KLRange().from_histogram(histogram_of(x), QuantizerSettings(4, symmetric))
    assert 2 < high < 5
    assert -5 < low < -2


def divergence_by_hand(counts: list[float], centers: list[float], low: float, high: float, settings) -> float:
    scale, zero = (t.item() for t in settings.grid(torch.tensor(low).double(), torch.tensor(high).double()))
    qmin, qmax = settings.integer_range
    inside = [i for i, c in enumerate(centers) if low <= c <= high and counts[i] > 0]
    p = {i: counts[i] for i in inside}
    p[inside[0]] += sum(counts[: inside[0]])
    p[inside[-1]] += sum(counts[inside[-1] + 1 :])
    groups: dict[int, list[int]] = {}
    for i in inside:
        groups.setdefault(min(max(round(centers[i] / scale) + zero, qmin), qmax), []).append(i)
    q = {i: sum(counts[j] for j in group) / len(group) for group in groups.values() for i in group}
    total_p, total_q = sum(p.values()), sum(q.values())
    return sum(p[i] / total_p * math.log(p[i] / total_p / (q[i] / total_q)) for i in inside)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3])
def test_no_other_candidate_has_less_divergence_by_hand(bits, symmetric):
    x = torch.randn(5000, generator=torch.Generator().manual_seed(3)) ** 3
    histogram, settings = histogram_of(x, bins=256), QuantizerSettings(bits, symmetric)
    steps = 20
    found = [e.item() for e in KLRange(steps=steps).from_histogram(histogram, settings)]
    counts, middle = histogram.counts.tolist(), histogram.bins // 2
    counts[middle] = min(counts[middle], max(counts[middle - 1], counts[middle + 1]))
    centers = histogram.centers.clamp(histogram.low, histogram.high).tolist()
    largest = max(-histogram.low, histogram.high)
    least = min(max(2**bits * 2 * histogram.limit / 256 / (histogram.high - histogram.low), 1 / steps), 1)
    candidates = []
    for k in range(steps):
        magnitude = largest * (1 - k / (steps - 1) * (1 - least))
        candidates.append((max(histogram.low, -magnitude), min(histogram.high, magnitude)))
    best = min(candidates, key=lambda ends: divergence_by_hand(counts, centers, *ends, settings))
    assert found == pytest.approx(list(best))


def test_zeros_after_a_relu_say_nothing():
    x = torch.randn(50_000, generator=torch.Generator().manual_seed(0)).relu()
    settings = QuantizerSettings(4, symmetric=False)
    few, many = (KLRange().from_histogram(histogram_of(t), settings)[1] for t in (x, torch.cat((x, torch.zeros(500_000)))))
    assert few == many


def test_channels_are_searched_apart():
    rows = torch.stack((torch.cat((normal(), torch.tensor([40.0]))), torch.cat((even(-1, 1, 20_000), torch.tensor([1.0])))))
    settings = QuantizerSettings(4, symmetric=True, per_channel=True)
    low, high = KLRange().from_channels(rows, settings)
    for index, row in enumerate(rows):
        alone = KLRange().from_channels(row[None], settings)
        assert (low[index], high[index]) == (alone[0][0], alone[1][0])
    assert 2 < high[0] < 5
    assert high[1].item() == pytest.approx(1.0, abs=0.02)


def test_a_channel_of_zeros_has_no_range():
    low, high = KLRange().from_channels(torch.zeros(2, 10), QuantizerSettings(8, symmetric=True))
    assert low.tolist() == high.tolist() == [0.0, 0.0]
