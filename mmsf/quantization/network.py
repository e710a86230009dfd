"""A float network's quantized copy."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.quantization.attention import decompose_attention
from mmsf.quantization.channel_bits import ChannelBitsQuantizer
from mmsf.quantization.dither import DitheredQuantizer
from mmsf.quantization.folding import fold_batch_norms, replace_everywhere
from mmsf.quantization.follow import Followed, FollowedCall, follow, layers_of
from mmsf.quantization.functions import ModuleStack, QuantizedCall, QuantizedFunctions
from mmsf.quantization.histogram import GrowingHistogram
from mmsf.quantization.layers import QuantizedLayer, input_channels, output_channel_axis
from mmsf.quantization.plan import FLOAT, Bits, bit_plan, named_by
from mmsf.quantization.profiles import profile_named
from mmsf.quantization.quantizer import Quantizer, QuantizerSettings, switched_off
from mmsf.quantization.ranges import RangeEstimator
from mmsf.quantization.settings import QuantizationSettings
from mmsf.quantization.sharing import shared_reads


class QuantizedNetwork(nn.Module):
    """The copy, its layers swapped for quantized ones; the network given is never changed.

    Args:
        network: The float network, in eval mode.
        run: ``run(network)`` runs a network once on an example and returns its raw outputs; it shows what runs.
        settings: How to quantize.

    Attributes:
        network: The copy. Call it through `running`.
        calls: Quantizers of function calls, by number; ``call_names`` says which is which.
        bits: Layer or call -> its bits.
        left_float: Module -> why it stays in float. What never runs in a prediction is not tuned either.
        multiply_accumulates: Layer or call -> multiply-accumulates of the example run.

    Raises:
        UserError: An override names no layer, or no layer runs.
    """

    def __init__(self, network: nn.Module, run: Callable[[nn.Module], object], settings: QuantizationSettings) -> None:
        super().__init__()
        self.settings = settings
        self.profile = profile_named(settings.profile)
        self.network = copy.deepcopy(network).eval()
        decompose_attention(self.network)
        followed = follow(self.network, lambda: run(self.network))
        if not followed.order:
            raise UserError("no layer with a weight runs in this network")
        self._untie(followed.order)
        self.left_float: dict[str, str] = {}
        unfolded = fold_batch_norms(self.network, followed.folding)
        self.left_float.update(dict.fromkeys(unfolded, "batch norm that cannot be folded"))
        wanted = {n: c for n, c in followed.calls.items() if self._wants(n, c.from_layers, followed.last_calls)}
        plan = bit_plan(settings.bits, settings.scheme, followed.order, followed.last, list(wanted), settings.overrides)
        self.bits = plan
        self.multiply_accumulates = {n: followed.multiply_accumulates[n] for n in followed.order}
        self.multiply_accumulates.update({n: c.multiply_accumulates for n, c in wanted.items()})
        groups = shared_reads(followed, set(wanted)) if self.profile.shared_ranges else {}
        self._shared: dict[tuple[int, int], Quantizer] = {}
        self._swap_layers(followed, groups)
        self._report_the_rest(followed)
        self.call_names = list(wanted)
        self.calls = nn.ModuleList(self._call(n, c, groups) for n, c in wanted.items())
        del self._shared
        self._functions = self._watch_calls(followed) if self.calls else None

    def _wants(self, name: str, from_layers: list[bool], last: set[str]) -> bool:
        kind = name.rpartition(":")[2].rstrip("0123456789")
        # A sum with a constant (a position embedding) needs no quantizers of its own, and raw outputs stay float.
        return kind in self.profile.calls and (kind == "matmul" or (sum(from_layers) > 1 and name not in last))

    def _untie(self, names: list[str]) -> None:
        """Give every layer parameters of its own: folding and tuning one must not change another that was tied to it."""
        for layer in map(self.network.get_submodule, names):
            for key, parameter in list(layer.named_parameters(recurse=False)):
                setattr(layer, key, nn.Parameter(parameter.detach().clone(), parameter.requires_grad))

    def _swap_layers(self, followed: Followed, groups: dict[str, int]) -> None:
        for name in followed.order:
            bits, layer = self.bits[name], self.network.get_submodule(name)
            if bits == Bits(None, None):
                self.left_float[name] = "left in float by the bit plan"
                continue
            weight = activation = None
            if bits.weight is not None:
                axis = output_channel_axis(layer)
                chosen = self.profile.weight_settings(bits.weight, axis, self.settings.learn_weight_scale)
                weight = Quantizer(chosen, layer.weight.shape[axis])
            if bits.activation is not None:
                activation = self._input_quantizer(name, layer, bits.activation, followed, groups)
            replace_everywhere(self.network, layer, QuantizedLayer(layer, weight, activation, self.profile.integer_bias))

    def _call(self, name: str, call: FollowedCall, groups: dict[str, int]) -> QuantizedCall:
        bits = self.bits[name].activation
        left = set(range(call.operands)) if bits is None else set()
        if self.profile.fused_addend and ":add" in name and True in call.straight:
            left.add(call.straight.index(True))
        return QuantizedCall(
            [None if n in left else self._activation(bits, groups.get(f"{name}.{n}")) for n in range(call.operands)]
        )

    def _input_quantizer(
        self, name: str, layer: nn.Module, bits: int, followed: Followed, groups: dict[str, int]
    ) -> Quantizer:
        group, settings = groups.get(name), self._activation_settings(bits)
        if self.settings.activation_channel_bits:
            axis, channels = input_channels(layer)
            return ChannelBitsQuantizer(replace(settings, per_channel=True, channel_axis=axis), channels)
        reads_images = name in followed.first and isinstance(layer, nn.Conv2d)
        alone = group is None or list(groups.values()).count(group) == 1
        if self.settings.dither_images and reads_images and alone:
            return DitheredQuantizer(settings, layer)
        return self._activation(bits, group)

    def _activation(self, bits: int, group: int | None) -> Quantizer:
        """A quantizer of its own, or where the reader is in a group, the group's."""
        if (group, bits) in self._shared:
            return self._shared[group, bits]
        quantizer = Quantizer(self._activation_settings(bits))
        if group is not None:
            self._shared[group, bits] = quantizer
        return quantizer

    def _activation_settings(self, bits: int) -> QuantizerSettings:
        return self.profile.activation_settings(bits, self.settings.learn_activation_scale, self.settings.learn_offset)

    def _report_the_rest(self, followed: Followed) -> None:
        swapped = [name for name, _ in self.layer_quantizers()]
        for parameter in self.network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        for name in sorted(followed.idle):
            self.left_float[name] = "never runs in a prediction"
            self.network.get_submodule(name).requires_grad_(False)
        for name, module in self.network.named_modules():
            inside = any(name == s or name.startswith(s + ".") for s in swapped)
            own = any(True for _ in module.parameters(recurse=False))
            if own and not inside and name not in self.left_float:
                self.left_float[name] = f"{type(module).__name__} stays in float"

    def _watch_calls(self, followed: Followed) -> QuantizedFunctions:
        # Also of calls that are not quantized: they must not count for the module around.
        owners = {name.rpartition(":")[0] for name in followed.calls}
        named = {self.network.get_submodule(owner): owner for owner in owners}
        # As `follow` saw them: what is inside a layer, one left in float too, does not count for the module around.
        opaque = {layer for _, layer in self.layer_quantizers()} | set(layers_of(self.network).values())
        stack = ModuleStack(named, opaque)
        stack.attach()
        quantizers = dict(zip(self.call_names, self.calls))
        kinds = {name.rpartition(":")[2].rstrip("0123456789") for name in self.call_names}
        return QuantizedFunctions(stack, quantizers, kinds)

    @property
    def uniform_bits(self) -> Bits:
        """The bits that hold where no exception does."""
        return Bits.parse(self.settings.bits)

    @property
    def overridden(self) -> set[str]:
        """Layers and function calls whose bits an override gives, be they the uniform ones."""
        return {name for pattern in self.settings.overrides or () for name in named_by(pattern, self.bits)}

    @property
    def mean_channel_bits(self) -> float | None:
        """Mean bits of all input channels of all layers; None where a layer's input has one grid."""
        found = [q.channel_bits for _, q in self.activation_quantizers() if isinstance(q, ChannelBitsQuantizer)]
        return torch.cat(found).mean().item() if found else None

    @property
    def not_deployable(self) -> str | None:
        """What no runtime can do in this network, if there is anything; bits that no kernel has are not meant."""
        return None if self.mean_channel_bits is None else "per-channel activation bits"

    def running(self) -> "QuantizedFunctions | nullcontext":
        """The context in which ``network`` must be called: function calls are quantized inside it."""
        return self._functions or nullcontext()

    def layer_quantizers(self) -> Iterator[tuple[str, QuantizedLayer]]:
        """Every quantized layer with its name in the float network."""
        for name, module in self.network.named_modules():
            if isinstance(module, QuantizedLayer):
                yield name, module

    def activation_quantizers(self) -> Iterator[tuple[str, Quantizer]]:
        """Every activation quantizer: layer inputs as ``<layer>``, operands of calls as ``<call>.<number>``.

        One that several share goes by the name of the first.
        """
        named: dict[Quantizer, str] = {}
        for name, quantizer in self._activation_places():
            named.setdefault(quantizer, name)
        for quantizer, name in named.items():
            yield name, quantizer

    def _activation_places(self) -> Iterator[tuple[str, Quantizer]]:
        for name, layer in self.layer_quantizers():
            if layer.input_quantizer is not None:
                yield name, layer.input_quantizer
        for name, call in zip(self.call_names, self.calls):
            for number, quantizer in enumerate(call.operands):
                if isinstance(quantizer, Quantizer):
                    yield f"{name}.{number}", quantizer

    @contextmanager
    def observing(self) -> Iterator[dict[str, GrowingHistogram]]:
        """While the block runs, the network runs in float and its activations are counted, by quantizer name."""
        histograms = {}
        quantizers = dict(self.activation_quantizers())
        for name, quantizer in quantizers.items():
            quantizer.observer = histograms[name] = quantizer.new_observer(name)
        try:
            with switched_off(quantizer for _, quantizer, _ in self.quantized_weights()):
                yield histograms
        finally:
            for quantizer in quantizers.values():
                quantizer.observer = None

    @contextmanager
    def in_float(self, weights: dict[str, Tensor]) -> Iterator[None]:
        """While the block runs, the network runs in float.

        Args:
            weights: Layer -> the weight it has in float, in place of the present one.
        """
        quantized = list(self.quantized_weights())
        present = {name: weight.data for name, _, weight in quantized}
        try:
            for name, _, weight in quantized:
                weight.data = weights[name]
            with self.switched_off():
                yield
        finally:
            for name, _, weight in quantized:
                weight.data = present[name]

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """While the block runs, the network runs with its present weights and nothing is quantized."""
        weights = [quantizer for _, quantizer, _ in self.quantized_weights()]
        with switched_off([*weights, *(quantizer for _, quantizer in self.activation_quantizers())]):
            yield

    def quantizers_of(self, name: str) -> list[Quantizer]:
        """The quantizers of a layer, weight first, or of a function call's operands."""
        if name in self.call_names:
            found = self.calls[self.call_names.index(name)].operands
        else:
            layer = self.network.get_submodule(name)
            found = [layer.weight_quantizer, layer.input_quantizer] if isinstance(layer, QuantizedLayer) else []
        return [quantizer for quantizer in found if isinstance(quantizer, Quantizer)]

    def sharing(self) -> list[set[str]]:
        """Sets of two or more layers and function calls that share quantizers, and so must have the same bits."""
        groups: list[tuple[set[str], set[Quantizer]]] = []
        for name in self.bits:
            names, held = {name}, set(self.quantizers_of(name))
            for group in [group for group in groups if group[1] & held]:
                groups.remove(group)
                names, held = names | group[0], held | group[1]
            groups.append((names, held))
        return [names for names, _ in groups if len(names) > 1]

    @contextmanager
    def only(self, name: str) -> Iterator[None]:
        """While the block runs, this layer or function call alone is quantized."""
        kept = set(self.quantizers_of(name))
        with switched_off(q for n in self.bits for q in self.quantizers_of(n) if q not in kept):
            yield

    def set_bits(self, plan: dict[str, Bits]) -> None:
        """Change the bits of layers that are quantized already; their ranges must be set anew.

        Args:
            plan: Layer or function call -> bits.

        Raises:
            UserError: A layer that is not there, one that would become float or stop being it, or other activation bits for
                one of several that share a range.
        """
        for name, bits in plan.items():
            if name not in self.bits:
                raise UserError(f"the bit plan names {name!r}, but no layer has that name")
            if [b is None for b in (bits.weight, bits.activation)] != [
                b is None for b in (self.bits[name].weight, self.bits[name].activation)
            ]:
                raise UserError(f"the bit plan cannot put {name} into float, or out of it, once the network is built")
            quantizers = self.quantizers_of(name)
            is_layer = name not in self.call_names and bits.weight is not None
            for number, quantizer in enumerate(quantizers):
                own = bits.weight if is_layer and number == 0 else bits.activation
                quantizer.settings = quantizer.settings.with_bits(own)
            self.bits[name] = bits
        for name, bits in self.bits.items():
            activations = self.quantizers_of(name)[name not in self.call_names and bits.weight is not None :]
            if any(quantizer.settings.bits != bits.activation for quantizer in activations):
                raise UserError(
                    f"{name} shares an activation's range with others in the profile {self.profile.name!r}; the bit plan "
                    "must give all of them the same activation bits"
                )

    def set_ranges(
        self, histograms: dict[str, GrowingHistogram], weight_range: RangeEstimator, activation_range: RangeEstimator
    ) -> None:
        """Set every range: weights from themselves, activations from what `observing` has counted."""
        for _, quantizer, weight in self.quantized_weights():
            weight_range.set_weight_range(quantizer, weight)
        self.set_activation_ranges(histograms, activation_range)

    def set_activation_ranges(self, histograms: dict[str, GrowingHistogram], activation_range: RangeEstimator) -> None:
        """Set the ranges of activations, and see that integer biases fit them.

        Raises:
            UserError: An activation had no values.
        """
        for name, quantizer in self.activation_quantizers():
            if histograms[name].empty:
                raise UserError(f"the activation at {name!r} is empty in every calibration frame; give frames that reach it")
            activation_range.set_activation_range(quantizer, histograms[name])
        for _, layer in self.layer_quantizers():
            layer.make_room_for_bias()

    def settle(self) -> None:
        """Set learned scales and zero points to the values they act with, see `Quantizer.settle`."""
        for _, quantizer, _ in self.quantized_weights():
            quantizer.settle()
        for _, quantizer in self.activation_quantizers():
            quantizer.settle()

    def share_by_bits(self) -> dict[str, float]:
        """Share of the multiply-accumulates by 'weight bits/activation bits'; a product of activations counts them twice."""
        total = sum(self.multiply_accumulates.values())
        shares: Counter = Counter()
        for name, macs in self.multiply_accumulates.items():
            bits = self.bits[name]
            pair = (bits.activation, bits.activation) if name in self.call_names else (bits.weight, bits.activation)
            shares["/".join(FLOAT if b is None else str(b) for b in pair)] += macs / total
        return dict(shares)

    def quantized_weights(self) -> Iterator[tuple[str, Quantizer, nn.Parameter]]:
        """Name, quantizer and weight of every layer whose weight is quantized."""
        for name, layer in self.layer_quantizers():
            if layer.weight_quantizer is not None:
                yield name, layer.weight_quantizer, layer.layer.weight
