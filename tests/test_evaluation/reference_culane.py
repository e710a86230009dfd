"""CULane's evaluation as the official tool does it: both lanes of every pair drawn anew, line by line, on a full picture.

Plain and slow; the fast one has to give the same counts. As a command it measures how much faster that is, per core:

    OMP_NUM_THREADS=1 python tests/test_evaluation/reference_culane.py GT PRED LIST
"""

import math
import sys
import time
from itertools import pairwise

import cv2
import numpy as np

from mmsf.evaluation.culane_files import count_files
from mmsf.evaluation.culane_score import IMAGE_SIZE, LaneCounts, total
from mmsf.lanes.culane import lines_path, read_lines, read_list


def spline(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Natural cubic spline over the chord length, 50 samples a segment and the last point."""
    count = len(points)
    dx = [float(np.float32(b[0]) - np.float32(a[0])) for a, b in pairwise(points)]
    dy = [float(np.float32(b[1]) - np.float32(a[1])) for a, b in pairwise(points)]
    length = [math.sqrt(x * x + y * y) for x, y in zip(dx, dy)]
    samples = np.empty((50 * (count - 1) + 1, 2))
    for axis, (delta, values) in enumerate(((dx, [p[0] for p in points]), (dy, [p[1] for p in points]))):
        second, upper = [0.0] * count, [0.0] * count
        for i in range(1, count - 1):
            pivot = 2 * (length[i - 1] + length[i]) - length[i - 1] * upper[i - 1]
            upper[i] = length[i] / pivot
            bend = 6 * (delta[i] / length[i] - delta[i - 1] / length[i - 1])
            second[i] = (bend - length[i - 1] * second[i - 1]) / pivot
        for i in range(count - 2, 0, -1):
            second[i] -= upper[i] * second[i + 1]
        for i in range(count - 1):
            a, b = second[i], second[i + 1]
            slope = delta[i] / length[i] - length[i] * (2 * a + b) / 6
            t = length[i] / 50 * np.arange(50)
            samples[50 * i : 50 * i + 50, axis] = values[i] + slope * t + a / 2 * t**2 + (b - a) / (6 * length[i]) * t**3
        samples[-1, axis] = values[-1]
    return samples.tolist()


def draw(lane: np.ndarray, size: tuple[int, int], width: int) -> np.ndarray:
    """A picture of one lane."""
    points = lane.astype(np.float32).tolist()
    if len(points) > 2:
        points = np.float32(spline(points)).tolist()
    pixels = [(round(x), round(y)) for x, y in points]  # half to even
    picture = np.zeros(size, np.uint8)
    for start, end in pairwise(pixels):
        cv2.line(picture, start, end, 1, width)
    return picture


def similarity(one: np.ndarray, two: np.ndarray, size: tuple[int, int], width: int) -> float:
    """IoU of two lanes."""
    if len(one) < 2 or len(two) < 2:
        return 0.0
    first, second = draw(one, size, width), draw(two, size, width)
    shared = cv2.countNonZero(cv2.bitwise_and(first, second))
    union = cv2.countNonZero(first) + cv2.countNonZero(second) - shared
    return shared / union if union else math.nan


def assign(weights: list[list[float]]) -> list[int]:
    """Kuhn-Munkres with a slack of 0.01; the right partner of every left node, -1 for none."""
    left_count, right_count = len(weights), len(weights[0])
    left_label, right_label = [], [0.0] * right_count
    for row in weights:
        best = -1e5
        for weight in row:
            if best < weight:
                best = weight
        left_label.append(best)
    left_match, right_match = [-1] * left_count, [-1] * right_count

    def visit(node: int) -> bool:
        left_seen[node] = True
        for other in range(right_count):
            if not right_seen[other] and abs(left_label[node] + right_label[other] - weights[node][other]) < 1e-2:
                right_seen[other] = True
                if right_match[other] == -1 or visit(right_match[other]):
                    left_match[node], right_match[other] = other, node
                    return True
        return False

    for node in range(left_count):
        while True:
            left_seen, right_seen = [False] * left_count, [False] * right_count
            if visit(node):
                break
            change = 1e10
            for i in range(left_count):
                for j in range(right_count):
                    if left_seen[i] and not right_seen[j] and left_label[i] + right_label[j] - weights[i][j] < change:
                        change = left_label[i] + right_label[j] - weights[i][j]
            if change == 1e10:
                return left_match
            for i in range(left_count):
                left_label[i] -= change if left_seen[i] else 0.0
            for j in range(right_count):
                right_label[j] += change if right_seen[j] else 0.0
    return left_match


def frame_iou(
    labelled: list[np.ndarray], predicted: list[np.ndarray], size: tuple[int, int] = IMAGE_SIZE, width: int = 30
) -> np.ndarray:
    """IoU of every pair of a frame, (G, P)."""
    ious = [[similarity(truth, found, size, width) for found in predicted] for truth in labelled]
    return np.array(ious).reshape(len(labelled), len(predicted))


def count_frame(labelled: list[np.ndarray], predicted: list[np.ndarray], threshold: float = 0.5) -> LaneCounts:
    """Counts of a frame of CULane's size."""
    if not labelled or not predicted:
        return LaneCounts(0, len(predicted), len(labelled))
    ious = frame_iou(labelled, predicted)
    swapped = len(labelled) > len(predicted)
    tp = 0
    for left, right in enumerate(assign((ious.T if swapped else ious).tolist())):
        if right >= 0 and (ious.T if swapped else ious)[left, right] > threshold:
            tp += 1
    return LaneCounts(tp, len(predicted) - tp, len(labelled) - tp)


def measure(truth: str, found: str, list_file: str) -> str:
    """Processor seconds of both, reading of files included, and their ratio."""
    names = read_list(list_file)
    count_files(names[:64], truth, found)
    start = time.process_time()
    fast = total(count_files(names, truth, found))
    between = time.process_time()
    slow = total(count_frame(*(read_lines(lines_path(root, name)) for root in (truth, found))) for name in names)
    seconds = between - start, time.process_time() - between
    if fast != slow:
        raise AssertionError(f"counts differ: {fast} and {slow}")
    return (
        f"{len(names)} frames: {seconds[0]:.2f} s, reference {seconds[1]:.2f} s, {seconds[1] / seconds[0]:.1f} times faster"
    )


if __name__ == "__main__":
    print(measure(*sys.argv[1:4]))
