"""Rescaling channels between layers."""

import copy
import weakref

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_quantization.toy import toy_images, toy_network
from torch import nn

from mmsf.quantization import MSERange, QuantizationSettings, QuantizedNetwork, equalise, switched_off
from mmsf.quantization.rescaling import Site, find_sites, keeps_outputs, rescale


class Uneven(nn.Module):
    """Two convolutions and two linear layers, channels between which differ in size by orders of magnitude."""

    def __init__(self, activation=F.relu, spread: float = 4.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.activation = activation
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, groups=2)
        self.norm = nn.LayerNorm(6)
        self.one, self.two = nn.Linear(6, 4), nn.Linear(6, 5)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)
            sizes = 2 ** (torch.rand(8, generator=generator) * 2 * spread - spread)
            self.conv1.weight.mul_(sizes.view(-1, 1, 1, 1))
            self.conv1.bias.mul_(sizes)
            self.conv2.weight.div_(sizes.view(2, 1, 4, 1, 1).expand(2, 3, 4, 1, 1).flatten(0, 1))
            self.norm.weight.mul_(2 ** (torch.rand(6, generator=generator) * spread))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.conv2(self.activation(self.conv1(x))).flatten(2).transpose(1, 2)
        x = self.norm(x)
        return {"one": self.one(x), "two": self.two(x)}


IMAGES = torch.randn(4, 3, 9, 11, generator=torch.Generator().manual_seed(1))


def quantized(network: nn.Module, bits: str = "w8a4", images: torch.Tensor = IMAGES) -> QuantizedNetwork:
    return QuantizedNetwork(network.eval(), lambda m: m(images), QuantizationSettings(bits))


def run(network: QuantizedNetwork, images: torch.Tensor = IMAGES) -> dict[str, torch.Tensor]:
    with torch.no_grad(), network.running():
        return network.network(images)


def float_run(network: QuantizedNetwork, images: torch.Tensor = IMAGES) -> dict[str, torch.Tensor]:
    quantizers = [q for _, q, _ in network.quantized_weights()] + [q for _, q in network.activation_quantizers()]
    with switched_off(quantizers):
        return run(network, images)


def sites(network: QuantizedNetwork, images: torch.Tensor = IMAGES) -> dict[str, tuple[str, ...]]:
    return {site.producer: site.consumers for site in find_sites(network, lambda: [float_run(network, images)])}


RANGE = MSERange()


def equalised(
    network: QuantizedNetwork, images: torch.Tensor = IMAGES, weight_range: MSERange | None = RANGE
) -> dict[str, float | None]:
    return equalise(network, lambda: [run(network, images)], weight_range, RANGE)


def relative_error(network: QuantizedNetwork) -> float:
    want = float_run(network)
    with torch.no_grad(), network.observing() as histograms:
        run(network)
    network.set_ranges(histograms, MSERange(), MSERange())
    got = run(network)
    return max(((got[n] - t).square().mean() / t.square().mean()).item() for n, t in want.items())


def test_the_float_network_stays_the_same_function():
    network = quantized(Uneven())
    before, want = copy.deepcopy(network.state_dict()), float_run(network)
    shares = equalised(network)
    assert shares.keys() == {"conv1", "norm"}
    assert None not in shares.values()
    for name, tensor in float_run(network).items():
        torch.testing.assert_close(tensor, want[name], rtol=1e-4, atol=1e-4 * want[name].abs().max().item())
    for name in ("conv1.layer.weight", "conv2.layer.weight", "norm.weight", "one.layer.weight", "two.layer.weight"):
        assert not torch.equal(network.network.state_dict()[name], before[f"network.{name}"])


def test_uneven_channels_no_longer_cost_bits():
    uneven = quantized(Uneven())
    before = relative_error(uneven)
    equalised(uneven)
    even = relative_error(quantized(Uneven(spread=0.0)))
    after = relative_error(uneven)
    assert after < 0.5 * before
    assert after < 1.5 * even


def test_how_frames_are_divided_into_runs_matters_little_to_the_spread():
    """Also where a run has one row, which has no spread of its own."""

    def shares(sizes: list[int]) -> dict[str, float | None]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
        frames = torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            network[0].weight.mul_(torch.logspace(-1, 1, 6)[:, None])
        made = QuantizedNetwork(network, lambda m: {"out": m(frames)}, QuantizationSettings("w4a4"))
        return equalise(made, lambda: [{"out": run(made, part)} for part in frames.split(sizes)], RANGE, RANGE)

    assert shares([9]).keys() == {"0"}
    assert shares([9])["0"] is not None
    assert shares([9]) == shares([8, 1]) == shares([3, 3, 3]) == shares([1] * 9)


def activation_error(network: QuantizedNetwork) -> float:
    """Of the outputs, with weights in float."""
    want = float_run(network)
    with torch.no_grad(), network.observing() as histograms:
        run(network)
    network.set_ranges(histograms, MSERange(), MSERange())
    with switched_off(quantizer for _, quantizer, _ in network.quantized_weights()):
        got = run(network)
    return max(((got[n] - t).square().mean() / t.square().mean()).item() for n, t in want.items())


def test_activations_get_all_the_room_where_weights_are_tuned_afterwards():
    compromise, roomy = quantized(Uneven()), quantized(Uneven())
    equalised(compromise)
    assert min(equalised(roomy, weight_range=None).values()) >= 0.75
    assert activation_error(roomy) <= activation_error(compromise)


def test_layers_keep_their_size_as_a_whole():
    network = quantized(Uneven())
    before = network.network.conv1.weight.detach().clone()
    equalised(network)
    ratios = (network.network.conv1.weight / before).flatten(1)[:, 0]
    assert ratios.log().mean().item() == pytest.approx(0, abs=1e-4)
    assert ratios.log().std() > 1


