"""Where the profiles of backends put quantizers, and what these and the biases do."""

import pytest
import torch
from test_quantization.toy import toy_images
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.quantization import PROFILES, Bits, MinMaxRange, QuantizationSettings, QuantizedNetwork, correcting_weights
from mmsf.quantization.layers import QuantizedLayer


class Forks(nn.Module):
    """A residual sum, a concatenation before a layer, and one that is a raw output."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.after = nn.Conv2d(8, 8, 1)
        self.joined = nn.Conv2d(16, 4, 1)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2, groups=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.stem(images).relu()
        x = (self.conv(x) + x).relu()
        y = self.after(x)
        z = self.joined(torch.cat((x, y), 1))
        return {"up": self.up(z), "both": torch.cat((z, -z), 1)}


def made(profile: str, bits: str = "w8a8", **settings) -> QuantizedNetwork:
    torch.manual_seed(0)
    network, images = Forks().eval(), toy_images()
    quantized = QuantizedNetwork(network, lambda m: m(images), QuantizationSettings(bits, profile=profile, **settings))
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        quantized.network(images)
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    return quantized


def operands(quantized: QuantizedNetwork, call: str) -> list[nn.Module]:
    return list(quantized.calls[quantized.call_names.index(call)].operands)


def test_a_tensor_has_one_range_wherever_it_goes() -> None:
    quantized = made("onnxruntime")
    layers = dict(quantized.layer_quantizers())
    summed = operands(quantized, ":add0")
    assert summed[1] is layers["conv"].input_quantizer
    assert summed[0] is not summed[1]


def test_parts_and_result_of_a_concatenation_have_one_range() -> None:
    for profile in ("onnxruntime", "tensorrt"):
        quantized = made(profile)
        layers = dict(quantized.layer_quantizers())
        first, second = operands(quantized, ":concatenation0")
        assert first is second is layers["joined"].input_quantizer is layers["after"].input_quantizer


def test_every_profile_leaves_what_only_makes_raw_outputs_in_float() -> None:
    for profile in PROFILES:
        assert ":concatenation1" not in made(profile).call_names


def test_openvino_keeps_sums_and_tensorrt_the_addend_that_a_layer_makes_in_float() -> None:
    assert made("openvino").call_names == []
    first, second = operands(made("tensorrt"), ":add0")
    assert isinstance(first, nn.Identity)
    assert second.settings.symmetric


def test_tensorrts_zero_points_are_zero_and_its_weights_never_the_smallest_integer() -> None:
    quantized = made("tensorrt")
    assert all(not q.zero_point.any() for _, q in quantized.activation_quantizers())
    for _, quantizer, weight in quantized.quantized_weights():
        assert quantizer.settings.integer_range == (-127, 127)
        assert quantizer.integers(weight).abs().max() == 127


def test_onnxruntimes_biases_are_multiples_of_the_integer_products_step() -> None:
    for name, layer in made("onnxruntime").layer_quantizers():
        steps = layer.quantized_bias().double() / layer.bias_scale().double()
        assert (steps - steps.round()).abs().max() < 1e-2, name
        assert not torch.equal(layer.quantized_bias(), layer.bias)
        assert (layer.quantized_bias() - layer.bias).abs().max() <= 0.51 * layer.bias_scale().max()


@pytest.mark.parametrize("slope", [0.0, 1e-8, 1e-6])
@torch.no_grad()
def test_a_bias_beside_weights_that_are_next_to_nothing_still_fits_its_integer(slope) -> None:
    torch.manual_seed(0)
    for up in (nn.Conv2d(3, 4, 3, bias=False), nn.ConvTranspose2d(3, 4, 3, bias=False)):
        network = nn.Sequential(up, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
        network[1].weight[0], network[1].bias[0] = slope, 0.3
        settings = QuantizationSettings("w8a8", profile="onnxruntime")
        quantized = QuantizedNetwork(network, lambda m: m(toy_images()), settings)
        with quantized.observing() as histograms, quantized.running():
            quantized.network(toy_images())
        quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
        with quantized.running():
            got = quantized.network(toy_images())
        assert quantized.network[0].quantized_bias()[0] == pytest.approx(0.3, rel=1e-6)
        want = network(toy_images())
        assert (got - want).norm() < 0.03 * want.norm()


def test_other_profiles_leave_biases_as_they_are() -> None:
    for profile in ("academic", "openvino", "tensorrt"):
        assert all(layer.quantized_bias() is layer.bias for _, layer in made(profile).layer_quantizers())


def test_a_rounded_bias_passes_its_gradient_straight_through() -> None:
    quantized = made("onnxruntime")
    with quantized.running():
        quantized.network(toy_images())["up"].sum().backward()
    for name, layer in quantized.layer_quantizers():
        assert layer.bias.grad.abs().sum() > 0, name


def test_nothing_is_rounded_while_quantizers_are_off() -> None:
    torch.manual_seed(0)
    want = Forks().eval()(toy_images())
    quantized = made("onnxruntime")
    with torch.no_grad(), quantized.switched_off(), quantized.running():
        got = quantized.network(toy_images())
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_a_shared_quantizer_is_counted_and_saved_once_with_the_right_range() -> None:
    quantized = made("onnxruntime")
    named = list(quantized.activation_quantizers())
    assert len({id(q) for _, q in named}) == len(named)
    again = made("onnxruntime")
    again.load_state_dict(quantized.state_dict(), strict=True)
    with torch.no_grad(), quantized.running(), again.running():
        for name, value in quantized.network(toy_images()).items():
            assert torch.equal(again.network(toy_images())[name], value)


def test_learned_scales_that_are_shared_are_one_parameter() -> None:
    quantized = made("onnxruntime", learn_activation_scale=True)
    parameters = list(quantized.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    assert sum(p.dim() == 0 for p in parameters) == len(list(quantized.activation_quantizers()))


def test_a_bit_plan_cannot_part_what_shares_a_range() -> None:
    with pytest.raises(UserError, match="same activation bits"):
        made("onnxruntime").set_bits({"conv": Bits(8, 4)})


def test_readers_with_other_bits_have_ranges_of_their_own() -> None:
    quantized = made("onnxruntime", overrides={"conv": "w8a4"})
    assert operands(quantized, ":add0")[1] is not dict(quantized.layer_quantizers())["conv"].input_quantizer


def test_correction_sees_quantized_layer_inputs_also_where_their_quantizer_serves_a_sum() -> None:
    quantized = made("onnxruntime", bits="w8a2")
    before = {name: layer.bias.clone() for name, layer in quantized.layer_quantizers()}
    with torch.no_grad(), correcting_weights(quantized), quantized.running():
        quantized.network(toy_images())
    layers: dict[str, QuantizedLayer] = dict(quantized.layer_quantizers())
    assert all((layers[name].bias - bias).abs().max() > 1e-4 for name, bias in before.items())
    assert all(call.enabled for call in quantized.calls)


class Gathers(nn.Module):
    """A module that is called again and again, and joins one more tensor each time."""

    class Gather(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.outs = nn.ModuleList(nn.Conv2d(8 * (n + 1), 4, 1) for n in range(3))

        def forward(self, found: list[Tensor]) -> Tensor:
            return self.outs[len(found) - 1](torch.cat(found, 1))

    def __init__(self) -> None:
        super().__init__()
        self.stems = nn.ModuleList(nn.Conv2d(3, 8, 3) for _ in range(3))
        self.gather = Gathers.Gather()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = [stem(images) for stem in self.stems]
        return {f"out{n}": self.gather(found[: n + 1]) for n in range(3)}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_shared_module_may_join_more_tensors_in_a_later_call(profile):
    torch.manual_seed(0)
    network, images = Gathers().eval(), toy_images()
    quantized = QuantizedNetwork(network, lambda m: m(images), QuantizationSettings("w8a8", profile=profile))
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        exact = quantized.network(images)
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    with torch.no_grad(), quantized.running():
        found = quantized.network(images)
    assert quantized.call_names == (["gather:concatenation0"] if profile in ("onnxruntime", "tensorrt") else [])
    for name, value in exact.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0.05)


class Shifted(nn.Module):
    """Adds a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class SumBehindASum(nn.Module):
    """A sum of two layers behind a sum with a constant, which is another module's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.shifted = nn.Conv2d(3, 8, 3), Shifted()
        self.one, self.other, self.after = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.shifted(self.stem(images))
        return {"out": self.after(self.one(x) + self.other(x))}


@torch.no_grad()
def test_a_sum_that_stays_in_float_does_not_count_for_the_module_around():
    settings = QuantizationSettings("w8a8", profile="onnxruntime")
    quantized = QuantizedNetwork(SumBehindASum().eval(), lambda network: network(toy_images(1)), settings)
    assert quantized.call_names == [":add0"]
    sums: list[list[Tensor]] = []
    quantized.calls[0].register_forward_hook(lambda module, args, _: sums.append(args[0]))
    with quantized.observing(), quantized.running():
        quantized.network(toy_images())
    ((one, other),) = sums
    assert one.shape == other.shape == (*one.shape[:1], 8, *one.shape[2:])


class Summing(nn.Module):
    """Pointwise, of another package: adds inside."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8))

    def forward_with_weight(self, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        places = torch.arange(3)[:, None] + torch.arange(5)
        return torch.einsum("oc,bchw->bohw", weight, x) + bias.view(-1, 1, 1) + 0 * places.sum()

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_with_weight(self.weight, self.bias, x)


@pytest.mark.parametrize("overrides", [{}, {"1": "float"}])
@torch.no_grad()
def test_what_a_layer_of_another_package_adds_inside_does_not_count_for_the_module_around(overrides):
    class Around(nn.Sequential):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            x = self[0](images)
            return {"out": self[3](self[2](self[1](x)) + x)}

    torch.manual_seed(0)
    network = Around(nn.Conv2d(3, 8, 3), Summing(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)).eval()
    settings = QuantizationSettings("w8a8", profile="onnxruntime", overrides=overrides)
    quantized = QuantizedNetwork(network, lambda m: m(toy_images()), settings)
    assert quantized.call_names == [":add0"]
    sums: list[list[Tensor]] = []
    quantized.calls[0].register_forward_hook(lambda module, args, _: sums.append(args[0]))
    with quantized.observing(), quantized.running():
        quantized.network(toy_images())
    first = network[0](toy_images())
    ((one, other),) = sums
    torch.testing.assert_close(one, network[2](network[1](first)))
    torch.testing.assert_close(other, first)


@pytest.mark.parametrize("profile", sorted(PROFILES))
@torch.no_grad()
def test_integers_that_come_from_layers_are_added_exactly(profile):
    class Picking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores, self.out = nn.Linear(8, 16), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.scores(x)
            best = y.argmax(-1)
            begin = (best // 4) * 4 + best % 2
            return self.out(y.gather(-1, (begin - best % 2)[..., None] + torch.arange(4)))

    torch.manual_seed(0)
    network, x = Picking().eval(), torch.randn(2, 5, 8)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8", profile=profile))
    assert quantized.call_names == []
    with quantized.switched_off(), quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x))


