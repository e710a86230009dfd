"""`tools/ptq.py` that kills itself (SIGKILL) at a given point: ``killed_ptq.py PHASE ARGUMENTS...``."""

import os
import runpy
import signal
import sys
from pathlib import Path


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(phase: str) -> None:
    """Let the process die in the middle of a phase."""
    if phase == "ranges":
        from mmsf.quantization.histogram import GrowingHistogram as owner

        name, calls = "__call__", 100
    elif phase == "curves":
        from mmsf.sensitivity.curves import DistortionScorer as owner

        name, calls = "__call__", 6
    elif phase == "evaluation":  # of the tuned model: float and calibrated ones come before
        from mmsf.engine.recorder import LaneRecorder as owner

        name, calls = "process", 3
    elif phase == "results":
        import mmsf.engine.result_hook as owner

        name, calls = "write_overlays", 1
    else:
        from mmsf.engine.loop import PTQLoop as owner

        name, calls = "run_iter", 4
    original, done = getattr(owner, name), []

    def counted(*args, **kwargs):
        done.append(None)
        if len(done) == calls:
            kill()
        return original(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    arm(sys.argv[1])
    tool = Path(__file__).resolve().parents[2] / "tools" / "ptq.py"
    sys.argv = [str(tool), *sys.argv[2:]]
    runpy.run_path(str(tool), run_name="__main__")
