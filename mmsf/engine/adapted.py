"""Float configs of other projects' detectors: what is put around them, so that they can be quantized as they are."""

from collections.abc import Callable

from mmengine.config import Config, ConfigDict

from mmsf.adapters.base import Adapter
from mmsf.errors import UserError
from mmsf.registry import TASK_UTILS


def _clrnet(model: ConfigDict) -> dict:
    head = model.get("head", {})
    return dict(type="mmsf.CLRNetAdapter", input_size=(head.get("img_h", 320), head.get("img_w", 800)))


def _clrernet(model: ConfigDict) -> dict:
    head, test = model.get("bbox_head", {}), model.get("test_cfg") or {}
    names = dict(threshold="conf_threshold", nms_distance="nms_thres", max_lanes="nms_topk", crop_top="cut_height")
    own = {ours: test[theirs] for ours, theirs in names.items() if theirs in test}
    return dict(type="mmsf.CLRerNetAdapter", input_size=(head.get("img_h", 320), head.get("img_w", 800)), **own)


# Type of a detector that mmsf has an adapter for -> the adapter's config, read off the detector's.
_KNOWN: dict[str, Callable[[ConfigDict], dict]] = {"CLRNet": _clrnet, "CLRerNet": _clrernet}


def adapter_of(cfg: Config) -> dict | None:
    """The adapter that runs a float config's detector: ``adapter``, or that of a detector known here; else None."""
    if cfg.get("adapter") is not None:
        kind = TASK_UTILS.get(cfg.adapter.get("type", ""))
        return cfg.adapter if kind is not None and kind.run is not Adapter.run else None
    kind = str(cfg.get("model", {}).get("type", "")).rpartition(".")[2]
    return _KNOWN[kind](cfg.model) if kind in _KNOWN else None


def float_model(cfg: Config) -> dict:
    """The float detector's config; another project's stands inside an `AdaptedDetector`."""
    adapter = adapter_of(cfg)
    if adapter is None:
        return cfg.model
    detector = dict(cfg.model)
    if cfg.get("default_scope") is not None:
        detector["_scope_"] = cfg.default_scope  # a file of quantized weights is built without the config
    return dict(type="mmsf.AdaptedDetector", detector=detector, adapter=adapter)


def adapt(cfg: Config, runtime: Config) -> None:
    """Make a float config of another project's detector one that presets go with, in place.

    What it lacks is added: ``input_size`` from the adapter, and ``calibration_dataloader``, 512 frames of its training split
    as its test pipeline prepares them.

    Args:
        cfg: The config.
        runtime: mmsf's own runtime; its hooks and its log take the place of those that the config has for training.

    Raises:
        UserError: There is nothing to calibrate with.
    """
    cfg.model = float_model(cfg)
    cfg.pop("adapter", None)  # it is part of the model now
    cfg.default_hooks = dict(runtime.default_hooks, logger=dict(runtime.default_hooks.logger, log_metric_by_epoch=False))
    cfg.log_processor = dict(runtime.log_processor, type="LogProcessor")
    if "input_size" not in cfg and "input_size" in cfg.model.adapter:
        cfg.input_size = cfg.model.adapter.input_size
    if "calibration_dataloader" not in cfg:
        cfg.calibration_dataloader = _calibration(cfg)


def _calibration(cfg: Config) -> dict:
    training, test = (cfg.get(f"{part}_dataloader") or {} for part in ("train", "test"))
    if "dataset" not in training or "pipeline" not in test.get("dataset", {}):
        raise UserError(
            "the config has no calibration_dataloader, and none can be made without train_dataloader and the pipeline of "
            "test_dataloader; add one (docs/openmmlab.md)"
        )
    dataset = dict(training["dataset"], pipeline=test["dataset"]["pipeline"], test_mode=True)
    return dict(
        batch_size=8,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="mmsf.SpreadDataset", dataset=dataset, count=512),
    )
