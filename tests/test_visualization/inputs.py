"""A small made-up run: what summary.json and sensitivity.json hold, and a picture with lanes."""

import numpy as np

from mmsf.lanes.lane import Lane

DAMAGE = {
    "bends": 147,
    "spikes": 209,
    "missing": 217,
    "extra": 155,
    "bent_lanes": 44,
    "spiked_lanes": 43,
    "misaligned_lanes": 37,
    "lost_lanes": 15,
    "invented_lanes": 14,
    "float_lanes": 301,
    "float_points": 3520,
}

SUMMARY = {
    "method": "selective-focus",
    "preset": "paper",
    "profile": "academic",
    "scheme": "strict",
    "left_float": [],
    "weight_bits": 4,
    "activation_bits": 4,
    "bit_plan": {"backbone.conv1": [8, 8], "head.<last>": [4, 4]},
    "mac_share": {"4/4": 0.98, "8/8": 0.02},
    "float": {
        "TuSimple/accuracy": 0.96,
        "TuSimple/FP": 0.03,
        "TuSimple/FN": 0.04,
        "TuSimple/F1": 0.965,
        "TuSimple/frames": 85,
    },
    "calibrated": {
        "TuSimple/accuracy": 0.81,
        "TuSimple/FP": 0.3,
        "TuSimple/FN": 0.3,
        "TuSimple/F1": 0.7,
        "TuSimple/frames": 85,
    },
    "quantized": {
        "TuSimple/accuracy": 0.95,
        "TuSimple/FP": 0.04,
        "TuSimple/FN": 0.05,
        "TuSimple/F1": 0.955,
        "TuSimple/frames": 85,
    },
    "agreement": {
        "f1": 0.97,
        "mean_distortion": 0.038,
        "damage": dict(DAMAGE, bends=31, bent_lanes=12, missing=5),
        "calibrated": {"f1": 0.72, "mean_distortion": 0.9, "damage": DAMAGE},
    },
    "heads": {
        "range": {"loss_before": 0.2, "loss_after": 0.01, "sensitivity": 0.001, "selected_share": 0.25},
        "shape": {"loss_before": 0.1, "loss_after": 0.02, "sensitivity": 0.4, "selected_share": 1.0},
    },
    "frames": {"calibration": 512, "evaluation": 85},
    "iterations": 150,
    "seconds": {"ranges": 12.5, "tuning": 311.0},
    "iteration_cost_ratio": 1.03,
    "peak_memory_mb": 2112.0,
    "versions": {"mmsf": "0.1.0", "torch": "2.13.0"},
}


def _record(iteration: int) -> dict:
    losses = {"range": 0.2 * 0.99**iteration, "shape": 0.1 * 0.99**iteration}
    weights = {"range": float(iteration == 100), "shape": 1.0}
    return {
        "iteration": iteration,
        "losses": losses,
        "scores": {"range": losses["range"] / 10, "shape": losses["shape"] * 5},
        "weights": weights,
        "selected": [head for head, weight in weights.items() if weight],
        **({"algorithm1": {"range": 0.02, "shape": 0.9}} if iteration == 50 else {}),
    }


SENSITIVITY = {
    "curves": {
        "range": {"loss": [1e-3, 1e-2, 1e-1], "score": [0.0, 0.001, 0.01], "raw_score": [0.0, 0.002, 0.009]},
        "shape": {"loss": [1e-3, 1e-2, 1e-1], "score": [0.005, 0.05, 0.5], "raw_score": [0.006, 0.04, 0.5]},
    },
    "history": [_record(iteration) for iteration in (0, 50, 100, 150)],
    "iterations": 170,
    "algorithm1": {"range": 0.01, "shape": 1.3},
}


# What an analysis without tuning knows besides its curves.
ANALYSIS = {
    "curves": SENSITIVITY["curves"],
    "history": [],
    "present": {"losses": {"range": 0.05, "shape": 0.02}, "scores": {"range": 0.006, "shape": 0.15}},
    "algorithm1": {"range": 4.2, "shape": 30.1},
    "confidences": {"lane": 0.5},
    "all_heads": 33.4,
    "layers": {"head.last": {"4/4": 28.0}, "backbone.conv1": {"4/4": 6.5}, "neck": {"4/4": 0.0}},
    "layer_shares": {"head.last": 0.01, "backbone.conv1": 0.15, "neck": 0.84},
    "more_bits": {
        "layers": ["head.last", "backbone.conv1"],
        "bits": [8, 8],
        "mac_share": 0.16,
        "score": 33.4,
        "score_with": 1.2,
    },
}


def road(height: int = 180, width: int = 320) -> np.ndarray:
    """A grey road under a blue sky, (height, width, 3) uint8, BGR."""
    image = np.full((height, width, 3), 110, np.uint8)
    image[: height // 2] = (200, 160, 120)
    return image


def straight(x: float, height: int = 180) -> Lane:
    """An upright lane at ``x`` over the lower half of the road."""
    rows = np.linspace(height // 2, height - 1, 10)
    return Lane(np.stack([np.full(10, x), rows], axis=1), score=0.75)
