"""The Runner's validation, and what it leaves behind besides metrics."""

from numbers import Integral

from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from mmsf.engine.processes import unwrapped
from mmsf.engine.recorder import LaneRecorder


def validate(
    runner: Runner, lanes: dict[str, dict], floats: dict[str, dict] | None
) -> tuple[dict[str, int | float], dict[str, list] | None]:
    """Run the Runner's validation.

    Args:
        runner: The runner.
        lanes: Filled with image path -> lanes, as `LaneRecorder` keeps them.
        floats: Those of the float model, for `LaneAgreement`; None while that is the one that predicts.

    Returns:
        The metrics; and of the first metric that has scores of single frames ``columns``, ``frames`` (names) and ``scores``
        (a row a frame), else None.
    """
    recorder = LaneRecorder(lanes, unwrapped(runner.model).adapter, floats)
    evaluator: Evaluator = runner.val_loop.evaluator
    evaluator.metrics.insert(0, recorder)
    try:
        metrics = runner.val_loop.run()
    finally:
        evaluator.metrics.remove(recorder)
    scores = None
    scored = next((metric for metric in evaluator.metrics if getattr(metric, "frame_scores", None)), None)
    if scored is not None:
        names, rows = zip(*scored.frame_scores)
        scores = dict(columns=list(scored.frame_columns), frames=list(names), scores=list(rows))
    return {name: int(value) if isinstance(value, Integral) else float(value) for name, value in metrics.items()}, scores
