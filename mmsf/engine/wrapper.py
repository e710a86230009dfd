"""The model that MMEngine's runner tunes: a float detector and its quantized copy."""

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsf.adapters.base import Adapter, HeadOutputs
from mmsf.adapters.errors import head_errors
from mmsf.adapters.finite import require_finite
from mmsf.adapters.labels import MASK, LabelFocusAdapter
from mmsf.errors import UserError, make
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.models.detectors.base import require_size, with_lanes
from mmsf.quantization import QuantizationSettings, QuantizedNetwork
from mmsf.reconstruction import DecodedLaneLoss
from mmsf.registry import MODELS, TASK_UTILS


@MODELS.register_module()
class QuantWrapper(BaseModel):
    """A detector, quantized, that is tuned towards its float original.

    Everything that an optimizer may hold exists in its final shape after ``__init__``: MMEngine builds the optimizer
    before it loads anything. Ranges are filled later, by the loop.

    Args:
        detector: Config of the float detector.
        input_size: (height, width) of the network's input in pixels; one run at this size shows which layers run.
        quantizer: Arguments of `QuantizationSettings`: bits, scheme, profile, ...
        loss: Config of the objective. None trains with the detector's own loss on labelled frames.
        float_checkpoint: The float weights, any file that `load_float_checkpoint` takes. None rebuilds the structure only,
            for weights that are loaded afterwards (``quantized.pth``).
        adapter: Config of the adapter; None takes the detector's own.
        label_focus: Gate the semantic loss with masks from labels (Eq. 3) in place of the float model's confidence (Eq. 5).
            A reference only: it needs labelled calibration frames, which quantization otherwise does without.
        trust_checkpoint: Read the float weights even where that runs code of the file's maker.

    Attributes:
        input_size: As given.
        quantized: The quantized copy.
        float_detector: The float original; not part of ``state_dict()`` or ``parameters()``.
        head_weights: (semantic heads,) the selection, a buffer.
        kept_outputs: Raw float outputs of the calibration frames by name, (N, ...), as `Adapter.packed` has them; looked up
            by a sample's ``calibration_index``. None computes them when they are needed.
        present_errors: Head -> error of its semantics in the last "loss" batch, (B, ...).
        predicts_in_float: While True, predictions are the float detector's.

    Raises:
        UserError: The checkpoint, the bits or a layer name is wrong.
    """

    def __init__(
        self,
        detector: dict,
        input_size: tuple[int, int],
        quantizer: dict,
        loss: dict | None,
        float_checkpoint: str | None = None,
        adapter: dict | None = None,
        label_focus: bool = False,
        trust_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        original = self._built(detector).eval()
        if float_checkpoint is not None:
            load_float_checkpoint(original, float_checkpoint, trust_checkpoint)
        original.requires_grad_(False)
        # Past nn.Module's bookkeeping: the original is neither saved nor optimized.
        self.__dict__["float_detector"] = original
        self.data_preprocessor = original.data_preprocessor
        self.adapter: Adapter = self._adapter_of(original, adapter)
        self.adapter.bind(original, tuple(input_size))
        self.label_focus = label_focus
        if label_focus:
            if self.adapter.predicts_itself:
                raise UserError(
                    "label_focus needs a detector of mmsf: which of the heads' places are lanes is its loss's rule"
                )
            self.adapter = LabelFocusAdapter(self.adapter)
        self.input_size = tuple(input_size)
        example = torch.zeros(1, 3, *input_size)
        settings = make(QuantizationSettings, quantizer, "model.quantizer")
        self.quantized = QuantizedNetwork(
            original, lambda network: self.adapter.by_name(network(example, mode="tensor")), settings
        )
        # The copy has a preprocessor of its own; one is enough.
        self.quantized.network.data_preprocessor = nn.Identity()
        self.loss_function = None if loss is None else MODELS.build(loss)
        if isinstance(self.loss_function, DecodedLaneLoss) and not self.adapter.has_points:
            print_log(
                f"{type(self.adapter).__name__} cannot differentiate lanes: Eq. 6 takes DecodedLaneLoss's place", "current"
            )
        self.register_buffer("head_weights", torch.ones(len(self.adapter.semantic_heads)))
        self.kept_outputs: dict[str, Tensor] | None = None
        self.present_errors: dict[str, Tensor] = {}
        self.predicts_in_float = False

    @staticmethod
    def _built(detector: dict) -> BaseModel:
        try:
            return MODELS.build(detector)
        except KeyError as error:
            if "registry" not in str(error):
                raise
            raise UserError(
                f"{detector['type']} is not registered; name the module that it is in in custom_imports"
            ) from error

    @staticmethod
    def _adapter_of(detector: BaseModel, settings: dict | None) -> Adapter:
        if settings is None and not isinstance(getattr(detector, "adapter", None), Adapter):
            raise UserError(
                f"mmsf knows no heads of {type(detector).__name__}; set adapter=dict(type='mmsf.ConfiguredAdapter', "
                "...) in the config, see docs/quantize_your_own_detector.md"
            )
        try:
            return detector.adapter if settings is None else TASK_UTILS.build(settings)
        except TypeError as error:
            raise UserError(f"adapter: {error}") from error

    def init_weights(self) -> None:
        """Nothing: the weights are the float detector's."""

    def train(self, mode: bool = True) -> "QuantWrapper":
        """Stay in eval mode, whatever is asked: batch norms that could not be folded and dropout must not wake up."""
        return super().train(False)

    def _apply(self, fn, recurse: bool = True) -> "QuantWrapper":
        self.float_detector._apply(fn)
        return super()._apply(fn, recurse)

    def float_raw(self, images: Tensor) -> dict[str, Tensor]:
        """Raw outputs of the float detector for preprocessed images (B, 3, H, W).

        Raises:
            UserError: They are NaN or infinite; it names the layer.
        """
        with torch.no_grad():
            raw = self.adapter.by_name(self.float_detector(images, mode="tensor"))
        require_finite(raw, self.float_detector, lambda: self.float_detector(images, mode="tensor"))
        return raw

    def float_target(self, images: Tensor, data_samples: list) -> dict[str, Tensor]:
        """What tuning aims at: `float_raw`, and with ``label_focus`` the masks of the samples' labels."""
        raw = self.float_raw(images)
        if self.label_focus:
            masks = self.float_detector.foreground(raw, data_samples, tuple(images.shape[-2:]))
            raw.update({f"{MASK}{name}": mask for name, mask in masks.items()})
        return raw

    def quantized_raw(self, images: Tensor, compared_to: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Raw outputs of the quantized detector for preprocessed images (B, 3, H, W).

        With ``compared_to``, raw outputs of the float detector, they are computed at the float detector's places.
        """
        places = {} if compared_to is None else {name: compared_to[name] for name in self.adapter.places}
        with self.quantized.running():
            return self.adapter.by_name(self.quantized.network(images, mode="tensor", **places))

    def kept_raw(self, index: list[int], device: torch.device | None = None) -> dict[str, Tensor]:
        """Kept raw outputs of the float detector for calibration frames, on the model's device or another."""
        device = self.head_weights.device if device is None else device
        rows = {name: tensor[index].to(device) for name, tensor in self.kept_outputs.items()}
        return {name: row.float() if row.dtype == torch.float16 else row for name, row in rows.items()}

    def kept_heads(self, index: list[int]) -> HeadOutputs:
        """Heads of the float detector for calibration frames whose raw outputs are kept, on the CPU."""
        return self.adapter.split(self.kept_raw(index, torch.device("cpu")))

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = "tensor"):
        """Run the quantized detector.

        Args:
            inputs: Preprocessed images (B, 3, H, W).
            data_samples: B samples; "predict" needs ``ori_shape``, "loss" ``calibration_index`` where outputs are kept, or
                what the detector's own loss asks for.
            mode: "tensor" gives raw outputs, "predict" the samples with ``pred_instances``, "loss" named losses.

        Raises:
            UserError: The images have another size than those that the model was quantized for.
        """
        if mode == "tensor":
            return self.quantized_raw(inputs)
        require_size(inputs, self.input_size)
        if mode == "predict" and self.adapter.predicts_itself:
            if self.predicts_in_float:
                return self.float_detector(inputs, data_samples, mode="predict")
            with self.quantized.running():
                return self.quantized.network(inputs, data_samples, mode="predict")
        if mode == "predict":
            raw = self.float_raw(inputs) if self.predicts_in_float else self.quantized_raw(inputs)
            return with_lanes(self.adapter, raw, data_samples)
        if mode == "loss":
            if self.loss_function is None:
                with self.quantized.running():
                    return self.quantized.network(inputs, data_samples, mode="loss")
            if self.kept_outputs is None:
                target = self.float_target(inputs, data_samples)
            else:
                target = self.kept_raw([sample.metainfo["calibration_index"] for sample in data_samples])
            output = self.quantized_raw(inputs, compared_to=target)
            target, output = self.adapter.split(target), self.adapter.split(output)
            self.present_errors = {name: error.detach() for name, error in head_errors(target, output).items()}
            return self.loss_function(self.adapter, target, output, self.head_weights)
        raise ValueError(f"mode {mode!r} is none of tensor, predict, loss")
