"""How the background runs with the scattering angle, in which powder and ice make rings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Panel
from xtal.physics.integration.kernels import levels_at, places_between, shell_sums, spread_levels
from xtal.physics.resolution import two_theta_at
from xtal.table import Shoeboxes

Float32 = NDArray[np.float32]

COARSE = 4
"""Pixels between the places at which scattering angles are computed; between them they are interpolated."""
SHELL = 0.5
"""Width of a shell, in pixels where the beam meets the detector."""
FINEST = 1e-6
"""Radians, below which shells are not made, however far the detector."""
ENOUGH = 2500
"""Photons in a shell, so that chance moves its level by 2 %; shells with fewer are joined."""


def expected_levels(
    detector: Detector, beam: Beam, frames: Iterable[tuple[Sequence[NDArray[np.generic]], Sequence[NDArray[np.bool_]]]]
) -> list[Float32]:
    """Mean background at the scattering angle of each pixel.

    Parameters
    ----------
    frames
        Raw images and good pixels, per panel, of some frames.

    Returns
    -------
    list of (slow, fast)
        Photons of a frame; 1 everywhere where the frames hold too few to tell anything.
    """
    width = max(SHELL * min(min(p.pixel_size) / max(p.distance, 1e-3) for p in detector), FINEST)
    places = [_places(panel, beam, width) for panel in detector]
    n = int(max(place.max() for place in places)) + 2
    total = np.zeros((n, 3))
    for images, good in frames:
        # Strong pixels, of spots, are told by the mean of the roots, which they move little; some rows tell it.
        first, cut = np.zeros((n, 3)), np.full(n, np.inf)
        for sums, step in ((first, COARSE), (total, 1)):
            for panel, place, image, mask in zip(detector, places, images, good, strict=True):
                shell_sums(image, mask, place, panel.pedestal, panel.adu_per_photon, cut, step, sums)
            mean = (first[:, 2] / np.maximum(first[:, 0], 1)) ** 2
            cut = mean + 5.0 * np.sqrt(mean) + 2.0
    levels = _joined(total)
    for place in places:
        levels_at(levels, place)
    return places


def expect_levels(boxes: Shoeboxes, levels: Sequence[Float32] | None) -> None:
    """Fill the background of boxes with what is expected of it: `expected_levels`, or 1 without them."""
    if levels is None:
        boxes.background[:] = 1.0
        return
    for p, level in enumerate(levels):
        spread_levels(np.flatnonzero(boxes.panel == p), boxes.bbox, boxes.offsets, level, boxes.background)


def _places(panel: Panel, beam: Beam, width: float) -> Float32:
    """(slow, fast) scattering angle of each pixel in units of ``width``."""
    fast, slow = panel.image_size
    x, y = np.meshgrid(np.arange(0, fast + COARSE, COARSE) + 0.5, np.arange(0, slow + COARSE, COARSE) + 0.5)
    out = np.empty((slow, fast), np.float32)
    angle = np.nan_to_num(two_theta_at(panel, beam, np.stack([x, y], axis=-1)))
    places_between(angle / width, COARSE, out)
    return out


def _joined(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) level at the middle of each shell, neighbours with too few photons taken together."""
    n, photons = sums[:, 0], np.maximum(sums[:, 1], 0.0)
    part = (np.cumsum(photons) // ENOUGH).astype(np.int64)
    pixels = np.bincount(part, n)
    use = (pixels > 0) & (np.bincount(part, photons) >= 0.5 * ENOUGH)
    if not use.any():
        return np.ones(len(n))
    middle = np.bincount(part, n * np.arange(len(n)))[use] / pixels[use]
    return np.interp(np.arange(len(n)), middle, np.bincount(part, photons)[use] / pixels[use])
