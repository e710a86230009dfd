"""CULane's metric at the size of its test set, on made-up frames."""

import time

import numpy as np

from mmsf.datasets.synthetic.frame import scene_lines
from mmsf.datasets.synthetic.scene import category_of, sample_scene
from mmsf.evaluation.culane_score import count_frames, total

TEST_SET = 34_680
SCENES = 500
SEED = 20260102


def made_up_frames(frames: int) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Labelled and predicted lanes of frames: synthetic roads, and the same lanes shaken, one of ten missing."""
    generator = np.random.default_rng(SEED)
    scenes = []
    for number in range(min(frames, SCENES)):
        drawn = np.random.default_rng([SEED, number, 1])
        scenes.append(scene_lines(sample_scene(drawn, category_of(SEED, number))))
    labelled = [scenes[number % len(scenes)] for number in range(frames)]

    def shaken(line: np.ndarray) -> np.ndarray:
        return line + np.array([generator.normal(0, 8), 0]) + generator.normal(0, 1, line.shape)

    predicted = [[shaken(line) for line in lines if generator.random() > 0.1] for lines in labelled]
    return labelled, predicted


def measure_metric(frames: int = TEST_SET) -> dict:
    """Seconds of wall and of processor time on one core, and what was counted."""
    labelled, predicted = made_up_frames(frames)
    wall, processor = time.perf_counter(), time.process_time()
    counts = total(count_frames(labelled, predicted))
    return {
        "frames": frames,
        "processor_seconds": time.process_time() - processor,
        "wall_seconds": time.perf_counter() - wall,
        **counts.as_dict(),
    }
