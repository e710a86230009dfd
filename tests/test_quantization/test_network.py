import copy
from collections import OrderedDict

import pytest
import torch
from test_quantization.toy import ToyNetwork, toy_images, toy_network
from torch import nn

from mmsf.errors import UserError
from mmsf.quantization import Bits, MinMaxRange, MSERange, QuantizationSettings, QuantizedNetwork, Quantizer
from mmsf.quantization.attention import DecomposedAttention
from mmsf.quantization.layers import QuantizedLayer


def quantized_toy(network: ToyNetwork | None = None, **settings) -> QuantizedNetwork:
    network = network or toy_network()
    images = toy_images()
    return QuantizedNetwork(network, lambda m: m(images), QuantizationSettings(**{"bits": "w4a4", **settings}))


def calibrated_toy(**settings) -> QuantizedNetwork:
    quantized = quantized_toy(**settings)
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        quantized.network(toy_images())
    quantized.set_ranges(histograms, MSERange(), MSERange())
    return quantized


def outputs(quantized: QuantizedNetwork) -> dict[str, torch.Tensor]:
    with torch.no_grad(), quantized.running():
        return quantized.network(toy_images())


def relative_error(quantized: QuantizedNetwork) -> float:
    want = toy_network()(toy_images())
    got = outputs(quantized)
    return max(((got[n] - t).square().mean() / t.square().mean()).item() for n, t in want.items())


def test_the_float_network_is_never_changed():
    network = toy_network()
    before = copy.deepcopy(network.state_dict())
    quantized = quantized_toy(network)
    with torch.no_grad():
        for parameter in quantized.network.parameters():
            parameter.add_(1.0)
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert isinstance(network.attention, nn.MultiheadAttention)


def test_folding_changes_no_output():
    quantized = quantized_toy()
    with quantized.observing():  # observers let every tensor pass
        got = outputs(quantized)
    for name, want in toy_network()(toy_images()).items():
        torch.testing.assert_close(got[name], want, rtol=1e-4, atol=1e-5)


def test_only_norms_that_a_layer_alone_feeds_are_folded():
    network = quantized_toy().network
    folded = [network.stem_norm, network.block.bn1, network.block.bn2, network.up_norm]
    assert all(isinstance(norm, nn.Identity) for norm in folded)
    assert isinstance(network.late_norm, nn.BatchNorm2d)


def test_a_layer_whose_output_is_used_twice_keeps_its_norm():
    class Forked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.conv(x)
            return self.norm(y) + y

    network, x = Forked().eval(), toy_images()
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert isinstance(quantized.network.norm, nn.BatchNorm2d)


def test_every_layer_that_runs_is_quantized_and_the_rest_is_named():
    quantized = quantized_toy()
    names = {name for name, _ in quantized.layer_quantizers()}
    projections = {f"attention.{part}_proj" for part in ("q", "k", "v", "out")}
    assert names == {"stem", "block.conv1", "block.conv2", "shared", "up", "offset", "existence"} | projections
    for name in ("block.training_only", "block.training_norm"):
        assert quantized.left_float[name] == "never runs in a prediction"
        assert not any(p.requires_grad for p in quantized.network.get_submodule(name).parameters())
    assert "late_norm" in quantized.left_float
    assert quantized.call_names == ["attention:matmul0", "attention:matmul1"]


def test_layers_that_never_run_are_left_alone():
    assert isinstance(quantized_toy().network.block.training_only, nn.Conv2d)


def test_a_layer_that_runs_twice_has_one_range_over_both_runs():
    quantized = quantized_toy()
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        quantized.network(toy_images())
    one_run = 2 * 16 * 8 * 12
    assert histograms["shared"].counts.sum() == 2 * one_run
    assert histograms["stem"].counts.sum() == toy_images().numel()


