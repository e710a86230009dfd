"""The loop of quantization-aware training with labels: LSQ+."""

import torch
from mmengine.dist import get_rank
from torch.utils.data import DataLoader

from mmsf.engine.labelled import LabelledFrames, seed_of
from mmsf.engine.loop import PTQLoop
from mmsf.errors import UserError
from mmsf.registry import LOOPS


@LOOPS.register_module()
class QATLoop(PTQLoop):
    """`PTQLoop` whose tuning trains on labelled frames, with the detector's own loss through the quantized network.

    Ranges come from the calibration frames, as in `PTQLoop`. Then the float config's training split, with its
    augmentations, gives the batches, and `QuantWrapper` with ``loss=None`` the loss. Batch norms stay folded, those that
    cannot be folded keep their statistics, and dropout is off. What an iteration sees depends on the seed and its number
    alone, so that a resumed run goes on at once and ends with the same bits. Heads are not measured: the labels, not the
    float model, are the target.

    Args:
        runner: The runner.
        dataloader: Calibration frames, images only.
        weight_range: As `PTQLoop`.
        activation_range: As `PTQLoop`.
        labelled_dataloader: The float config's ``train_dataloader``.
        float_schedule: ``max_iters`` or ``max_epochs`` of the float training.
        schedule_share: Iterations as a share of the float schedule's.
        max_iters: Iterations; None takes the share.
        cost_samples: As `PTQLoop`.
        memory_mb: As `PTQLoop`.

    Raises:
        UserError: The labelled frames are missing, without labels or among those that evaluate; or nothing says how long
            to train.

    Source:
        Bhalgat et al., "LSQ+: Improving low-bit quantization through learnable offsets and better initialization", 2020;
        the learned parts are the quantizers', see `QuantizationSettings`.
    """

    def __init__(
        self,
        runner,
        dataloader: DataLoader | dict,
        weight_range: dict,
        activation_range: dict,
        labelled_dataloader: dict | None = None,
        float_schedule: dict | None = None,
        schedule_share: float = 1.0,
        max_iters: int | None = None,
        cost_samples: int = 5,
        memory_mb: float = 4096,
    ) -> None:
        if labelled_dataloader is None:
            raise UserError("QATLoop trains with labels; give train_cfg.labelled_dataloader, as --preset does")
        self.labelled = LabelledFrames(labelled_dataloader)
        if max_iters is None:
            max_iters = share_of_schedule(float_schedule or {}, schedule_share, self.labelled.iterations_of_an_epoch)
        if max_iters < 1:
            raise UserError(f"max_iters must be at least 1 to train; got {max_iters}")
        further = dict(cost_samples=cost_samples, memory_mb=memory_mb)
        super().__init__(runner, dataloader, max_iters, weight_range, activation_range, **further)
        if self.model.loss_function is not None:
            raise UserError("QATLoop trains with the detector's own loss; set model.loss=None")

    @property
    def batch_size(self) -> int:
        """Labelled frames of an iteration."""
        return self.labelled.batch_size

    @property
    def frame_counts(self) -> dict[str, int]:
        """As `PTQLoop`, and the training split."""
        return {**super().frame_counts, "labelled": len(self.labelled)}

    def run(self):
        """The recipe."""
        if self.runner.val_loop is not None:
            self.labelled.refuse(self.runner.val_loop.dataloader.dataset)
        return super().run()

    def tune_from_ranges(self) -> None:
        """Training of the calibrated model."""
        self.tune()

    def tune(self) -> None:
        """Iterations of the optimizer, through the Runner's hooks."""
        with self.timed("tuning"):
            self.runner.call_hook("before_train_epoch")
            for batch in self.labelled.batches(self._iter, self._max_iters, self.runner.seed):
                # Losses draw too, in this process, which loads frames with no workers only.
                torch.manual_seed(seed_of(self.runner.seed, self._iter, get_rank()))
                self.run_iter(batch)
            self.runner.call_hook("after_train_epoch")


def share_of_schedule(schedule: dict, share: float, iterations_of_an_epoch: int) -> int:
    """Iterations of a share of a float schedule, at least one.

    Args:
        schedule: ``max_iters``, or ``max_epochs``.
        share: The share.
        iterations_of_an_epoch: Of the labelled frames.

    Raises:
        UserError: The schedule has neither, or the share is not positive.
    """
    if share <= 0:
        raise UserError(f"schedule_share must be positive; got {share}")
    if schedule.get("max_iters") is not None:
        return max(1, round(share * schedule["max_iters"]))
    if schedule.get("max_epochs") is not None:
        return max(1, round(share * schedule["max_epochs"] * iterations_of_an_epoch))
    raise UserError("the float config does not say how long it trains; give train_cfg.max_iters")
