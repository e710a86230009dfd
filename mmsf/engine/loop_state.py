"""A loop's own state inside checkpoints."""

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop


class LoopState(Hook):
    """Sends what a loop's ``state_dict`` gives through checkpoints, and back to its ``load_state_dict``.

    Args:
        loop: The loop.
    """

    def __init__(self, loop: BaseLoop) -> None:
        self.loop = loop

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the state."""
        checkpoint["ptq"] = self.loop.state_dict()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take it up again, where there is one."""
        if "ptq" in checkpoint:
            self.loop.load_state_dict(checkpoint["ptq"])
