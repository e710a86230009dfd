"""Another project's detector, with its own classes, seen as one of mmsf's."""

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsf.errors import UserError
from mmsf.models.detectors.base import with_lanes
from mmsf.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class AdaptedDetector(BaseModel):
    """A detector of another project; its adapter runs it and decodes what it gives.

    Args:
        detector: Config of the detector.
        adapter: Config of the adapter.
    """

    def __init__(self, detector: dict, adapter: dict) -> None:
        super().__init__()
        self.detector = MODELS.build(detector)
        self.data_preprocessor = self.detector.data_preprocessor
        self.adapter = TASK_UTILS.build(adapter)
        _detach_buffers(self.detector)

    def init_weights(self) -> None:
        """Nothing: the weights come from a file."""

    def foreground(self, *_) -> dict[str, Tensor]:
        """Where labelled lanes are: no rule of another project's is known.

        Raises:
            UserError: Always.
        """
        raise UserError("label_focus is for mmsf's own detectors; of others, it is not known which outputs belong to a lane")

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor", **places: Tensor):
        """Run the detector.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: B samples of the detector's own class; needed by the modes "predict" and "loss".
            mode: "tensor", "predict" or "loss"; the last one is the detector's own.
            **places: For "tensor": see `Adapter.places`.

        Returns:
            Raw outputs, what the detector's own metric takes, or losses.

        Raises:
            ValueError: For another mode.
        """
        if mode == "loss":
            return self.detector(inputs, data_samples, mode="loss")
        if mode not in ("tensor", "predict"):
            raise ValueError(f"mode {mode!r} is none of tensor, predict, loss")
        raw = self.adapter.run(self.detector, inputs, **places)
        return raw if mode == "tensor" else with_lanes(self.adapter, raw, data_samples)


def _detach_buffers(network: nn.Module) -> None:
    """Cut buffers that were computed from parameters off from these (CLRHead's priors): PyTorch copies no others."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.requires_grad:
                module._buffers[name] = buffer.detach()
