"""Tiles of noise that are made once, with seeds of their own: they are part of the generator, not of a frame."""

import functools

import cv2
import numpy as np

TILE = 512


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([ord(letter) for letter in name])


@functools.cache
def spectral_tile(name: str, exponent: float) -> np.ndarray:
    """Noise with a power-law spectrum that repeats without a seam.

    Args:
        name: Name of the tile; another name gives other noise.
        exponent: Amplitude falls with spatial frequency to this power: 0 is white, 1 cloudy, 2 smooth.

    Returns:
        (512, 512) float32, mean 0, standard deviation 1.
    """
    white = np.fft.rfft2(_generator(name).standard_normal((TILE, TILE)))
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :])
    frequency[0, 0] = np.inf
    tile = np.fft.irfft2(white / frequency**exponent, s=(TILE, TILE))
    return ((tile - tile.mean()) / tile.std()).astype(np.float32)


@functools.cache
def sensor_tile() -> np.ndarray:
    """Noise of the image sensor, slightly blurred as after demosaicing: (720, 1800, 3) float32 with standard deviation 1."""
    tile = _generator("sensor").standard_normal((720, 1800, 3)).astype(np.float32)
    tile = tile * 0.6 + tile.mean(axis=2, keepdims=True)
    tile = cv2.GaussianBlur(tile, (3, 3), 0.6)
    return tile / tile.std()


@functools.cache
def foliage_sprites(count: int = 8, size: int = 128) -> list[tuple[np.ndarray, np.ndarray]]:
    """Crowns of trees.

    Returns:
        Pairs of a texture (size, size) float32 around 1 and a coverage (size, size) float32 in [0, 1].
    """
    generator = _generator("foliage")
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    sprites = []
    for _ in range(count):
        height = np.full((size, size), -1, np.float32)
        for _ in range(14):
            angle, distance = generator.uniform(0, 2 * np.pi), generator.uniform(0, 0.30) * size
            x, y = size / 2 + distance * np.cos(angle), size / 2 + distance * np.sin(angle)
            radius = generator.uniform(0.10, 0.20) * size
            height = np.maximum(height, 1 - np.hypot(columns - x, rows - y) / radius)
        left, top = generator.integers(0, TILE - size, 2)
        leaves = spectral_tile("leaves", 0.7)[top : top + size, left : left + size]
        coverage = np.clip((np.minimum(height, 0.5) + 0.16 * leaves) * 5, 0, 1) * (height > -0.4)
        texture = np.clip(1 + 0.22 * leaves + 0.5 * (0.5 - rows / size), 0.35, 1.7)
        sprites.append((texture.astype(np.float32), coverage.astype(np.float32)))
    return sprites


def sample_tile(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Read a repeating tile at any place, bilinearly.

    Args:
        tile: (512, 512) float32.
        x: (H, W) column in tile pixels.
        y: (H, W) row in tile pixels.

    Returns:
        (H, W) float32.
    """
    maps = [np.ascontiguousarray(np.remainder(value, TILE), np.float32) for value in (x, y)]
    return cv2.remap(tile, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
