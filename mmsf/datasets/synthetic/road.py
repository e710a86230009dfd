"""The camera over the road: where a place on the road is seen, and which place on the road a pixel sees."""

from dataclasses import dataclass

import numpy as np

HEIGHT, WIDTH = 590, 1640


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in a car; its axis is level when ``horizon`` is half the image's height.

    Attributes:
        focal: Focal length in pixels.
        centre: Column of the vanishing point of a straight road ahead, pixels (yaw).
        horizon: Row of the horizon of a flat road, pixels (pitch).
        height: Height over the road in metres.
    """

    focal: float
    centre: float
    horizon: float
    height: float


@dataclass(frozen=True)
class Alignment:
    """The road's course, seen from the camera's foot; x to the right, s ahead, both in metres.

    Attributes:
        start: Lateral place of the road's reference line beside the camera, metres.
        heading: Its slope there, metres to the right a metre ahead.
        curvature: Its curvature there, 1/metre, positive to the right.
        curvature_change: Change of curvature with distance, 1/metre^2 (a clothoid).
        bend: Vertical curvature, 1/metre: positive in a valley, negative on a crest.
    """

    start: float
    heading: float
    curvature: float
    curvature_change: float
    bend: float

    def lateral(self, s: np.ndarray) -> np.ndarray:
        """Lateral place of the reference line in metres, at distances ``s`` in metres."""
        return self.start + s * (self.heading + s * (self.curvature / 2 + s * self.curvature_change / 6))

    def stretch(self, s: np.ndarray) -> np.ndarray:
        """How much wider than across itself the road is along x where it runs at an angle."""
        return np.sqrt(1 + (self.heading + s * (self.curvature + s * self.curvature_change / 2)) ** 2)

    def elevation(self, s: np.ndarray) -> np.ndarray:
        """Height of the road over the plane under the camera, metres."""
        return self.bend * s**2 / 2


class RoadView:
    """A road seen by a camera.

    All that changes along the road (distance, course, height) is a function of the image's row alone, and the place across
    the road is linear in the column; so a few numbers a row describe the whole picture of the ground.

    Args:
        camera: The camera.
        alignment: The road's course.
        sight: Distance in metres behind which no road is seen.

    Attributes:
        top: First image row that shows ground.
        distance: (R,) metres ahead, for rows ``top`` to 589.
        depth: (R,) metres of road along the driving direction in one row.
        scale: (R,) metres across the road in one column.
        shift: (R,) ``offset = scale * column + shift`` gives metres across the road from the reference line.
    """

    def __init__(self, camera: Camera, alignment: Alignment, sight: float = 220.0) -> None:
        self.camera, self.alignment, self.sight = camera, alignment, sight
        near = camera.focal * camera.height / (HEIGHT + 40 - camera.horizon)
        s = np.geomspace(near * 0.8, sight, 4000)
        row = self.row(s)
        self._last = int(np.argmin(row)) + 1  # behind the summit of a crest nothing is seen
        self._s, self._row = s[: self._last], row[: self._last]
        self.top = int(np.ceil(self._row[-1] + 0.5))
        rows = np.arange(self.top, HEIGHT, dtype=np.float64)
        self.distance = self.distance_at(rows)
        self.depth = self.distance_at(rows - 0.5) - self.distance_at(rows + 0.5)
        stretch = alignment.stretch(self.distance)
        self.scale = self.distance / camera.focal / stretch
        self.shift = -self.scale * camera.centre - alignment.lateral(self.distance) / stretch

    @property
    def visible(self) -> float:
        """Distance in metres of the last place of the road that is seen."""
        return float(self._s[-1])

    def row(self, s: np.ndarray, height: float | np.ndarray = 0.0) -> np.ndarray:
        """Image row of what stands ``height`` metres over the road, ``s`` metres ahead."""
        camera = self.camera
        return camera.horizon + camera.focal * (camera.height - self.alignment.elevation(s) - height) / s

    def column(self, offset: float | np.ndarray, s: np.ndarray) -> np.ndarray:
        """Image column of what stands ``offset`` metres right of the reference line, ``s`` metres ahead."""
        lateral = self.alignment.lateral(s) + offset * self.alignment.stretch(s)
        return self.camera.centre + self.camera.focal * lateral / s

    def project(self, offset: float | np.ndarray, s: float | np.ndarray, height: float | np.ndarray = 0.0) -> np.ndarray:
        """Pixels (..., 2) of places given by offset, distance and height over the road, all in metres."""
        offset, s, height = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (offset, s, height)))
        return np.stack([self.column(offset, s), self.row(s, height)], axis=-1)

    def distance_at(self, row: np.ndarray) -> np.ndarray:
        """Distance in metres of the ground seen in image rows."""
        return np.interp(-np.asarray(row, np.float64), -self._row, self._s)

    def offsets(self) -> np.ndarray:
        """Metres right of the reference line for every ground pixel: (R, 1640) float32."""
        columns = np.arange(WIDTH, dtype=np.float32)
        return self.scale.astype(np.float32)[:, None] * columns + self.shift.astype(np.float32)[:, None]

    def line(self, offset: float, reach: float) -> np.ndarray:
        """A labelled line as CULane annotates it.

        Args:
            offset: Metres right of the reference line.
            reach: Distance in metres at which the label ends.

        Returns:
            (P, 2) float64 points, bottom-up in steps of 10 rows, inside the image.
        """
        rows = np.arange(HEIGHT, self._row[-1] + 3, -10.0)
        s = self.distance_at(rows)
        rows, s = rows[s <= reach], s[s <= reach]
        points = np.stack([self.column(offset, s), rows], axis=1)
        return points[(points[:, 0] >= 0) & (points[:, 0] <= WIDTH - 1)]
