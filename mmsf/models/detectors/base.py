"""The frame of every lane detector."""

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.registry import MODELS, TASK_UTILS


class LaneDetector(BaseModel):
    """A detector whose adapter decodes its raw outputs.

    Args:
        adapter: Config of the adapter (see `mmsf.adapters`).
        loss: Config of the loss; None for a detector that is not trained.
        data_preprocessor: Config of the preprocessor, which normalises the images.
        init_cfg: Config of MMEngine's weight initialisation.
        bfloat16_backbone: Run the backbone in bfloat16 in training, which is twice as fast on processors with units for it.
    """

    def __init__(
        self,
        adapter: dict,
        loss: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        bfloat16_backbone: bool = False,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.bfloat16_backbone = bfloat16_backbone
        self.adapter = TASK_UTILS.build(adapter)
        self.loss_function = None if loss is None else MODELS.build(loss)

    @abstractmethod
    def raw_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs of normalised images (B, 3, H, W), without what serves training only.

        A detector whose adapter names ``places`` takes these as further arguments.
        """

    def run_backbone(self, images: Tensor) -> Sequence[Tensor]:
        """The backbone's outputs of normalised images (B, 3, H, W), in float32."""
        if not (self.training and self.bfloat16_backbone):
            return self.backbone(images)
        with torch.autocast(images.device.type, torch.bfloat16):
            levels = self.backbone(images.contiguous(memory_format=torch.channels_last))
        return [level.float() for level in levels]

    def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
        """What the loss compares with the labels: the raw outputs, and in some detectors more."""
        return self.raw_outputs(images)

    def loss(self, images: Tensor, data_samples: list[DetDataSample]) -> dict[str, Tensor]:
        """Named losses of normalised images (B, 3, H, W) whose lanes are in ``gt_instances.input_lines``.

        Raises:
            UserError: The config has no loss.
        """
        if self.loss_function is None:
            raise UserError(f"{type(self).__name__} has no loss; set model.loss to train it")
        raw = {name: output.float() for name, output in self.training_outputs(images).items()}
        lines = [sample.gt_instances.input_lines for sample in data_samples]
        with torch.autocast(images.device.type, enabled=False):
            return self.loss_function(raw, lines, tuple(images.shape[-2:]))

    @torch.no_grad()
    def foreground(
        self, raw: dict[str, Tensor], data_samples: list[DetDataSample], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Where labelled lanes are, in the places of the raw outputs.

        Args:
            raw: Raw outputs of B images.
            data_samples: B samples whose lanes are in ``gt_instances.input_lines``.
            size: Height and width of the network's input, pixels.

        Returns:
            Name of a confidence of the adapter -> 1 where a lane is, else 0, in its shape.

        Raises:
            UserError: The config has no loss, whose rule it is.
        """
        if self.loss_function is None:
            raise UserError(f"{type(self).__name__} has no loss; set model.loss, which says where labelled lanes are")
        return self.loss_function.foreground(raw, [sample.gt_instances.input_lines for sample in data_samples], size)

    def predict(self, images: Tensor, data_samples: list[DetDataSample]) -> list[DetDataSample]:
        """Write the lanes of normalised images into ``pred_instances.lines`` and ``.scores`` of the samples.

        Args:
            images: (B, 3, H, W), normalised.
            data_samples: B samples with ``ori_shape``.

        Returns:
            The samples.

        Raises:
            UserError: Images of several sizes were padded to one; lanes are scaled from the network's input as a whole.
        """
        size = tuple(images.shape[-2:])
        for sample in data_samples:
            own = tuple(sample.metainfo.get("img_shape", size)[:2])
            if own != size:
                raise UserError(
                    f"an image of {own} was padded to {size} in its batch; give LoadImage a scale, or batches of one image"
                )
        return with_lanes(self.adapter, self.raw_outputs(images), data_samples)

    def forward(
        self, inputs: Tensor, data_samples: list[DetDataSample] | None = None, mode: str = "tensor", **places: Tensor
    ) -> dict[str, Tensor] | list[DetDataSample]:
        """Run the detector.

        Args:
            inputs: (B, 3, H, W), normalised.
            data_samples: B samples; needed by the modes "predict" and "loss".
            mode: "tensor", "predict" or "loss".
            **places: For "tensor": the raw outputs of another model that its adapter names as ``places``.

        Returns:
            Raw outputs, samples with lanes, or losses.

        Raises:
            ValueError: For another mode.
        """
        if mode == "tensor":
            return self.raw_outputs(inputs, **places)
        if mode == "predict":
            return self.predict(inputs, data_samples)
        if mode == "loss":
            return self.loss(inputs, data_samples)
        raise ValueError(f"mode {mode!r} is none of tensor, predict, loss")


def require_size(images: Tensor, size: tuple[int, int]) -> None:
    """See that images (B, 3, H, W) have the height and width that a quantized model is for.

    Raises:
        UserError: They have not.
    """
    if tuple(images.shape[-2:]) != size:
        given, own = (" x ".join(map(str, pair)) for pair in (images.shape[-2:], size))
        raise UserError(f"the config gives images of {given} pixels, but the model was quantized for {own}")


def with_lanes(adapter, raw: dict[str, Tensor], data_samples: list) -> list:
    """Decode raw outputs into ``pred_instances`` of the samples, in place.

    Args:
        adapter: The detector's adapter.
        raw: Raw outputs of B images.
        data_samples: B samples.

    Returns:
        What the family's metric takes: the samples, if it is one of mmsf's.
    """
    adapter.complete(data_samples)
    lanes = adapter.decode(adapter.split(raw), [sample.metainfo for sample in data_samples])
    for sample, found in zip(data_samples, lanes):
        sample.pred_instances = as_instances(found)
    return adapter.own_form(data_samples)


def as_instances(lanes: list[Lane]) -> InstanceData:
    """Lanes of one image as ``pred_instances``: ``lines``, a list of (P, 2) arrays, and ``scores`` (N,)."""
    scores = np.array([lane.score for lane in lanes], np.float64)
    return InstanceData(lines=[lane.points for lane in lanes], scores=scores)
