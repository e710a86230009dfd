"""Evaluation of float or quantized weights, as `tools/test.py` starts it."""

from pathlib import Path

from mmengine.config import Config

from mmsf.engine.building import build_runner
from mmsf.engine.config import apply_options, read_config, require_keys, set_roots
from mmsf.engine.processes import start, unwrapped
from mmsf.engine.quantized_file import is_exported
from mmsf.engine.weights import load_weights, weights_model
from mmsf.errors import UserError


def evaluate(
    config: str | Path,
    weights: str | Path,
    *,
    data_root: str | None = None,
    work_dir: str | None = None,
    runtime: str | None = None,
    launcher: str = "none",
    options: dict | None = None,
) -> dict[str, float]:
    """Evaluate weights on the test dataloader of a config.

    Args:
        config: A float or a PTQ config; it gives the frames and the metrics, and the model of float weights.
        weights: A file that `mmsf.engine.weights` knows: ``quantized.pth`` or an exported file, which bring their own model,
            or float weights.
        runtime: Of an exported file, "onnxruntime" or "openvino"; None for the one that it was written for.
        data_root: Folder of the data set.
        work_dir: Where the log goes.
        launcher: MMEngine's launcher.
        options: Settings that replace the config's.

    Returns:
        The metrics.

    Raises:
        UserError: A wrong argument, config or file.
    """
    if runtime is not None and not is_exported(weights):
        raise UserError(f"--runtime is for an exported file, which {weights} is not; leave it out")
    cfg: Config = read_config(config)
    apply_options(cfg, options or {})
    require_keys(cfg, "test_dataloader")
    set_roots(cfg, data_root, None)
    cfg.work_dir = work_dir or str(Path("work_dirs") / Path(config).stem)
    if launcher != "none" and is_exported(weights):
        raise UserError(f"{weights} is an exported file, which one process evaluates; start it without --launcher")
    start(cfg, launcher)
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "custom_hooks"):
        cfg.pop(key, None)
    cfg.resume, cfg.load_from = False, None
    cfg.model = weights_model(cfg, weights, runtime)
    runner = build_runner(cfg)
    load_weights(unwrapped(runner.model), weights)
    return runner.test()
