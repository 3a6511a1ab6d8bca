"""Resolution of reflections and of places on the detector: d = lambda / (2 sin theta)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Panel

Array = NDArray[np.float64]


def d_of_hkl(hkl: Any, a_matrix: Array) -> Array:
    """(n,) angstrom; infinite for 0 0 0. ``a_matrix`` is A or B (columns a*, b*, c*)."""
    r = np.asarray(hkl, dtype=float) @ np.asarray(a_matrix).T
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.sqrt(np.einsum("ni,ni->n", r, r)))


def two_theta_at(panel: Panel, beam: Beam, xy_px: Any) -> Array:
    """(...,) scattering angle (radian) at pixel positions (..., 2), parallax corrected."""
    lab = panel.lab(panel.px_to_mm(np.asarray(xy_px, dtype=float)))
    along = -(lab @ beam.direction)
    across = np.linalg.norm(lab + along[..., None] * beam.direction, axis=-1)
    return np.asarray(np.arctan2(across, along))


def d_at(panel: Panel, beam: Beam, xy_px: Any) -> Array:
    """(...,) resolution (angstrom) at pixel positions (..., 2); centres of pixels are at +0.5."""
    sine = np.sin(two_theta_at(panel, beam, xy_px) / 2)
    return np.asarray(beam.wavelength / (2 * np.maximum(sine, 1e-9)))


def d_of_panel(panel: Panel, beam: Beam) -> Array:
    """(slow, fast) resolution (angstrom) at the centre of every pixel."""
    fast, slow = panel.image_size
    x, y = np.meshgrid(np.arange(fast) + 0.5, np.arange(slow) + 0.5)
    return d_at(panel, beam, np.stack([x, y], axis=-1))


def resolution_range(detector: Detector, beam: Beam) -> tuple[float, float]:
    """Smallest and largest d (angstrom) at the centres of pixels, row by row to need little memory."""
    low, high = np.inf, 0.0
    for panel in detector:
        fast, slow = panel.image_size
        row = np.stack([np.arange(fast) + 0.5, np.zeros(fast)], axis=-1)
        for y in range(slow):
            row[:, 1] = y + 0.5
            d = d_at(panel, beam, row)
            low, high = min(low, float(d.min())), max(high, float(d.max()))
    return low, high


def highest_resolution(detector: Detector, beam: Beam) -> float:
    """Smallest d (angstrom) at any corner of any panel."""
    best = np.inf
    for panel in detector:
        w, h = panel.image_size
        best = min(best, float(d_at(panel, beam, [[0, 0], [0, h], [w, 0], [w, h]]).min()))
    return best
