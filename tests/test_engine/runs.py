"""Runs of `tools/ptq.py` as a user starts them, small."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "mmsf" / "zoo" / "lstr_tiny_synthetic.pth"
CONFIG = ROOT / "configs" / "ptq" / "lstr_tiny_synthetic_w4a4_selective-focus.py"
FLOAT_CONFIG = ROOT / "configs" / "lstr" / "lstr_tiny_synthetic.py"
# Ten calibration frames in batches of four: a batch size that does not divide.
OPTIONS = [
    "train_cfg.max_iters=6",
    "train_cfg.curves.frames=4",
    "train_cfg.curves.draws=2",
    "train_cfg.curves.levels=4",
    "train_dataloader.batch_size=4",
    "default_hooks.checkpoint.interval=2",
    "default_hooks.logger.interval=1",
    "custom_hooks.0.interval=3",
    "custom_hooks.1.overlays=2",
    "env_cfg.mp_cfg.opencv_num_threads=1",
]


def arguments(
    roads: Path,
    work_dir: Path,
    *more: str,
    config: Path = CONFIG,
    checkpoint: Path = CHECKPOINT,
    more_options: list[str] = (),
) -> list[str]:
    """The command line after ``tools/ptq.py``."""
    return [
        *(str(config), "--checkpoint", str(checkpoint), "--work-dir", str(work_dir)),
        *("--data-root", str(roads / "test"), "--calibration-root", str(roads / "train")),
        *more,
        *("--cfg-options", *OPTIONS, *more_options),
    ]


def run_tool(*args, script: Path = ROOT / "tools" / "ptq.py", **kwargs) -> subprocess.CompletedProcess:
    """Run the tool in a process of its own; its output is captured."""
    command = [sys.executable, str(script), *arguments(*args, **kwargs)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
