"""Standard errors of F1 and of its differences, by resampling frames."""

from collections.abc import Sequence

import numpy as np


def f1_of_sums(sums: np.ndarray, frames: int, columns: Sequence[str]) -> np.ndarray:
    """F1 from sums over frames, as `LaneCounts` and `TuSimpleScore` define it; 0 where it has no denominator.

    Args:
        sums: (..., 3) sums of the columns.
        frames: Number of frames that were added up.
        columns: ("tp", "fp", "fn"), CULane's counts, or ("accuracy", "fp", "fn"), TuSimple's rates of each frame.

    Returns:
        (...) F1.
    """
    first, fp, fn = np.moveaxis(np.asarray(sums, np.float64), -1, 0)
    if columns[0] == "tp":
        numerator, denominator = 2 * first, 2 * first + fp + fn
    else:
        precision, recall = 1 - fp / frames, 1 - fn / frames
        numerator, denominator = 2 * precision * recall, precision + recall
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)


def resampled_f1(scores: np.ndarray, columns: Sequence[str], resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """F1 of M models on frames drawn with replacement, the same frames for all models: a paired bootstrap.

    Frames that score the same with every model are one kind, so a resample is one multinomial draw of how often each kind
    comes up.

    Args:
        scores: (M, N, 3) what each of N frames counts with each model.
        columns: See `f1_of_sums`.
        resamples: R.
        seed: Of the generator.

    Returns:
        (R, M). The standard deviation of a column, or of a difference of two, is a standard error.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6.
    """
    models, frames, _ = scores.shape
    kinds, counts = np.unique(np.moveaxis(scores, 1, 0).reshape(frames, -1), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(frames, counts / frames, size=resamples)
    sums = (drawn.astype(np.float64) @ kinds).reshape(resamples, models, -1)
    return f1_of_sums(sums, frames, columns)