class Block(nn.Module):
    """A residual block as torchvision writes it, and a layer whose rectified output is added to its input."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace
        self.relu = nn.ReLU(inplace)
        self.stem, self.conv1, self.conv2, self.last = (nn.Conv2d(n, 8, 3, padding=1) for n in (3, 8, 8, 8))
        self.norm1, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.after, self.out = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 4, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        identity = self.stem(images)
        x = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(identity)))))
        if self.inplace:
            x += identity
        else:
            x = x + identity
        x = self.after(self.relu(x))
        return {"out": self.out(self.relu(self.last(x)) + x)}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_operations_in_place_stand_where_their_like_out_of_place_do(profile):
    images, copies = toy_images(), []
    for inplace in (True, False):
        torch.manual_seed(0)
        network = Block(inplace).eval()
        copy = QuantizedNetwork(network, lambda m: m(images), QuantizationSettings("w8a4", profile=profile))
        with torch.no_grad(), copy.observing() as histograms, copy.running():
            copy.network(images)
        copy.set_ranges(histograms, MinMaxRange(), MinMaxRange())
        copies.append(copy)
    placed, plain = (list(copy.activation_quantizers()) for copy in copies)
    assert [name for name, _ in placed] == [name for name, _ in plain]
    assert all(torch.equal(got.scale, want.scale) for (_, got), (_, want) in zip(placed, plain))
    outputs = []
    for copy in copies:
        with torch.no_grad(), copy.running():
            outputs.append(copy.network(images)["out"])
    assert torch.equal(*outputs)


class Written(nn.Module):
    """Adds in place and goes on with what was written to, not with what the addition returns."""

    def __init__(self, write) -> None:
        super().__init__()
        self.one, self.other, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.write = write

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.one(x)
        self.write(y, self.other(x))
        return {"out": self.out(y)}


def add_a_part(y: Tensor, z: Tensor) -> None:
    part = y[:, 1:]
    part += z[:, 1:]


@pytest.mark.parametrize("profile", ["onnxruntime", "tensorrt"])
@pytest.mark.parametrize("write", [Tensor.add_, add_a_part])
def test_a_quantized_addition_in_place_writes_to_its_first_operand(profile, write):
    torch.manual_seed(0)
    network, x = Written(write).eval(), torch.randn(5, 4)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8", profile=profile))
    assert quantized.call_names == [":add0"]
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        quantized.network(x)
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    with quantized.running():
        out = quantized.network(x)["out"]
    torch.testing.assert_close(out, network(x)["out"], rtol=0, atol=0.05)
    out.sum().backward()
    assert all(layer.weight.grad.abs().sum() > 0 for _, layer in quantized.layer_quantizers())


def test_what_is_written_through_a_view_comes_from_the_layer_that_made_it():
    class Assembled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)

        def forward(self, images: Tensor) -> Tensor:
            x = self.stem(images).relu()
            out = torch.zeros(len(x), 4, *x.shape[2:])
            for part, layer in zip(out.chunk(2, 1), (self.one, self.other)):
                part.copy_(layer(x))
            return out

    network, images = Assembled().eval(), toy_images()
    copy = QuantizedNetwork(network, lambda m: m(images), QuantizationSettings("w4a4", "customary"))
    assert {name for name, bits in copy.bits.items() if bits.as_list() == [8, 8]} == {"stem", "one", "other"}
