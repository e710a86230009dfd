"""Lanes in the forms in which detectors predict them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from mmsf.errors import UserError
from mmsf.lanes.lane import Lane
from mmsf.lanes.rows import row_grid

COORDINATES = ("pixels", "unit", "input")
LANES = ("lines", "lanes")
SCORES = ("scores", "score", "confidences", "confidence")


def lanes_in(prediction: Any, meta: dict, lanes: str | None = None, coordinates: str = "pixels") -> list[Lane]:
    """The lanes of what a detector predicts for one image.

    Args:
        prediction: A data sample, an object or a dict with lanes and, if there are, scores in it; or the lanes themselves.
            A lane is a `Lane`; an array, tensor or list (P, 2); an object or dict with ``points``; or, as in CLRNet and
            CLRerNet, a callable that takes y and gives x, both as shares of the image, x < 0 or >= 1 where there is no lane.
            Points with a negative coordinate, or one that is not finite, are left out.
        meta: Metainfo of the image: ``ori_shape``, for "input" also ``img_shape``.
        lanes: Where the lanes stand in the prediction, with dots between the steps. None looks for ``lines`` or ``lanes``
            in the prediction and in its ``pred_instances``.
        coordinates: What points are in: "pixels" of the original image, "unit" (shares of it) or "input" (pixels of the
            network's input, that shows all of the image).

    Raises:
        UserError: There are no lanes in a form that is known.
    """
    holder, found = _find(prediction, lanes)
    scores = next((_get(holder, name) for name in SCORES if _get(holder, name) is not None), None)
    height, width = meta["ori_shape"][:2]
    scale = (1.0, 1.0)
    if coordinates == "unit":
        scale = (width, height)
    elif coordinates == "input":
        scale = (width / meta["img_shape"][1], height / meta["img_shape"][0])
    read = [_points(lane, (height, width), scale) for lane in found]
    scores = [_score(lane) for lane in found] if scores is None else np.ravel(_plain(scores)).tolist()
    if len(scores) != len(read):
        raise UserError(f"adapter: a prediction has {len(read)} lanes, but {len(scores)} scores")
    return [Lane(points, score) for points, score in zip(read, scores) if len(points)]


def _find(prediction: Any, path: str | None) -> tuple[Any, Sequence]:
    if path is not None:
        holder, value = None, prediction
        for step in path.split("."):
            holder, value = value, _get(value, step)
        if value is None:
            raise UserError(f"adapter: lanes={path!r} leads nowhere in a prediction, {_described(prediction)}")
        return holder, value
    if isinstance(prediction, (list, tuple, np.ndarray, Tensor)):
        return None, prediction
    for holder in (_get(prediction, "pred_instances"), prediction):
        for name in LANES:
            value = _get(holder, name)
            if value is not None:
                return holder, value
    raise UserError(
        f"adapter: no lanes found in {_described(prediction)}; name their place, such as adapter.lanes='pred_instances.NAME'"
    )


def _get(holder: Any, name: str) -> Any:
    if holder is None or isinstance(holder, (list, tuple, np.ndarray, Tensor)):
        return None
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _described(prediction: Any) -> str:
    names = prediction.keys() if hasattr(prediction, "keys") else vars(prediction) if hasattr(prediction, "__dict__") else ()
    if callable(names):
        names = names()
    return f"a {type(prediction).__name__} of {', '.join(map(str, names)) or 'nothing that has a name'}"


def _points(lane: Any, size: tuple[int, int], scale: tuple[float, float]) -> np.ndarray:
    """(P, 2) of a lane, pixels of the original image of that ``size``, without points that stand for none."""
    if isinstance(lane, Callable):
        rows = row_grid(size[0])
        x = np.asarray(_plain(lane(rows / size[0])), np.float64).reshape(-1)
        seen = (x >= 0) & (x < 1)
        return np.stack((x[seen] * size[1], rows[seen]), 1)
    given = lane.points if isinstance(lane, Lane) else _get(lane, "points")
    try:
        points = np.asarray(_plain(lane if given is None else given), np.float64)
        points = points.reshape(-1, 2) if points.ndim < 2 else points
        if points.shape[1:] != (2,):
            raise ValueError(points.shape)
    except (TypeError, ValueError) as error:
        raise UserError(f"adapter: a lane is no array (P, 2) of points: {type(lane).__name__}, {error}") from error
    return points[(np.isfinite(points) & (points >= 0)).all(1)] * scale


def _score(lane: Any) -> float:
    said = (*(_get(lane, name) for name in SCORES), _get(_get(lane, "metadata"), "conf"))
    return next((float(score) for score in said if score is not None), 1.0)


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values
