"""An exported file as a model that MMEngine's runner evaluates."""

from mmengine.model import BaseModel
from torch import Tensor

from mmsf.deploy.runtime import open_runtime
from mmsf.engine.weights import require_detector
from mmsf.models.detectors.base import require_size, with_lanes
from mmsf.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class DeployedDetector(BaseModel):
    """Runs an exported file and decodes its raw outputs, as the detector that it was made from does.

    Args:
        file: What `tools/export.py` wrote; it says itself how images are prepared and outputs decoded.
        runtime: As `open_runtime`.
        threads: As `open_runtime`.
        detector: Class of the detector that the file has to be of; empty takes any.

    Raises:
        UserError: As `open_runtime`, or the file is of another detector.
    """

    def __init__(self, file: str, runtime: str | None = None, threads: int | None = None, detector: str = "") -> None:
        opened = open_runtime(file, runtime, threads)
        model = opened.description.model
        require_detector(detector, model, file)
        inner = model.get("detector", model)
        whole = inner.get("detector", inner)  # another project's stands inside an AdaptedDetector
        super().__init__(data_preprocessor=whole.get("data_preprocessor"))
        self.runtime = opened
        self.input_size = tuple(model["input_size"])
        self.adapter = TASK_UTILS.build(model.get("adapter") or inner["adapter"])

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        """Run the file.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: B samples; "predict" needs ``ori_shape``.
            mode: "tensor" gives raw outputs, "predict" the samples with ``pred_instances``.

        Raises:
            UserError: The images have another size than those that the file is for.
        """
        require_size(inputs, self.input_size)
        raw = self.runtime(inputs)
        if mode == "tensor":
            return raw
        if mode == "predict":
            return with_lanes(self.adapter, raw, data_samples)
        raise ValueError(f"mode {mode!r} is none of tensor, predict")
