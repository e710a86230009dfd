"""Configs of command lines: read them, point them at data, put a preset on a float config."""

import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmsf.engine.adapted import adapt, adapter_of
from mmsf.errors import UserError

_EVALUATED = ("val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator")
_ROOTED = ("train_dataloader", "calibration_dataloader", *_EVALUATED)

# What a PTQ config adds to its two bases, a float config and a preset.
PTQ_LINES = """\
model = dict(_delete_=True, detector=_base_.model, input_size=_base_.input_size, **_base_.ptq_model)
train_dataloader = dict(_delete_=True, **_base_.calibration_dataloader)
train_cfg = dict(_delete_=True, **_base_.ptq_train_cfg)
optim_wrapper = dict(_delete_=True, **_base_.ptq_optim_wrapper)
param_scheduler = _base_.ptq_param_scheduler
custom_hooks = _base_.ptq_custom_hooks
"""


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Raises:
        UserError: It is missing or cannot be read.
    """
    if not Path(path).is_file():
        raise UserError(f"config {path} does not exist")
    try:
        cfg = Config.fromfile(str(path))
    except Exception as error:  # a config is a program: it may raise anything
        raise UserError(f"config {path} cannot be read: {_reason(error)}") from error
    require_sections(cfg)
    return cfg


def _reason(error: BaseException) -> str:
    """What went wrong in the first place: MMEngine wraps a failed import twice, with the whole path around it."""
    while isinstance(error, ImportError) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    if isinstance(error, ImportError) and error.name == "mmcv._ext":
        return "it needs mmcv with compiled operators, and this one has none (docs/openmmlab.md)"
    return f"{type(error).__name__}: {error}"


def preset_files(folder: Path) -> dict[str, Path]:
    """Name of each preset and bits, such as 'selective-focus_w4a4', to its file."""
    return {path.stem: path for path in sorted(folder.glob("*_w*a*.py"))}


def with_preset(float_config: str | Path, preset: str, bits: str, presets: Path) -> Config:
    """The PTQ config of a float config and a preset: the same lines that stand in ``configs/ptq``.

    Args:
        float_config: Path of the float config.
        preset: Name of the preset.
        bits: Such as 'w4a4'.
        presets: Folder of the presets.

    Raises:
        UserError: There is no such preset, or the config is no float config.
    """
    known = preset_files(presets)
    name = f"{preset}_{bits.lower()}"
    if name not in known:
        raise UserError(f"no preset {preset!r} at {bits!r}; known: {', '.join(known)}")
    given = read_config(float_config)
    if is_ptq(given):
        raise UserError(f"{float_config} is a PTQ config already; --preset and --bits go with a float config")
    foreign = adapter_of(given) is not None
    if foreign:
        adapt(given, read_config(presets.parent / "default_runtime.py"))
    for key in ("model", "calibration_dataloader", "input_size"):
        if key not in given:
            raise UserError(f"{float_config} lacks {key!r}, which quantization needs")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(float_config).resolve()
        if foreign:
            base = Path(folder) / "float.py"
            given.dump(base)
        path = Path(folder) / f"{Path(float_config).stem}_{name}.py"
        lines = PTQ_LINES + ("model.update(adapter=_base_.adapter)\n" if "adapter" in given else "")
        path.write_text(f"_base_ = [{str(base)!r}, {str(known[name].resolve())!r}]\n{lines}")
        cfg = read_config(path)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper"):
        cfg[key].pop("_delete_", None)  # stays where the float config has no such key
    if _is_type(cfg.train_cfg, "QATLoop"):
        _add_training(cfg, given, float_config)
    return cfg


def _add_training(cfg: Config, given: Config, path: str | Path) -> None:
    """Give the loop of a preset that needs labels the float config's training frames and the length of its schedule."""
    for key in ("train_dataloader", "train_cfg"):
        if given.get(key) is None:
            raise UserError(f"{path} lacks {key!r}, which training with labels needs")
    cfg.train_cfg.labelled_dataloader = given.train_dataloader
    cfg.train_cfg.float_schedule = {k: given.train_cfg[k] for k in ("max_iters", "max_epochs") if k in given.train_cfg}


def require_sections(cfg: Config) -> None:
    """Refuse a config in which something else stands where a dict has to.

    Raises:
        UserError: It is so.
    """
    for name in (*_ROOTED, "model", "train_cfg", "optim_wrapper", "default_hooks", "visualizer"):
        allowed = (dict, list, type(None)) if name.endswith("evaluator") else (dict, type(None))
        if not isinstance(cfg.get(name), allowed):
            raise UserError(f"config key {name!r} must be a dict; got {cfg[name]!r}")
    if is_ptq(cfg) and not isinstance(cfg.model.get("quantizer"), dict):
        raise UserError(f"config key 'model.quantizer' must be a dict; got {cfg.model.get('quantizer')!r}")


