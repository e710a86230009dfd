"""What a tuning iteration costs, part by part, and curves, re-ranking and decoding beside it."""

from collections.abc import Callable
from contextlib import contextmanager
from statistics import median

import torch
from mmengine.runner import Runner

from mmsf.benchmark.grid import Detector
from mmsf.benchmark.speed_setup import (
    BATCH,
    DEFAULT_FRAMES,
    FRAMES,
    Setting,
    clock_of,
    interleaved,
    ratio,
    squares,
    started,
)
from mmsf.engine.cost import float_step
from mmsf.engine.loop import PTQLoop
from mmsf.engine.sensitivity_hook import SensitivityHook
from mmsf.quantization import switched_off

PRESETS = ("selective-focus", "best")
STEPS = ("folded", "weights", "activations", "loss", "iteration")
"""Forward and backward of the copy with nothing quantized; + weight quantizers; + activation quantizers; + the objective;
+ optimizer, kept outputs and the hook that follows the heads: the whole iteration."""


def measure_iteration(detector: Detector, setting: Setting) -> dict:
    """Costs of one detector.

    Returns:
        Preset -> ``float_ms``; ``steps``, each in plain float forward and backward passes of the same batch;
        the seconds of the preset's default setting; shares of curves and re-ranking; decoded frames per second.
    """
    return {preset: _measure(detector, preset, setting) for preset in PRESETS}


def _measure(detector: Detector, preset: str, setting: Setting) -> dict:
    runner, loop = started(detector, preset, setting)
    model = loop.model
    _, clock = clock_of(setting, model.head_weights.device)
    loop.estimate_ranges()
    begun = clock()
    loop.keep_float_outputs()
    kept_seconds = (clock() - begun) * DEFAULT_FRAMES / FRAMES
    begun = clock()
    loop.measure_curves()
    curve_seconds = (clock() - begun) * loop.curve_settings.frames / min(FRAMES, loop.curve_settings.frames)
    loop.errors["before"] = loop.semantic_errors()

    seconds = interleaved(_variants(runner, loop), setting.rounds, clock)
    iteration = median(seconds["iteration"])
    reranking, remeasuring, interval = _reranking(runner, loop, clock)
    tuning = loop.max_iters * iteration
    return {
        "float_ms": 1000 * median(seconds["float"]),
        "iteration_ms": 1000 * iteration,
        "steps": {name: ratio(seconds[name], seconds["float"]) for name in STEPS},
        "iterations": loop.max_iters,
        "tuning_seconds": tuning,
        "float_outputs_seconds": kept_seconds,
        "curves_seconds": curve_seconds,
        "remeasured_seconds": remeasuring,
        "curves_share": (curve_seconds + remeasuring * (loop.max_iters // interval)) / tuning,
        "reranking_share": reranking / iteration,
        "decoded_frames_per_second": _decoding(loop, clock, setting.rounds),
    }


def _variants(runner: Runner, loop: PTQLoop) -> dict[str, Callable[[], object]]:
    """What an iteration is made of, by switching on one part after the other."""
    model, data = loop.model, loop.frames.tuning_batch(0, 0)
    images, index = loop.preprocess(data)["inputs"], [s.metainfo["calibration_index"] for s in data["data_samples"]]
    kept = model.kept_raw(index)
    weights = [quantizer for _, quantizer, _ in model.quantized.quantized_weights()]
    activations = [quantizer for _, quantizer in model.quantized.activation_quantizers()]
    tuned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hook = next(hook for hook in runner.hooks if isinstance(hook, SensitivityHook))
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)

    def backward(loss: torch.Tensor) -> None:
        loss.backward()
        for parameter in tuned:
            parameter.grad = None

    def without(*off: list) -> Callable[[], None]:
        def run() -> None:
            with switched_off(quantizer for some in off for quantizer in some):
                backward(squares(model.quantized_raw(images, compared_to=kept)))

        return run

    def objective() -> None:
        losses = model(images, data["data_samples"], mode="loss")
        backward(sum(value for name, value in losses.items() if name.startswith("loss_")))

    def iteration() -> None:
        outputs = runner.model.train_step(data, optim_wrapper=runner.optim_wrapper)
        hook.after_train_iter(runner, 0, data, outputs)

    return {
        "float": lambda: float_step(model.float_detector, images),
        "folded": without(weights, activations),
        "weights": without(activations),
        "activations": without(),
        "loss": objective,
        "iteration": iteration,
    }


def _reranking(runner: Runner, loop: PTQLoop, clock: Callable[[], float]) -> tuple[float, float, int]:
    """Seconds of a re-ranking without new curves, seconds of the new curves, and iterations between two of them."""
    hook = next(hook for hook in runner.hooks if isinstance(hook, SensitivityHook))
    data = loop.frames.tuning_batch(0, 0)
    outputs = runner.model.train_step(data, optim_wrapper=runner.optim_wrapper)
    plain, ranking, curves = [], [], []
    with _timed_curves(loop, clock) as spent:
        for _ in range(3):
            begun = clock()
            hook.after_train_iter(runner, 0, data, outputs)
            plain.append(clock() - begun)
            before, begun = sum(spent), clock()
            hook.after_train_iter(runner, hook.interval - 1, data, outputs)
            curves.append(sum(spent) - before)
            ranking.append(clock() - begun - curves[-1])
    return max(0.0, median(ranking) - median(plain)), median(curves), hook.interval


@contextmanager
def _timed_curves(loop: PTQLoop, clock: Callable[[], float]):
    """While the block runs, seconds of every measurement of curves are added to the list that it gets."""
    spent: list[float] = []
    curves_of = loop.curves_of

    def timed(*args):
        begun = clock()
        curves = curves_of(*args)
        spent.append(clock() - begun)
        return curves

    loop.curves_of = timed
    try:
        yield spent
    finally:
        del loop.curves_of


def _decoding(loop: PTQLoop, clock: Callable[[], float], rounds: int) -> float:
    """Frames per second of decoding the float model's heads, in batches."""
    adapter, metas = loop.model.adapter, [sample.metainfo for sample in loop.frames.samples]
    heads = [
        adapter.split({n: t[i : i + BATCH] for n, t in loop.model.kept_outputs.items()}) for i in range(0, FRAMES, BATCH)
    ]

    def decode() -> None:
        for number, some in enumerate(heads):
            adapter.decode(some, metas[number * BATCH : (number + 1) * BATCH])

    return FRAMES / median(interleaved({"decode": decode}, rounds, clock)["decode"])
