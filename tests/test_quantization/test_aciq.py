import math

import pytest
import torch

from mmsf.quantization import ACIQRange, QuantizerSettings
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.ranges.clipping import gauss_clipping, laplace_clipping

CLIPPING = {"gauss": gauss_clipping, "laplace": laplace_clipping}
CASES = [(kind, bits, sided) for kind in CLIPPING for bits in range(2, 9) for sided in (False, True)]


def density(kind: str, x: torch.Tensor) -> torch.Tensor:
    """Of deviation 1 (Gauss) or mean distance 1 (Laplace)."""
    return torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi) if kind == "gauss" else torch.exp(-x.abs()) / 2


def points(kind: str, one_sided: bool) -> torch.Tensor:
    top = 12.0 if kind == "gauss" else 40.0
    return torch.linspace(0 if one_sided else -top, top, 20_001, dtype=torch.float64)


def samples(kind: str, count: int = 200_000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "gauss":
        return torch.randn(count, generator=generator)
    return torch.empty(count).exponential_(generator=generator) * (torch.rand(count, generator=generator) * 2 - 1).sign()


def histogram_of(x: torch.Tensor) -> GrowingHistogram:
    histogram = GrowingHistogram()
    histogram(x)
    return histogram


@pytest.mark.parametrize(("kind", "bits", "one_sided"), CASES)
def test_the_clipping_value_has_the_least_clipped_and_rounded_noise(kind, bits, one_sided):
    x = points(kind, one_sided)
    clips = CLIPPING[kind](bits, one_sided) * torch.linspace(0.4, 1.6, 241, dtype=torch.float64)
    clipped = torch.stack([((x.abs() - clip).clamp(min=0).square() * density(kind, x)).sum() for clip in clips])
    clipped *= x[1] - x[0]
    step = (1 if one_sided else 2) * clips / 2**bits
    noise = clipped + step.square() / 12 * (0.5 if one_sided else 1)
    assert CLIPPING[kind](bits, one_sided) == pytest.approx(clips[noise.argmin()].item(), rel=0.006)  # one candidate


@pytest.mark.parametrize(("kind", "bits", "one_sided"), CASES)
def test_on_the_quantizers_own_grid_no_other_clipping_value_is_much_better(kind, bits, one_sided):
    x, clip = points(kind, one_sided), CLIPPING[kind](bits, one_sided)
    clips = clip * torch.linspace(0.5, 1.6, 45, dtype=torch.float64)
    clips = torch.cat((torch.tensor([clip], dtype=torch.float64), clips))[:, None]
    scale, zero = QuantizerSettings(bits, symmetric=False).grid(clips * 0 if one_sided else -clips, clips)
    noise = [
        ((((x / s).round() + z).clamp(0, 2**bits - 1) - z) * s).sub(x).square().mul(density(kind, x)).sum()
        for s, z in zip(scale, zero)
    ]
    # The formula counts 2^b steps where the grid has 2^b - 1, and takes all rounding for uniform.
    assert noise[0] <= min(noise[1:]) * (1.05 if bits == 2 else 1.01)


def test_the_authors_constants():
    assert laplace_clipping(4) == pytest.approx(5.03, abs=0.005)
    assert gauss_clipping(4) == pytest.approx(2.56, abs=0.005)
    assert laplace_clipping(2) == pytest.approx(2.83, abs=0.005)


@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("kind", list(CLIPPING))
@pytest.mark.parametrize("cut", [False, True])
def test_the_distribution_of_the_samples_is_chosen(kind, bits, cut):
    x = samples(kind)
    low, high = ACIQRange().from_histogram(histogram_of(x.relu() if cut else x), QuantizerSettings(bits, symmetric=False))
    clip = CLIPPING[kind](bits, one_sided=cut)
    assert high.item() == pytest.approx(clip, rel=0.02)
    assert low.item() == pytest.approx(0.0 if cut else -clip, rel=0.02)


def test_more_zeros_after_a_relu_change_nothing():
    x = samples("laplace").relu()
    ranges = [
        ACIQRange().from_histogram(histogram_of(t), QuantizerSettings(4, symmetric=False))[1].item()
        for t in (x, torch.cat((x, torch.zeros(len(x)))))
    ]
    assert ranges[1] == pytest.approx(ranges[0], rel=1e-6)


def test_a_symmetric_grid_has_fewer_levels_for_one_sided_data():
    x = samples("gauss").abs()
    _, high = ACIQRange().from_channels(x[None], QuantizerSettings(4, symmetric=True))
    assert high.item() == pytest.approx(gauss_clipping(4), rel=0.02)


def test_channels_choose_for_themselves():
    rows = torch.stack((samples("gauss"), 3 * samples("laplace")))
    _, high = ACIQRange().from_channels(rows, QuantizerSettings(4, symmetric=True, per_channel=True))
    assert high.tolist() == pytest.approx([gauss_clipping(4), 3 * laplace_clipping(4)], rel=0.02)


def test_no_range_reaches_beyond_the_data():
    x = torch.linspace(-1, 2, 1000)
    low, high = ACIQRange().from_histogram(histogram_of(x), QuantizerSettings(8, symmetric=False))
    assert (low.item(), high.item()) == (-1.0, 2.0)