def require_keys(cfg: Config, *keys: str) -> None:
    """Refuse a config that lacks what a command reads.

    Args:
        cfg: The config.
        *keys: Such as ``test_dataloader.dataset``.

    Raises:
        UserError: It has no such key.
    """
    for key in keys:
        found = cfg
        for part in key.split("."):
            found = found.get(part) if isinstance(found, (Config, dict)) else None
        if found is None:
            name = getattr(cfg, "filename", None) or "the config"
            raise UserError(f"{name} lacks {key!r}; give the config of a detector, such as those of configs/lstr")


def require_ptq(cfg: Config, path: str | Path) -> None:
    """Refuse a config that quantizes nothing.

    Raises:
        UserError: It is a float config.
    """
    if not is_ptq(cfg):
        raise UserError(f"{path} is a float config; give --preset NAME --bits wXaY with it, or a config of configs/ptq")


def require_backends(cfg: Config) -> None:
    """Refuse TensorBoard's visualization backend where TensorBoard is not installed, before any work is done.

    Raises:
        UserError: It is not installed.
    """
    backends = (cfg.get("visualizer") or {}).get("vis_backends")
    named = {str(backend.get("type", "")).rpartition(".")[2] for backend in _dicts(backends)}
    if "TensorboardVisBackend" in named and find_spec("tensorboard") is None:
        raise UserError("TensorboardVisBackend needs TensorBoard: pip install 'mmsf[tensorboard]'")


def is_ptq(cfg: Config) -> bool:
    """Whether a config quantizes."""
    return _is_type(cfg.get("model") or {}, "QuantWrapper")


def _is_type(settings: dict, name: str) -> bool:
    """Whether a config's ``type`` is that name, with or without a scope."""
    return str(settings.get("type", "")).rpartition(".")[2] == name


def apply_options(cfg: Config, options: dict[str, Any]) -> None:
    """Merge ``--cfg-options``; ``data_root`` and ``calibration_root`` reach every dataloader and evaluator."""
    options = dict(options)
    data_root, calibration_root = options.pop("data_root", None), options.pop("calibration_root", None)
    try:
        cfg.merge_from_dict(options)
    except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"--cfg-options does not fit the config: {error}") from error
    require_sections(cfg)
    set_roots(cfg, data_root, [calibration_root] if isinstance(calibration_root, str) else calibration_root)


def set_roots(cfg: Config, data_root: str | None, calibration_root: list[str] | None) -> None:
    """Point every dataloader and evaluator at other folders, in place.

    Args:
        cfg: The config, parsed: its dataloaders already hold the old values.
        data_root: Folder of the data set; a folder below the old one is looked for at the same place below the new one.
            None leaves it. Frames to train with that lie elsewhere, in a folder where nothing is evaluated, stay there.
        calibration_root: Further folders of calibration images; None leaves them.
    """
    evaluated = [holder for name in _EVALUATED for holder in _dicts(cfg.get(name))]
    trained = list(_dicts([cfg.get("train_dataloader"), (cfg.get("train_cfg") or {}).get("labelled_dataloader")]))
    holders = [*evaluated, *trained, *_dicts(cfg.get("calibration_dataloader"))]
    if data_root is not None:
        old = _folder(cfg.get("data_root", ""))
        shared = {old, *(_folder(holder.get("data_root", "")) for holder in evaluated)}
        elsewhere = {id(holder) for holder in trained if _folder(holder.get("data_root", "")) not in shared}
        for holder in holders:
            if "data_root" in holder:
                own = holder["data_root"]
                holder["data_root"] = _moved(own, old, data_root) or (own if id(holder) in elsewhere else data_root)
            if "calibration_root" in holder:
                roots = holder["calibration_root"]
                roots = list(roots) if isinstance(roots, (list, tuple)) else [roots]
                holder["calibration_root"] = [_moved(root, old, data_root) or root for root in roots]
        cfg.data_root = data_root
    if calibration_root is not None:
        for holder in holders:
            if "calibration_root" in holder:
                holder["calibration_root"] = calibration_root
        cfg.calibration_root = calibration_root


def _folder(path: object) -> str:
    """A root with one slash at its end, to compare it with others."""
    return str(path).rstrip("/") + "/"


def _moved(path: str, old: str, new: str) -> str | None:
    """``path`` below ``new`` where it stood below ``old``; None where it did not.

    Raises:
        UserError: It is no path.
    """
    if not isinstance(path, str):
        raise UserError(f"a folder of the config is no text: {path!r}")
    return f"{new.rstrip('/')}/{path[len(old) :]}" if old != "/" and path.startswith(old) else None


def _dicts(value: object) -> Iterator[ConfigDict]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _dicts(item)
