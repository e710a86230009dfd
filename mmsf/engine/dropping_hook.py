"""QDrop's dropping inside net-wise tuning, annealed away before its end."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor

from mmsf.errors import UserError
from mmsf.quantization import QuantizedNetwork, RandomDropping
from mmsf.registry import HOOKS


class TuningDropping(RandomDropping):
    """Drops while gradients are recorded only: what is measured in between is the quantized model itself."""

    def __call__(self, quantized: Tensor, original: Tensor) -> Tensor:
        return super().__call__(quantized, original) if torch.is_grad_enabled() else quantized


@HOOKS.register_module()
class DroppingHook(Hook):
    """While tuning, leaves elements of every activation in float at random; towards the end all are quantized.

    Args:
        keep_probability: Probability that an element is quantized; QDrop's 0.5.
        anneal: Share of the iterations, the last ones, in which the probability rises to 1.

    Source:
        Wei et al., "QDrop", 2022. There units of the network are tuned one by one, and the probability stays.
    """

    def __init__(self, keep_probability: float = 0.5, anneal: float = 0.2) -> None:
        if not 0 < keep_probability <= 1 or not 0 <= anneal <= 1:
            raise UserError(
                f"DroppingHook: keep_probability must lie in (0, 1] and anneal in [0, 1]; got {keep_probability}, {anneal}"
            )
        self.keep_probability, self.anneal = keep_probability, anneal

    def probability(self, iteration: int, iterations: int) -> float:
        """The probability in an iteration of so many: linear within the last ones, and 1 in the very last."""
        left = (iterations - 1 - iteration) / max(1.0, self.anneal * iterations)
        return 1 - (1 - self.keep_probability) * min(1.0, left)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set the iteration's probability and random numbers, which depend on seed and iteration alone."""
        probability = self.probability(batch_idx, runner.train_loop.max_iters)
        dropping = None
        if probability < 1:
            generator = torch.Generator(runner.train_loop.model.head_weights.device)
            dropping = TuningDropping(probability, generator.manual_seed(runner.seed * 1_000_003 + batch_idx))
        self._drop(runner, dropping)

    def after_train_epoch(self, runner) -> None:
        """Drop no more."""
        self._drop(runner, None)

    @staticmethod
    def _drop(runner, dropping: TuningDropping | None) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        network: QuantizedNetwork = model.quantized
        for _, quantizer in network.activation_quantizers():
            quantizer.dropping = dropping
