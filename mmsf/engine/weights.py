"""Models from files of weights. What kinds of files there are is known here and nowhere else."""

from pathlib import Path

from mmengine.config import Config
from mmengine.model import BaseModel

from mmsf.engine.adapted import float_model
from mmsf.engine.building import build
from mmsf.engine.config import is_ptq, require_keys
from mmsf.engine.quantized_file import is_exported, is_quantized, load_state, model_config
from mmsf.errors import UserError
from mmsf.models.checkpoints import load_float_checkpoint
from mmsf.registry import MODELS


def weights_model(cfg: Config, weights: str | Path, runtime: str | None = None) -> dict:
    """Config of the model that weights are of; `load_weights` then fills it.

    Args:
        cfg: A float or a PTQ config; it gives the model of float weights.
        weights: ``quantized.pth`` or a file of `tools/export.py`, which bring their own model, or float weights that
            `load_float_checkpoint` takes.
        runtime: Of an exported file, "onnxruntime" or "openvino"; None for the one that it was written for.

    Raises:
        UserError: The file is missing, damaged or of another detector than the config, or the config lacks the model of
            float weights.
    """
    wanted = detector_type(cfg.get("model") or {})
    if is_exported(weights):
        return dict(type="mmsf.DeployedDetector", file=str(weights), runtime=runtime, detector=wanted)
    if is_quantized(weights):
        model = model_config(weights)
        require_detector(wanted, model, weights)
        return model
    require_keys(cfg, "model.detector" if is_ptq(cfg) else "model")
    return cfg.model.detector if is_ptq(cfg) else float_model(cfg)


def detector_type(model: dict) -> str:
    """Class of the detector that a model's config is about, without its scope; empty where it does not say."""
    while "detector" in model:
        model = model["detector"]
    kind = model.get("type", "")
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]


def require_detector(wanted: str, model: dict, weights: str | Path) -> None:
    """See that a file that brings its own model is used with a config of that detector: images are prepared as that says.

    Args:
        wanted: `detector_type` of the config; empty for one without a model, with which any file goes.
        model: Config of the file's model.
        weights: The file.

    Raises:
        UserError: They are different detectors.
    """
    own = detector_type(model)
    if wanted and wanted != own:
        raise UserError(f"{weights} is of the detector {own}, the config of {wanted}; give the config that it was made with")


def load_weights(model: BaseModel, weights: str | Path) -> None:
    """Load weights strictly into the model that `weights_model` describes.

    Raises:
        UserError: The file does not fit the model.
    """
    if is_exported(weights):
        return
    if is_quantized(weights):
        load_state(model, weights)
    else:
        load_float_checkpoint(model, weights)


def open_model(cfg: Config, weights: str | Path) -> BaseModel:
    """A model with its weights, on the CPU, in eval mode; arguments and errors as for `weights_model`."""
    model = build(MODELS, weights_model(cfg, weights), "model")
    load_weights(model, weights)
    return model.eval()
