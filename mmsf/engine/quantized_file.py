"""``quantized.pth``: a quantized detector that rebuilds itself."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from mmsf.engine.config_text import parse_config, require_registered
from mmsf.engine.wrapper import QuantWrapper
from mmsf.errors import UserError
from mmsf.registry import MODELS
from mmsf.safe_globals import load, save
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
    description.pop("trust_checkpoint", None)
    bit_plan = {name: bits.as_list() for name, bits in model.quantized.bits.items()}
    # The bits may have been decided in the run, which the config does not know.
    description["quantizer"] = {**description["quantizer"], "overrides": bit_plan}
    meta = {
        _MARK: __version__,
        "model": Config(dict(model=description)).pretty_text,
        "profile": model.quantized.profile.name,
        "bit_plan": bit_plan,
    }
    save({"meta": meta, "state_dict": model.state_dict()}, path)


def is_quantized(path: str | Path) -> bool:
    """Whether a file is a ``quantized.pth``."""
    return _MARK in _meta(_read(path))


def is_exported(path: str | Path) -> bool:
    """Whether a file is called as `tools/export.py` writes them."""
    return Path(path).suffix == ".onnx"


def model_config(path: str | Path) -> dict:
    """The config of the quantized model of a file.

    Raises:
        UserError: The file is missing, damaged or no quantized model.
    """
    meta = _meta(_read(path))
    if _MARK not in meta:
        raise UserError(f"{path} is not a quantized model; tools/ptq.py writes one as quantized.pth")
    model = parse_config(meta.get("model")).get("model")
    if not isinstance(model, dict) or "type" not in model:
        raise UserError(f"{path} does not say which model it is of; it is damaged")
    require_registered(model, path)
    return ConfigDict(model)


def read_state(path: str | Path) -> dict:
    """The weights and scales of a file.

    Raises:
        UserError: It has none.
    """
    state = _read(path).get("state_dict")
    if not isinstance(state, dict):
        raise UserError(f"{path} holds no weights; it is damaged")
    return state


def read_quantized(path: str | Path) -> QuantWrapper:
    """Rebuild the quantized model of a file, on the CPU, in eval mode.

    Raises:
        UserError: The file is missing, damaged or no quantized model.
    """
    model: QuantWrapper = MODELS.build(model_config(path))
    load_state(model, path)
    return model.eval()


def load_state(model: QuantWrapper, path: str | Path) -> None:
    """Load the weights and scales of a file, strictly.

    Raises:
        UserError: They are not those of the model.
    """
    try:
        model.load_state_dict(read_state(path), strict=True)
    except (AttributeError, RuntimeError, TypeError) as error:
        raise UserError(f"{path} does not fit the model that it names; it is damaged: {error}") from error


def _read(path: str | Path) -> dict:
    content = load(path)
    return content if isinstance(content, dict) else {}


def _meta(content: dict) -> dict:
    meta = content.get("meta")
    return meta if isinstance(meta, dict) else {}
