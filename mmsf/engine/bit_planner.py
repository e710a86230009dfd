"""The phase that decides which layers get more bits, by how far each moves the lanes."""

import torch

from mmsf.engine.progress import with_progress
from mmsf.errors import UserError, require_whole
from mmsf.quantization import Bits, QuantizedNetwork
from mmsf.sensitivity.budget import Budget, LayerCost, plan_bits, require_room
from mmsf.sensitivity.layers import layer_scores
from mmsf.sensitivity.scoring import DistortionScorer


class BitPlanner:
    """Bits for every layer, from Lane Distortion Scores of single layers, under a budget.

    Args:
        high: Bits of a layer that gets more, such as 'w8a8'; all others keep the uniform bits.
        budget: Such as 'mac_share=0.05', over the layers at the uniform bits; others, and those whose bits an override
            gives, are settled. See `mmsf.sensitivity.budget.Budget`.
        frames: Calibration frames that are scored, the first ones.

    Attributes:
        scores: Layer -> bits as a string ('4/4') -> mean Lane Distortion Score; filled by `plan`.
    """

    def __init__(self, high: str = "w8a8", budget: str = "mac_share=0.05", frames: int = 32) -> None:
        self.high = Bits.parse(high)
        if None in (self.high.weight, self.high.activation):
            raise UserError(f"BitPlanner: high={high!r} must be bits, such as 'w8a8'")
        require_whole("BitPlanner", "frames", frames, 1)
        self.budget = Budget.parse(budget)
        self.frames = frames
        self.scores: dict[str, dict[str, float]] = {}

    def check(self, uniform: Bits) -> None:
        """See that a layer at ``high`` has more bits than one at the uniform bits.

        Args:
            uniform: Bits of weights and activations of all other layers.

        Raises:
            UserError: It has not.
        """
        high, low = self.high.as_list(), uniform.as_list()
        if high == low or any(own is None or more < own for more, own in zip(high, low)):
            raise UserError(f"BitPlanner: high must be more than the uniform bits; got {high}, and {low} as uniform bits")

    def plan(self, loop, histograms: dict) -> dict[str, Bits]:
        """Score every layer at both bits, solve, and set the network's bits and ranges.

        Args:
            loop: The `PTQLoop`; its ranges are set at the uniform bits.
            histograms: What the activations were, by quantizer name.

        Returns:
            Layer or function call -> bits.
        """
        network = loop.model.quantized
        open_names, together = open_layers(network)
        costs = {name: layer_cost(network, name) for name in open_names}
        choices = (network.uniform_bits, self.high)
        require_room(costs, choices, self.budget)
        scores = {name: {} for name in open_names}
        for bits in choices:
            loop.set_bits(dict.fromkeys(open_names, bits), histograms)
            for name, score in self.score_layers(loop, open_names).items():
                scores[name][bits] = score
        plan = plan_bits(scores, costs, self.budget, together)
        loop.set_bits(plan, histograms)
        self.scores = {n: {"/".join(map(str, b.as_list())): s for b, s in own.items()} for n, own in scores.items()}
        more = [name for name, bits in plan.items() if bits == self.high]
        loop.runner.logger.info(f"bit plan: {len(more)} of {len(plan)} layers at {self.high.as_list()}: {', '.join(more)}")
        return plan

    def score_layers(self, loop, names: list[str]) -> dict[str, float]:
        """Mean Lane Distortion Score of each layer alone, at the network's present bits."""
        model, index = loop.model, list(range(min(self.frames, len(loop.frames))))
        batches = [loop.preprocess(batch)["inputs"] for batch in loop.frames.batches(index)]
        raws = [model.float_raw(images) for images in batches]
        target = model.adapter.split(_joined(raws))
        metas = [loop.frames.samples[i].metainfo for i in index]
        scorer = DistortionScorer(model.adapter, target, metas, loop.rule)

        def heads():
            with torch.no_grad():
                outputs = [model.quantized_raw(images, compared_to=raw) for images, raw in zip(batches, raws)]
            return model.adapter.split(_joined(outputs))

        return layer_scores(model.quantized, with_progress(names, len(names), "layers"), heads, scorer)


def open_layers(network: QuantizedNetwork) -> tuple[list[str], list[set[str]]]:
    """Layers and function calls whose bits a plan may decide, and which of them get theirs only together.

    They have the uniform bits, are named by no override, and share no range with one that is not among them.
    """
    settled = network.overridden | set(network.left_float)
    names = [name for name, bits in network.bits.items() if bits == network.uniform_bits and name not in settled]
    sharing = network.sharing()
    bound = {name for group in sharing if not group <= set(names) for name in group}
    free = [name for name in names if name not in bound]
    return free, [group for group in sharing if group <= set(free)]


def layer_cost(network: QuantizedNetwork, name: str) -> LayerCost:
    """What the bits of a layer or function call cost."""
    weights = 0 if name in network.call_names else network.network.get_submodule(name).weight.numel()
    return LayerCost(weights, network.multiply_accumulates[name])


def _joined(raws: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([raw[name].cpu() for raw in raws]) for name in raws[0]}
