"""The last part of net-wise tuning learns how the tuned weights are rounded."""

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor

from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.quantization import AdaRound
from mmsf.registry import HOOKS


class TunedRounding(AdaRound):
    """`AdaRound` that is soft while gradients are recorded only: what is measured in between are the hard weights."""

    def forward(self) -> Tensor:
        """The soft weight, or without gradients the hard one."""
        return super().forward() if torch.is_grad_enabled() else self.hard()


@HOOKS.register_module()
class RoundingHook(Hook):
    """In the last ``iterations``, the rounding of the weights is learned in place of the weights, with the same loss.

    Weights start between the neighbours on their grids, where straight-through tuning has left them; a regulariser, the mean
    over all weights of ``1 - |2 h - 1|^beta``, decides every one of them. In the end the weights are left on their grids,
    where rounding to nearest keeps them. Biases and learned scales go on as before.

    Args:
        iterations: Of the rounding, the last ones of tuning.
        rate: Learning rate of the roundings (Adam). From one value of the grid to the next a rounding moves by up to 4.8,
            and it moves by at most about rate times iterations.
        weight: Factor of the regulariser.
        warm_up: Share of these iterations without the regulariser.
        beta: The regulariser's exponent after that, and at the end; linear in between.

    Source:
        Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", 2020, where layers are tuned
        one by one.
    """

    def __init__(
        self,
        iterations: int,
        rate: float = 0.03,
        weight: float = 1.0,
        warm_up: float = 0.2,
        beta: tuple[float, float] = (20.0, 2.0),
    ) -> None:
        if iterations < 1 or not 0 <= warm_up < 1:
            raise UserError("RoundingHook: iterations must be at least 1 and warm_up in [0, 1)")
        self.iterations, self.rate, self.weight, self.warm_up, self.beta = iterations, rate, weight, warm_up, tuple(beta)
        self._roundings: list[TunedRounding] = []
        self._optimizer: torch.optim.Optimizer | None = None
        self._done = 0

    def before_train(self, runner) -> None:
        """Refuse several processes, whose roundings would drift apart."""
        if get_world_size() > 1:
            raise UserError("RoundingHook tunes in one process; start it without --launcher")

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Begin when it is time."""
        first = max(0, runner.train_loop.max_iters - self.iterations)
        if batch_idx >= first and not self._roundings:
            self._begin(runner)
        self._done = batch_idx - first

    def _begin(self, runner) -> None:
        model = self._model(runner)
        for _, quantizer, weight in model.quantized.quantized_weights():
            quantizer.rounding = TunedRounding(weight, quantizer)
            self._roundings.append(quantizer.rounding)
        self._optimizer = torch.optim.Adam([rounding.logits for rounding in self._roundings], self.rate)
        model.further_losses["loss_rounding"] = lambda images: self._undecided()
        runner.logger.info(f"the rounding of {len(self._roundings)} weights is tuned from here")

    def _undecided(self) -> Tensor:
        """The regulariser of the present iteration; 0 while it is off."""
        passed = self._done / self.iterations
        if passed < self.warm_up:
            return self._roundings[0].logits.new_zeros(())
        beta = self.beta[0] + (self.beta[1] - self.beta[0]) * (passed - self.warm_up) / (1 - self.warm_up)
        total = sum(rounding.logits.numel() for rounding in self._roundings)
        return self.weight * sum(rounding.undecided(beta) for rounding in self._roundings) / total

    def after_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None) -> None:
        """A step of the roundings; their gradients are those of the iteration."""
        if self._roundings:
            self._optimizer.step()
            self._optimizer.zero_grad()

    @torch.no_grad()
    def after_train_epoch(self, runner) -> None:
        """Leave the weights on their grids."""
        model = self._model(runner)
        for _, quantizer, weight in model.quantized.quantized_weights():
            if quantizer.rounding is not None:
                weight.copy_(quantizer.rounding.hard())
                quantizer.rounding = None
        model.further_losses.pop("loss_rounding", None)
        self._roundings, self._optimizer = [], None

    @staticmethod
    def _model(runner) -> QuantWrapper:
        return runner.model.module if is_model_wrapper(runner.model) else runner.model

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """The optimizer's state travels with the checkpoint; the roundings are part of the model's."""
        if self._optimizer is not None:
            checkpoint["rounding"] = self._optimizer.state_dict()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Make the roundings that the model's state asks for, which is loaded next."""
        if "rounding" in checkpoint:
            self._begin(runner)
            self._optimizer.load_state_dict(checkpoint["rounding"])
