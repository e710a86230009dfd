"""A hint from the float network's features in the first half of tuning."""

from functools import partial

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor

from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.reconstruction import FeatureHint
from mmsf.registry import HOOKS


@HOOKS.register_module()
class HintHook(Hook):
    """Adds the error of the neck's features to the loss, its weight falling evenly to 0.

    While the weight is not 0, every iteration also runs the float network.

    Args:
        weight: Weight of the error in the first iteration; an error of 1 is one as large as the features.
        until: Share of the iterations after which it is 0.
        module: The module whose outputs are the features; None for the detector's own choice, its ``feature_module``.
    """

    def __init__(self, weight: float = 1.0, until: float = 0.5, module: str | None = None) -> None:
        if not weight > 0 or not 0 < until <= 1:
            raise UserError(f"HintHook: weight must be positive and until in (0, 1]; got {weight}, {until}")
        self.weight, self.until, self.module = weight, until, module
        self._hint: FeatureHint | None = None

    def weight_at(self, iteration: int, iterations: int) -> float:
        """The weight in an iteration of so many."""
        return self.weight * max(0.0, 1 - iteration / (self.until * iterations))

    def before_train(self, runner) -> None:
        """Refuse a module that the detector does not have, before any work is done."""
        detector = self._model(runner).float_detector
        name = self.module or getattr(detector, "feature_module", None)
        if name not in dict(detector.named_modules()):
            raise UserError(f"HintHook: the detector has no module {name!r}; set module to the one with the neck's features")
        self.module = name

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """The loss of the iteration."""
        model = self._model(runner)
        weight = self.weight_at(batch_idx, runner.train_loop.max_iters)
        if weight == 0:
            self._end(model)
            return
        if self._hint is None:
            self._hint = FeatureHint(model.float_detector, model.quantized.network, self.module)
        model.further_losses["loss_hint"] = partial(self._loss, model, weight)

    def _loss(self, model: QuantWrapper, weight: float, images: Tensor) -> Tensor:
        """The quantized network has just run on the images."""
        model.float_raw(images)
        return weight * self._hint.error()

    def after_train_epoch(self, runner) -> None:
        """The end, if the weight has not been 0 before."""
        self._end(self._model(runner))

    def _end(self, model: QuantWrapper) -> None:
        model.further_losses.pop("loss_hint", None)
        if self._hint is not None:
            self._hint.close()
            self._hint = None

    @staticmethod
    def _model(runner) -> QuantWrapper:
        return runner.model.module if is_model_wrapper(runner.model) else runner.model
