"""One sensitivity analysis, from a config to the report, as `tools/analyze_sensitivity.py` starts it."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmsf.engine.building import build_runner
from mmsf.engine.ptq import complete, read_ptq, run_name
from mmsf.errors import UserError

# What a PTQ config says of its loop that means something without tuning.
_KEPT = (
    *("weight_range", "activation_range", "weight_correction", "equalisation", "bit_planner"),
    *("curves", "distortion", "memory_mb"),
)


def analyze_sensitivity(
    config: str | Path,
    *,
    preset: str | None = None,
    bits: str | None = None,
    presets: Path | None = None,
    work_dir: str | None = None,
    **arguments: Any,
) -> Runner:
    """Say where quantization hurts the lanes; arguments as `mmsf.engine.ptq.quantize` has them.

    Args:
        **arguments: Those of `mmsf.engine.ptq.complete`. In ``options``, ``train_cfg`` is a `SensitivityLoop`'s and
            ``custom_hooks.0`` an `AnalysisHook`'s.

    Returns:
        The runner, its loop done.

    Raises:
        UserError: A wrong argument, config or file.
    """
    cfg = read_ptq(config, preset, bits, presets)
    if cfg.model.loss is None:
        source = config if preset is None else f"preset {preset!r}"
        raise UserError(f"{source} has no loss that compares heads; give another preset for an analysis")
    _only_analyze(cfg)
    complete(cfg, **arguments)
    cfg.work_dir = work_dir or str(Path("work_dirs") / f"{run_name(config, preset, bits)}_sensitivity")
    runner = build_runner(cfg)
    runner.train()
    return runner


def _only_analyze(cfg: Config) -> None:
    """Put the loop and the hook of an analysis in the place of those that tune."""
    presets = [hook.get("preset") for hook in cfg.get("custom_hooks", []) if hook.get("preset")]
    kept = {key: cfg.train_cfg[key] for key in _KEPT if key in cfg.train_cfg}
    cfg.train_cfg = dict(type="mmsf.SensitivityLoop", **kept)
    cfg.custom_hooks = [dict(type="mmsf.AnalysisHook", preset=presets[0] if presets else None)]
    cfg.param_scheduler = []
