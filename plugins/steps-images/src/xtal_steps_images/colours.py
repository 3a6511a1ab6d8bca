"""From pixel values to colours, as DIALS's image viewer has them."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import hsv_to_rgb
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rgb = NDArray[np.uint8]

BRIGHT, PART = 0.4, 0.9
"""The value that this part of the pixels does not reach is drawn as dark as this, of 1."""


def grey_levels(values: Array, whole: Array, brightness: float) -> NDArray[np.int64]:
    """0 (strong) to 255 (nothing).

    Parameters
    ----------
    values
        What is drawn.
    whole
        All values of the image, masked and negative ones too, from which the scale follows.
    brightness
        Percent.
    """
    rank = min(int(PART * whole.size), whole.size - 1)
    high = float(np.partition(whole.ravel(), rank)[rank])
    slope = brightness / 100 * (BRIGHT / high if high > 0 else 1 / 5)
    return np.clip(256 * (1 - values * slope), 0, 255).astype(np.int64)


def colours(
    grey: NDArray[np.int64], scheme: str, saturated: NDArray[np.bool_], masked: NDArray[np.bool_] | None
) -> Rgb:
    """(..., 3) colours of grey levels; saturated and, where given, masked pixels in colours that no value has."""
    rgb = _table(scheme)[grey]
    plain = scheme in ("greyscale", "inverse_greyscale")
    rgb[saturated] = {"rainbow": (255, 255, 255), "heatmap": (0, 255, 0)}.get(scheme, (254, 254, 1))
    if masked is not None:
        rgb[masked] = (254, 1, 1) if plain else (0, 0, 0)
    return rgb


def _table(scheme: str) -> Rgb:
    """(256, 3) the colour of each grey level."""
    g = np.arange(256)
    if scheme == "greyscale":
        return np.repeat(g[:, None], 3, axis=1).astype(np.uint8)
    if scheme == "inverse_greyscale":
        return np.repeat(255 - g[:, None], 3, axis=1).astype(np.uint8)
    if scheme == "rainbow":
        hsv = np.stack([255 * np.sqrt(g / 255) / 360, np.ones(256), np.ones(256)], axis=1)
    else:
        hsv = _heat(((255 - g) / 255) ** 2)
    return np.asarray(255 * hsv_to_rgb(hsv) + 0.5).astype(np.uint8)


def _heat(r: Array) -> Array:
    """(n, 3) hue, saturation and value: black, red, yellow, white."""
    dark, middle = r < 0.35, (r >= 0.35) & (r < 0.75)
    hue = np.where(dark, 0.0, np.where(middle, 60 - 60 * (0.75 - r) / 0.4, 60.0)) / 360
    saturation = np.where(dark, r / 0.35, np.where(middle, 1.0, 1 - (r - 0.75) / 0.25))
    value = np.where(dark, 0.1 + 0.9 * (r / 0.35) ** 2, 1.0)
    return np.clip(np.stack([hue, saturation, value], axis=1), 0, 1)


def binned(values: Array, n: int) -> Array:
    """The highest of each block of n x n pixels; blocks that the edge cuts are dropped."""
    slow, fast = (s // n * n for s in values.shape)
    return np.asarray(values[:slow, :fast].reshape(slow // n, n, fast // n, n).max(axis=(1, 3)))