class Sharing(nn.Module):
    """One layer and its norm under two names each, and two layers whose weight is one parameter."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.other, self.other_norm = self.one, self.norm
        self.tied, self.after = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.after.weight, self.tied_norm = self.tied.weight, nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.norm(self.one(self.stem(x).relu())).relu()
        x = self.other_norm(self.other(x)).relu()
        return {"y": self.after(self.tied_norm(self.tied(x)).relu())}


@pytest.fixture
def sharing() -> tuple[nn.Module, QuantizedNetwork]:
    torch.manual_seed(0)
    network = Sharing().eval()
    for norm in (network.norm, network.tied_norm):
        nn.init.uniform_(norm.weight, 0.5, 2)
        norm.running_mean.normal_()
    return network, QuantizedNetwork(network, lambda m: m(toy_images()), QuantizationSettings("w4a4"))


def test_what_is_shared_or_tied_is_folded_once_and_changes_no_output(sharing):
    network, quantized = sharing
    assert isinstance(quantized.network.other_norm, nn.Identity)
    assert isinstance(quantized.network.tied_norm, nn.Identity)
    with torch.no_grad(), quantized.observing():
        torch.testing.assert_close(quantized.network(toy_images()), network(toy_images()), rtol=1e-4, atol=1e-5)


def test_a_layer_that_two_places_share_is_quantized_in_both_and_named_once(sharing):
    _, quantized = sharing
    assert isinstance(quantized.network.one, QuantizedLayer)
    assert quantized.network.other is quantized.network.one
    assert {name for name, _ in quantized.layer_quantizers()} == {"stem", "one", "tied", "after"}
    with torch.no_grad(), quantized.observing() as histograms:
        quantized.network(toy_images())
    assert histograms["one"].counts.sum() == 2 * histograms["after"].counts.sum()


def test_layers_whose_weight_was_tied_are_tuned_apart(sharing):
    _, quantized = sharing
    one, other = quantized.network.tied.layer.weight, quantized.network.after.layer.weight
    before = other.detach().clone()
    with torch.no_grad():
        one.add_(1.0)
    assert torch.equal(other, before)


def test_more_bits_bring_the_network_closer_to_the_float_one():
    errors = [relative_error(calibrated_toy(bits=bits)) for bits in ("w2a2", "w4a4", "w8a8")]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def test_products_inside_attention_are_quantized():
    with_products = outputs(calibrated_toy(bits="w8a2"))["offset"]
    without = outputs(calibrated_toy(bits="w8a2", overrides={"attention:*": "float"}))["offset"]
    assert not torch.equal(with_products, without)


def test_the_academic_profile_leaves_sums_in_float_and_onnxruntime_does_not():
    academic, runtime = quantized_toy(), quantized_toy(profile="onnxruntime")
    assert {name.rpartition(":")[2] for name in academic.call_names} == {"matmul0", "matmul1"}
    assert set(runtime.call_names) - set(academic.call_names) == {"block:add0", ":add0"}
    assert "block:add0.0" in {name for name, _ in runtime.activation_quantizers()}


def test_function_quantizers_work_only_inside_the_running_context():
    quantized = calibrated_toy(bits="w8a2")
    inside = outputs(quantized)["offset"]
    with torch.no_grad():
        outside = quantized.network(toy_images())["offset"]
    assert not torch.equal(inside, outside)
    assert torch.equal(inside, outputs(quantized)["offset"])


def test_an_error_inside_the_network_does_not_spoil_the_next_run():
    quantized = calibrated_toy()
    want = outputs(quantized)["offset"]
    with pytest.raises(RuntimeError), quantized.running():
        quantized.network(torch.zeros(1, 5, 9, 9))
    assert torch.equal(outputs(quantized)["offset"], want)


def test_customary_keeps_the_first_and_the_last_layers_at_eight_bits():
    bits = quantized_toy(scheme="customary").bits
    eight = {name for name, b in bits.items() if b.as_list() == [8, 8]}
    assert eight == {"stem", "up", "offset", "existence"}


def test_strict_has_one_pair_of_bits_everywhere():
    assert {tuple(b.as_list()) for b in quantized_toy(bits="w8a4").bits.values()} == {(8, 4)}


def test_overrides_by_name_pattern_and_form():
    overrides = {"block.*": "w8a8", "block.conv2": "float", "stem": [8, 4], "offset": {"weight": 4, "activation": "float"}}
    quantized = quantized_toy(overrides=overrides)
    bits = {name: b.as_list() for name, b in quantized.bits.items()}
    assert bits["block.conv1"] == [8, 8]
    assert bits["block.conv2"] == ["float", "float"]
    assert bits["stem"] == [8, 4]
    assert bits["offset"] == [4, "float"]
    assert quantized.left_float["block.conv2"] == "left in float by the bit plan"
    assert not isinstance(quantized.network.block.conv2, QuantizedLayer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(overrides={"no.such.layer": "w8a8"}), "no.such.layer"),
        (dict(bits="w4"), "written like"),
        (dict(bits="w1a8"), "2 to 8"),
        (dict(bits="w4a9"), "2 to 8"),
        (dict(scheme="lenient"), "strict"),
        (dict(profile="abacus"), "academic"),
        (dict(overrides={"stem": [1, 4]}), "2 to 8"),
        (dict(overrides={"stem": 4}), "written like"),
    ],
)
def test_wrong_settings_are_one_clear_line(settings, message):
    with pytest.raises(UserError, match=message):
        quantized_toy(**settings)


def test_shares_count_every_multiply_accumulate():
    shares = quantized_toy(scheme="customary").share_by_bits()
    assert set(shares) == {"4/4", "8/8"}
    assert sum(shares.values()) == pytest.approx(1.0)


def test_multiply_accumulates_by_hand():
    macs = quantized_toy().multiply_accumulates
    assert macs["stem"] == 2 * 16 * 8 * 12 * 3 * 9
    assert macs["shared"] == 2 * (2 * 16 * 8 * 12 * 16)
    assert macs["up"] == 2 * 16 * 8 * 12 * 8 * 9
    assert macs["offset"] == 96 * 2 * 16 * 4
    assert macs["attention:matmul0"] == 2 * 2 * 96 * 96 * 8


def test_every_parameter_has_its_final_shape_before_any_range_is_set():
    fresh = quantized_toy(learn_activation_scale=True)
    ready = calibrated_toy(learn_activation_scale=True)
    shapes = {name: p.shape for name, p in fresh.named_parameters()}
    assert shapes == {name: p.shape for name, p in ready.named_parameters()}
    assert any(name.endswith("input_quantizer.scale") for name in shapes)


def test_state_dict_carries_ranges_to_another_copy():
    ready = calibrated_toy()
    other = quantized_toy(toy_network(seed=5))
    other.load_state_dict(ready.state_dict())
    for name, tensor in outputs(ready).items():
        assert torch.equal(outputs(other)[name], tensor)


@pytest.mark.parametrize("batch_first", [False, True])
def test_decomposed_attention_equals_torchs(batch_first):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()
    q, k = torch.randn(5, 5, 12), torch.randn(5, 5, 12)
    padding = torch.zeros(5, 5, dtype=torch.bool)
    padding[:, -1] = True
    mask = torch.randn(5, 5)
    float_padding = torch.zeros(5, 5).masked_fill(padding, float("-inf"))
    want = attention(q, k, k, key_padding_mask=float_padding, attn_mask=mask)
    got = DecomposedAttention(attention)(q, k, k, key_padding_mask=padding, attn_mask=mask)
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("batch_first", [False, True])
def test_decomposed_attention_needs_no_batch(batch_first):
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()
    q, k, padding = torch.randn(5, 12), torch.randn(4, 12), torch.tensor([False, False, False, True])
    want = attention(q, k, k, key_padding_mask=padding, attn_mask=torch.zeros(5, 4, dtype=torch.bool))
    got = DecomposedAttention(attention)(q, k, k, key_padding_mask=padding, attn_mask=torch.zeros(5, 4, dtype=torch.bool))
    for a, b in zip(got, want):
        torch.testing.assert_close(a, b)
    assert DecomposedAttention(attention)(q, k, k, need_weights=False)[1] is None


class Padded(nn.Module):
    """A transformer encoder, or one layer of it, some inputs of which are shorter than others."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("padding", torch.tensor([[False] * 6, [False] * 4 + [True] * 2]))

    def forward(self, x):
        # What stands in padded places means nothing.
        return self.encoder(x, src_key_padding_mask=self.padding)[~self.padding]


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_pytorchs_transformer_layers_are_quantized_whatever_fast_path_they_have(stacked, batch_first):
    torch.manual_seed(0)
    network = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
    if stacked:
        network = nn.TransformerEncoder(network, 2)
    if batch_first:
        network = Padded(network)
    network, x = network.eval(), torch.randn(2, 6, 8)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert len(list(quantized.layer_quantizers())) == 6 * (1 + stacked)
    assert len(quantized.call_names) == 2 * (1 + stacked)
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x), rtol=1e-4, atol=1e-5)
    assert all(histogram.counts.sum() > 0 for histogram in histograms.values())


