"""Chance in training: mirrored, turned and differently lit frames, with lanes that follow."""

import os
import zlib

import cv2
import numpy as np
import torch
from torch import Tensor

from mmsf.registry import TRANSFORMS


class RandomTransform:
    """A transform with chance.

    Its generator is seeded from PyTorch's seed, which MMEngine sets from ``randomness`` and a data loader sets anew in each
    worker process; a forked copy makes a generator of its own. A generator may be put in for tests.
    """

    def __init__(self) -> None:
        self._generator: np.random.Generator | None = None
        self._origin: tuple[int, int] | None = None

    @property
    def generator(self) -> np.random.Generator:
        """The generator of this process and this seed."""
        origin = (os.getpid(), torch.initial_seed())
        if self._generator is None or self._origin not in (origin, None):
            self._generator = np.random.default_rng([origin[1] % 2**63, zlib.crc32(type(self).__name__.encode())])
            self._origin = origin
        return self._generator

    @generator.setter
    def generator(self, generator: np.random.Generator) -> None:
        self._generator, self._origin = generator, None


def flip(results: dict) -> None:
    """Mirror image and lanes, in place. Twice is as before."""
    results["img"] = results["img"][:, ::-1]
    # Column x of the original becomes W - 1 - x; both sides times the scale factor s give s W - s - x'.
    mirrored = results["img"].shape[1] - results["scale_factor"][0]
    results["input_lines"] = [line * (-1, 1) + (mirrored, 0) for line in results["input_lines"]]


@TRANSFORMS.register_module()
class RandomFlip(RandomTransform):
    """Mirror left and right.

    Args:
        probability: How often.
    """

    def __init__(self, probability: float = 0.5) -> None:
        super().__init__()
        self.probability = probability

    def __call__(self, results: dict) -> dict:
        """Mirror one frame, or not."""
        if self.generator.uniform() < self.probability:
            flip(results)
        return results

    def __repr__(self) -> str:
        return f"RandomFlip(probability={self.probability})"


def warp(results: dict, matrix: np.ndarray) -> None:
    """Move image and lanes by an affine map, in place; points that leave the image are dropped.

    Args:
        results: The frame.
        matrix: (2, 3), from old to new pixels of the network's input.
    """
    height, width = results["img"].shape[:2]
    results["img"] = cv2.warpAffine(results["img"], matrix, (width, height), flags=cv2.INTER_LINEAR)
    # Lanes are scaled as x s; the pixel that shows x has its middle at x s + (s - 1) / 2.
    shift = (np.array(results["scale_factor"]) - 1) / 2
    lines = []
    for line in results["input_lines"]:
        moved = (line + shift) @ matrix[:, :2].T + matrix[:, 2] - shift
        inside = ((moved >= 0) & (moved <= (width - 1, height))).all(axis=1)
        lines.append(moved[inside])
    results["input_lines"] = lines


@TRANSFORMS.register_module()
class RandomAffine(RandomTransform):
    """Turn, scale and shift about the image's middle.

    Args:
        rotation: Largest angle, degrees.
        scale: Smallest and largest factor.
        shift: Largest shift as a share of width and of height.
        probability: How often.
    """

    def __init__(
        self,
        rotation: float = 6.0,
        scale: tuple[float, float] = (0.9, 1.15),
        shift: tuple[float, float] = (0.05, 0.05),
        probability: float = 0.8,
    ) -> None:
        super().__init__()
        self.rotation, self.scale, self.shift, self.probability = rotation, scale, shift, probability

    def __call__(self, results: dict) -> dict:
        """Move one frame, or not."""
        draw = self.generator.uniform
        if draw() < self.probability:
            height, width = results["img"].shape[:2]
            angle, factor = draw(-self.rotation, self.rotation), draw(*self.scale)
            matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, factor)
            matrix[:, 2] += draw(-1, 1, 2) * self.shift * np.array([width, height])
            warp(results, matrix)
        return results

    def __repr__(self) -> str:
        return (
            f"RandomAffine(rotation={self.rotation}, scale={self.scale}, shift={self.shift}, probability={self.probability})"
        )


@TRANSFORMS.register_module()
class PhotometricJitter(RandomTransform):
    """Change brightness, contrast, colour balance and saturation.

    Args:
        brightness: Largest change, as a share of 255.
        contrast: Largest change of the contrast about the middle grey, as a share.
        colour: Largest change of each channel, as a share.
        saturation: Largest change of the saturation, as a share.
    """

    def __init__(
        self, brightness: float = 0.15, contrast: float = 0.3, colour: float = 0.06, saturation: float = 0.4
    ) -> None:
        super().__init__()
        self.brightness, self.contrast, self.colour, self.saturation = brightness, contrast, colour, saturation

    def __call__(self, results: dict) -> dict:
        """Change one frame."""
        draw = self.generator.uniform
        gain = (1 + draw(-self.contrast, self.contrast)) * (1 + draw(-self.colour, self.colour, 3))
        level = 127.5 + 255 * draw(-self.brightness, self.brightness)
        table = np.clip((np.arange(256)[:, None] - 127.5) * gain + level, 0, 255).round().astype(np.uint8)
        image = cv2.LUT(np.ascontiguousarray(results["img"]), table[None])
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        share = draw(-self.saturation, self.saturation)
        results["img"] = cv2.addWeighted(image, 1 + share, grey, -share, 0)
        return results

    def __repr__(self) -> str:
        changes = (
            f"brightness={self.brightness}, contrast={self.contrast}, colour={self.colour}, saturation={self.saturation}"
        )
        return f"PhotometricJitter({changes})"


def another_version(image: Tensor, generator: np.random.Generator) -> Tensor:
    """An image as `RandomFlip`, `RandomAffine` and, of whole numbers, `PhotometricJitter` may change it.

    Args:
        image: (3, H, W), uint8 from 0 to 255, or floats in any unit.
        generator: Source of chance.

    Returns:
        Same shape and type; the image given stays as it is.
    """
    changes: list[RandomTransform] = [RandomFlip(), RandomAffine()]
    if image.dtype == torch.uint8:
        changes.append(PhotometricJitter())
    results = dict(img=image.permute(1, 2, 0).numpy(), input_lines=[], scale_factor=(1.0, 1.0))
    for change in changes:
        change.generator = generator
        results = change(results)
        results["img"] = np.ascontiguousarray(results["img"])
    return torch.from_numpy(results["img"]).permute(2, 0, 1)
