"""``quantized.pth``: a quantized detector that rebuilds itself."""

from pathlib import Path

import torch
from mmengine.config import Config

from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.files import whole_or_absent
from mmsf.models.detectors import AdaptedDetector
from mmsf.registry import MODELS
from mmsf.version import __version__

_MARK = "mmsf_quantized"


def write_quantized(path: str | Path, model: QuantWrapper, cfg: Config) -> None:
    """Write weights, scales and all that rebuilds them.

    Args:
        path: Where it shall stand.
        model: The tuned model.
        cfg: The run's config.
    """
    description = dict(cfg.model.to_dict(), float_checkpoint=None)
    bit_plan = {name: bits.as_list() for name, bits in model.quantized.bits.items()}
    # The bits may have been decided in the run, which the config does not know.
    description["quantizer"] = {**description["quantizer"], "overrides": bit_plan}
    content = dict(model=description)
    if isinstance(model.float_detector, AdaptedDetector) and cfg.get("custom_imports") is not None:
        content["custom_imports"] = cfg.custom_imports.to_dict()  # where another project's classes are
    meta = {
        _MARK: __version__,
        "model": Config(content).pretty_text,
        "profile": model.quantized.profile.name,
        "bit_plan": bit_plan,
    }
    with whole_or_absent(path) as temporary:
        torch.save({"meta": meta, "state_dict": model.state_dict()}, temporary)


def is_quantized(path: str | Path) -> bool:
    """Whether a file is a ``quantized.pth``."""
    return _MARK in _read(path).get("meta", {})


def is_exported(path: str | Path) -> bool:
    """Whether a file is called as `tools/export.py` writes them."""
    return Path(path).suffix == ".onnx"


def model_config(path: str | Path) -> dict:
    """The config of the quantized model of a file.

    Raises:
        UserError: The file is missing, damaged or no quantized model.
    """
    content = _read(path)
    if _MARK not in content.get("meta", {}):
        raise UserError(f"{path} is not a quantized model; tools/ptq.py writes one as quantized.pth")
    return Config.fromstring(content["meta"]["model"], ".py").model


def read_state(path: str | Path) -> dict:
    """The weights and scales of a file."""
    return _read(path)["state_dict"]


def read_quantized(path: str | Path) -> QuantWrapper:
    """Rebuild the quantized model of a file, on the CPU, in eval mode.

    Raises:
        UserError: The file is missing, damaged or no quantized model.
    """
    model: QuantWrapper = MODELS.build(model_config(path))
    model.load_state_dict(read_state(path), strict=True)
    return model.eval()


def _read(path: str | Path) -> dict:
    if not Path(path).is_file():
        raise UserError(f"{path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        raise UserError(f"{path} cannot be read as a checkpoint; it is damaged or no file of weights") from error
    return content if isinstance(content, dict) else {}