def test_scaled_dot_product_attention_is_met_as_two_products():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            y = self.linear(x)
            return nn.functional.scaled_dot_product_attention(y, y, y)

    torch.manual_seed(0)
    network, x = Attending().eval(), torch.randn(2, 6, 8)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert quantized.call_names == [":matmul0", ":matmul1"]
    with torch.no_grad(), quantized.observing() as histograms, quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x))
    quantized.set_ranges(histograms, MinMaxRange(), MinMaxRange())
    with torch.no_grad(), quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x), atol=0.05, rtol=0)


@torch.no_grad()
def test_attention_in_several_places_is_taken_apart_once_and_a_subclass_of_its_own_stays():
    class Doubled(nn.MultiheadAttention):
        def forward(self, query, key, value, **rest):
            out, weights = super().forward(2 * query, key, value)
            return out + query, weights

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice = nn.ModuleList([nn.MultiheadAttention(8, 2, batch_first=True)] * 2)
            self.own, self.out = Doubled(8, 2, batch_first=True), nn.Linear(8, 4)

        def forward(self, x):
            for attention in (*self.twice, self.own):
                x = attention(x, x, x)[0]
            return self.out(x)

    torch.manual_seed(0)
    network, x = Attending().eval(), torch.randn(2, 5, 8)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert quantized.network.twice[0] is quantized.network.twice[1]
    assert "twice.0.q_proj" in dict(quantized.layer_quantizers())
    assert {name.partition(".")[0] for name in quantized.left_float} == {"own"}
    with quantized.switched_off(), quantized.running():
        torch.testing.assert_close(quantized.network(x), network(x))


