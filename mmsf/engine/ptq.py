"""One run of quantization, from a config to the results, as `tools/ptq.py` starts it."""

import json
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmsf.engine.building import build_runner
from mmsf.engine.config import apply_options, read_config, require_backends, require_ptq, set_roots, with_preset
from mmsf.engine.processes import start
from mmsf.engine.storage import newest_checkpoint
from mmsf.errors import UserError


def read_ptq(config: str | Path, preset: str | None, bits: str | None, presets: Path | None) -> Config:
    """Read a PTQ config, or a float config with a preset put on it; arguments as `tools/ptq.py` has them.

    Raises:
        UserError: A wrong argument or config.
    """
    if (preset is None) != (bits is None):
        raise UserError("--preset and --bits go together")
    cfg = read_config(config) if preset is None else with_preset(config, preset, bits, presets)
    require_ptq(cfg, config)
    return cfg


def complete(
    cfg: Config,
    *,
    checkpoint: str | None = None,
    trust_checkpoint: bool = False,
    data_root: str | None = None,
    calibration_root: list[str] | None = None,
    bit_plan: str | None = None,
    options: dict | None = None,
) -> None:
    """Put what the command line says into a PTQ config, in place; arguments as `tools/ptq.py` has them.

    Raises:
        UserError: A wrong argument or file, or no float weights.
    """
    apply_options(cfg, options or {})
    set_roots(cfg, data_root, calibration_root)
    require_backends(cfg)
    if checkpoint is not None:
        cfg.model.float_checkpoint = str(Path(checkpoint).resolve())
    if trust_checkpoint:
        cfg.model.trust_checkpoint = True
    if cfg.model.get("float_checkpoint") is None:
        raise UserError("there are no float weights; give --checkpoint FILE")
    if not Path(str(cfg.model.float_checkpoint)).is_file():
        raise UserError(
            f"checkpoint {checkpoint or cfg.model.float_checkpoint} is not there; give the path of a checkpoint file"
        )
    if bit_plan is not None:
        _add_bit_plan(cfg, bit_plan)
    cfg.resume, cfg.load_from = False, None


def run_name(config: str | Path, preset: str | None, bits: str | None) -> str:
    """What a run is called after its config and, if it was put on it, its preset."""
    return Path(config).stem if preset is None else f"{Path(config).stem}_{bits.lower()}_{preset}"


def ptq_config(
    config: str | Path,
    *,
    preset: str | None = None,
    bits: str | None = None,
    presets: Path | None = None,
    **arguments: Any,
) -> Config:
    """The config of a run, complete but for its work directory; arguments as `tools/ptq.py` has them.

    Args:
        presets: Folder of the presets, for ``preset``.
        **arguments: Those of `complete`.

    Raises:
        UserError: A wrong argument, config or file.
    """
    cfg = read_ptq(config, preset, bits, presets)
    complete(cfg, **arguments)
    return cfg


def quantize(
    config: str | Path,
    *,
    preset: str | None = None,
    bits: str | None = None,
    work_dir: str | None = None,
    resume: bool = False,
    launcher: str = "none",
    **arguments: Any,
) -> Runner:
    """Quantize the detector of a config; arguments as `tools/ptq.py` has them.

    Args:
        **arguments: The others of `ptq_config`.

    Returns:
        The runner, its loop done.

    Raises:
        UserError: A wrong argument, config or file.
    """
    cfg = ptq_config(config, preset=preset, bits=bits, **arguments)
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(Path("work_dirs") / run_name(config, preset, bits))
    start(cfg, launcher)
    if resume:
        newest = newest_checkpoint(cfg.work_dir)
        if newest is not None:
            cfg.resume, cfg.load_from = True, str(newest)
    runner = build_runner(cfg)
    runner.train()
    return runner


def _add_bit_plan(cfg: Config, path: str) -> None:
    try:
        plan = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"bit plan {path} cannot be read: {error}") from error
    plan = plan.get("bit_plan", plan) if isinstance(plan, dict) else plan
    if not isinstance(plan, dict):
        raise UserError(f"bit plan {path} must be a JSON object: layer -> [weight bits, activation bits]")
    # Later entries win, so the plan's stand behind the config's, also where both have a name.
    own = {name: bits for name, bits in (cfg.model.quantizer.get("overrides") or {}).items() if name not in plan}
    cfg.model.quantizer.overrides = {**own, **plan}
