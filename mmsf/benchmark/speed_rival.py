"""QDrop at its authors' iterations against net-wise tuning: timed on a few iterations of every unit, and scaled."""

from mmsf.benchmark.grid import Detector
from mmsf.benchmark.speed_setup import DEFAULT_FRAMES, FRAMES, Setting, clock_of, started

SHORT, LONG = 2, 8
"""Iterations of every unit in the two runs whose difference is what iterations cost."""

AUTHORS = 20000
"""Iterations of every unit in the code of QDrop's authors, the preset's too."""


def measure_rival(detector: Detector, netwise: dict[str, dict], setting: Setting) -> dict:
    """Seconds of QDrop, and how many times as long as net-wise tuning it takes.

    What does not grow with the iterations is the units' inputs and targets, a run of the network each; it is scaled from
    `FRAMES` frames to the default's 512.

    Args:
        detector: The detector.
        netwise: Preset -> what `measure_iteration` found.
        setting: Where and how.
    """
    short, long = (_seconds(detector, iterations, setting) for iterations in (SHORT, LONG))
    iteration = max(0.0, long - short) / (LONG - SHORT)
    data = max(0.0, short - SHORT * iteration) * DEFAULT_FRAMES / FRAMES
    seconds = AUTHORS * iteration + data
    whole = {
        preset: found["tuning_seconds"] + found["float_outputs_seconds"] + found["curves_share"] * found["tuning_seconds"]
        for preset, found in netwise.items()
    }
    return {
        "seconds": seconds,
        "iteration_ms": 1000 * iteration,
        "speed_up": {preset: seconds / own for preset, own in whole.items()},
    }


def _seconds(detector: Detector, iterations: int, setting: Setting) -> float:
    """Seconds of tuning all units by so many iterations each."""
    options = {"train_cfg__reconstruction__iterations": iterations}
    _, loop = started(detector, "qdrop", setting, **options)
    _, clock = clock_of(setting, loop.model.head_weights.device)
    loop.estimate_ranges()
    loop.keep_float_outputs()
    loop.errors["before"] = {}
    begun = clock()
    loop.tune()
    return clock() - begun