def test_parameters_that_are_integers_stay_as_they_are():
    class Picking(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 4)
            self.index = nn.Parameter(torch.tensor([2, 0]), requires_grad=False)

        def forward(self, x):
            return self.linear(x)[:, self.index]

    network, x = Picking().eval(), torch.randn(3, 8)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w8a8"))
    assert quantized.network.linear.layer.weight.requires_grad
    assert torch.equal(quantized.network.index, network.index)


def test_a_module_of_another_package_takes_part_by_forward_with_weight():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(4, 3)), None

        def forward_with_weight(self, weight, bias, x):
            return x @ weight.T

        def forward(self, x):
            return self.forward_with_weight(self.weight, self.bias, x)

    torch.manual_seed(0)
    network, x = nn.Sequential(Scaled()).eval(), torch.randn(5, 3)
    quantized = QuantizedNetwork(network, lambda m: m(x), QuantizationSettings("w4a4"))
    ((name, layer),) = quantized.layer_quantizers()
    assert name == "0"
    assert isinstance(layer.weight_quantizer, Quantizer)
    assert quantized.call_names == []


def test_gradients_reach_weights_and_learned_scales():
    quantized = calibrated_toy(learn_activation_scale=True)
    with quantized.running():
        sum(t.square().mean() for t in quantized.network(toy_images()).values()).backward()
    silent = [
        n for n, p in quantized.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    # A key projection's bias adds the same to every score of a query, which softmax does not see.
    assert set(silent) <= {"network.attention.k_proj.layer.bias", "network.attention.k_proj.layer.layer.bias"}


def test_only_one_layer_errs_where_only_it_is_quantized():
    quantized = calibrated_toy()
    want = toy_network()(toy_images())
    with quantized.only("offset"):
        got = outputs(quantized)
    assert not torch.equal(got["offset"], want["offset"])
    torch.testing.assert_close(got["map"], want["map"], rtol=1e-4, atol=1e-4)
    assert all(q.enabled for name in quantized.bits for q in quantized.quantizers_of(name))


def test_new_bits_are_those_of_a_network_that_was_built_with_them():
    changed, built = calibrated_toy(bits="w4a4"), calibrated_toy(bits="w4a4", overrides={"shared": "w8a6"})
    changed.set_bits({"shared": Bits(8, 6)})
    with torch.no_grad(), changed.observing() as histograms, changed.running():
        changed.network(toy_images())
    changed.set_ranges(histograms, MSERange(), MSERange())
    assert changed.bits == built.bits
    want = outputs(built)
    assert all(torch.equal(got, want[name]) for name, got in outputs(changed).items())


@pytest.mark.parametrize("misspelt", [{"weights": 8, "activations": 8}, {"weight": 8, "act": 8}, {}])
def test_misspelt_bits_are_not_taken_for_float(misspelt):
    with pytest.raises(UserError, match="bits are written like"):
        Bits.parse(misspelt)


def test_new_bits_cannot_name_no_layer_or_turn_one_to_float():
    quantized = calibrated_toy()
    with pytest.raises(UserError, match="no layer has that name"):
        quantized.set_bits({"nothing": Bits(8, 8)})
    with pytest.raises(UserError, match="cannot put offset into float"):
        quantized.set_bits({"offset": Bits(None, None)})


def test_a_layer_with_the_signs_of_a_pattern_in_its_name_can_be_named():
    network = nn.Sequential(OrderedDict([("a[0]", nn.Conv2d(3, 4, 3)), ("a0", nn.Conv2d(4, 4, 3))]))
    images = torch.rand(1, 3, 8, 8)
    settings = QuantizationSettings("w4a4", overrides={"a[0]": [8, 8]})
    made = QuantizedNetwork(network.eval(), lambda m: {"out": m(images)}, settings)
    assert {name: bits.as_list() for name, bits in made.bits.items()} == {"a[0]": [8, 8], "a0": [4, 4]}
    assert made.overridden == {"a[0]"}
