"""The table of speed, and what in it has become worse."""

from collections.abc import Iterator
from statistics import median

TOLERATED = 1.2
"""A ratio that is larger than the stored one by more than this factor has become worse."""

_STEPS = {
    "folded": "nothing quantized",
    "weights": "+ weights",
    "activations": "+ activations",
    "loss": "+ objective",
    "iteration": "+ optimizer: the iteration",
}


def speed_table(content: dict) -> str:
    """``speed.md``."""
    detectors = content["detectors"]
    parts = [
        "# What tuning costs",
        f"W4A4, batches of {content['batch']}, {content['threads']} thread(s), {content['device']}, {content['clock']}; "
        f"medians of {content['rounds']} interleaved rounds. One unit is a plain float forward and backward pass of the "
        "same network and batch.",
    ]
    timed = {name: found["iteration"] for name, found in detectors.items() if "iteration" in found}
    for preset in dict.fromkeys(preset for own in timed.values() for preset in own):
        rows = [
            [
                name,
                f"{own[preset]['float_ms']:.0f}",
                *(f"{own[preset]['steps'][step]:.2f}" for step in _STEPS),
                f"{100 * own[preset]['curves_share']:.1f}",
                f"{100 * own[preset]['reranking_share']:.1f}",
                f"{own[preset]['decoded_frames_per_second']:.0f}",
            ]
            for name, own in timed.items()
        ]
        middle = median(own[preset]["steps"]["iteration"] for own in timed.values())
        heading = ["detector", "float, ms", *_STEPS.values(), "curves, % of tuning", "re-ranking, % of an iteration"]
        parts += [f"## Preset `{preset}`", _lines([*heading, "frames decoded per second"], rows)]
        parts.append(f"Iteration cost ratio, median over detectors: {middle:.2f}.")
    remembered = {name: found["memory"] for name, found in detectors.items() if "memory" in found}
    if remembered:
        presets = list(next(iter(remembered.values()))["ratio"])
        rows = [
            [name, f"{own['float_mb']:.0f}", *(f"{own['tuning_mb'][p]:.0f} ({own['ratio'][p]:.2f})" for p in presets)]
            for name, own in remembered.items()
        ]
        heading = ["detector", "float training step, MB", *(f"`{preset}`, MB (ratio)" for preset in presets)]
        parts += ["## Peak memory", _lines(heading, rows)]
    rivals = {name: found["rival"] for name, found in detectors.items() if "rival" in found}
    if rivals:
        presets = list(next(iter(rivals.values()))["speed_up"])
        rows = [
            [name, f"{own['seconds'] / 60:.0f}", *(f"{own['speed_up'][preset]:.1f}" for preset in presets)]
            for name, own in rivals.items()
        ]
        heading = ["detector", "QDrop, 20,000 iterations a block, minutes", *(f"times `{preset}`" for preset in presets)]
        parts += ["## Time against QDrop", _lines(heading, rows)]
    if "metric" in content:
        own = content["metric"]
        parts += [
            "## CULane's metric",
            f"{own['frames']:,} made-up frames: {own['processor_seconds']:.0f} s of processor time, "
            f"{own['wall_seconds']:.0f} s on the wall, one core (tp {own['tp']}, fp {own['fp']}, fn {own['fn']}).",
        ]
    return "\n\n".join(parts) + "\n"


def _lines(heading: list[str], rows: list[list[str]]) -> str:
    rule = ["---", *("--:" for _ in heading[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heading, rule, *rows))


def ratios_of(content: dict) -> Iterator[tuple[str, float]]:
    """Every ratio of a table by what it is of; the larger, the worse."""
    for name, found in content["detectors"].items():
        for preset, own in found.get("iteration", {}).items():
            yield f"{name}, {preset}: iteration", own["steps"]["iteration"]
        for preset, value in found.get("memory", {}).get("ratio", {}).items():
            yield f"{name}, {preset}: peak memory", value


def regressions(content: dict, stored: dict) -> list[str]:
    """A line for each ratio that both tables have and that is more than 20 % larger than the stored one."""
    before = dict(ratios_of(stored))
    return [
        f"{what} {value:.2f}, was {before[what]:.2f}"
        for what, value in ratios_of(content)
        if what in before and value > TOLERATED * before[what]
    ]