def test_a_place_ends_where_something_else_reads_or_bends_it():
    network = quantized(Uneven())
    assert all(not site.rectified for site in find_sites(network, lambda: [float_run(network)]))
    assert sites(network) == {"conv1": ("conv2",), "norm": ("one", "two")}
    # A ReLU alone knows no channel's size.
    assert "conv1" not in sites(quantized(Uneven(F.gelu)))

    class Leaky(Uneven):
        def forward(self, x):
            y = self.conv1(x)
            return {**super().forward(x), "y": y} if self.raw else {**super().forward(x), "y": y.mean()}

    for raw in (True, False):
        network = Leaky()
        network.raw = raw
        assert "conv1" not in sites(quantized(network))


def test_in_the_toy_only_the_block_and_the_attentions_values_are_places():
    # The stem's output also goes into a sum, one layer runs twice, and the last ones make raw outputs.
    network = quantized(toy_network(), images=toy_images())
    assert sites(network, toy_images()) == {
        "block.conv1": ("block.conv2",),
        "attention.v_proj": ("attention.out_proj",),
    }


def test_activations_of_a_part_are_gone_before_the_next_one_runs():
    network, made, alive = quantized(Uneven()), weakref.WeakSet(), []
    network.network.conv1.register_forward_hook(lambda module, args, out: made.add(out))

    def parts():
        for images in IMAGES.split(1):
            alive.append(len(made))
            yield float_run(network, images)

    assert [site.producer for site in find_sites(network, parts)] == ["conv1", "norm"]
    assert alive == [0] * len(IMAGES)


def test_a_reader_that_only_one_part_shows_counts():
    class Sometimes(Uneven):
        def forward(self, x):
            out = super().forward(x)
            return {**out, "bright": self.conv1(x).mean()} if x.mean() > 1 else out

    network, bright = quantized(Sometimes()), [IMAGES, IMAGES + 2, IMAGES]
    assert set(sites(network)) == {"conv1", "norm"}
    found = find_sites(network, lambda: (float_run(network, images) for images in bright))
    assert [site.producer for site in found] == ["norm"]


def test_a_layer_before_a_relu_is_known():
    network = quantized(nn.Sequential(*[m for c in (3, 4, 4) for m in (nn.Conv2d(c, 4, 1), nn.ReLU())]))
    found = find_sites(network, lambda: [float_run(network)])
    assert [(site.producer, site.rectified) for site in found] == [("0", {"2"}), ("2", {"4"})]


@pytest.mark.parametrize(
    ("site", "safe"),
    [
        (Site("block.conv1", ("block.conv2",), 16), True),
        (Site("attention.v_proj", ("attention.out_proj",), 16), True),
        (Site("stem", ("block.conv1",), 16), False),
        (Site("attention.q_proj", ("attention.k_proj",), 16), False),
        (Site("shared", ("attention.v_proj",), 16), False),
    ],
)
def test_a_wrong_place_is_found_out_and_nothing_stays_changed(site, safe):
    network = quantized(toy_network(), images=toy_images())
    before, want = copy.deepcopy(network.state_dict()), [float_run(network, toy_images())]
    assert keeps_outputs(network, site, lambda: [float_run(network, toy_images())], want) is safe
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@given(exponents=st.lists(st.integers(-6, 6), min_size=8, max_size=8))
@settings(max_examples=20, deadline=None)
def test_powers_of_two_change_no_bit(exponents):
    network = quantized(Uneven())
    want = float_run(network)
    rescale(network, Site("conv1", ("conv2",), 8), 2.0 ** torch.tensor(exponents))
    assert all(torch.equal(tensor, want[name]) for name, tensor in float_run(network).items())


@pytest.mark.parametrize(
    "layers",
    [
        (nn.ConvTranspose2d(3, 4, 2, 2), nn.Conv2d(4, 4, 3, groups=4)),
        (nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 2, 2, groups=2)),
        (nn.Conv2d(3, 4, 1, bias=False), nn.ConvTranspose2d(4, 2, 2, 2)),
    ],
)
def test_transposed_and_grouped_convolutions_are_rescaled_alike(layers):
    network = quantized(nn.Sequential(layers[0], nn.ReLU(inplace=True), layers[1]))
    want = float_run(network)
    (site,) = find_sites(network, lambda: [float_run(network)])
    rescale(network, site, torch.tensor([3.0, 0.2, 1.0, 7.0]))
    torch.testing.assert_close(float_run(network), want)


def test_channels_that_are_alike_stay_as_they_are():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        for layer in (network[0], network[2]):
            layer.weight.copy_(layer.weight[:1, :1].expand_as(layer.weight))
            layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    one = quantized(network)
    before = copy.deepcopy(one.state_dict())
    equalised(one)
    for name, value in one.state_dict().items():
        if name.endswith((".weight", ".bias")):
            torch.testing.assert_close(value, before[name])


def test_a_channel_that_is_dead_on_the_frames_seen_is_not_blown_up():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        network[0].bias[0] = 1.0 - network[0].weight[0].abs().sum() * IMAGES.abs().max()  # just below 0 all the time
        network[0].weight[1].mul_(0.05)  # truly small
        network[0].bias[1] = 0.05
    one = quantized(network)
    before = one.network[0].weight.detach().clone()
    assert equalised(one)["0"] is not None
    factors = (before / one.network[0].weight.detach()).flatten(1)[:, 0]
    assert factors[0] > 0.3 * factors[2:].min()
    assert factors[1] < 0.6 * factors[2:].min()


def test_a_layer_that_sees_only_zeros_is_left_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    nn.init.constant_(network[0].bias, -1e3)
    assert equalised(quantized(network))["0"] is None
