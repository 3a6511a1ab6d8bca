"""The detector: sensor, pixels that are gone, and the background that falls on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.physics.attenuation import attenuation as coefficient
from xtal_steps_simulate.model import FAST, POLARISATION_FRACTION, POLARISATION_NORMAL, SLOW, Array, Model

GOOD, GAP, MARKED_BAD, DEAD, HOT, SHADOW = range(6)
"""States of a pixel. Files mark the gaps and the bad ones; dead and hot pixels and the shadow are for us to find."""

BEAMSTOP_RADIUS = 2.0
"""mm on the detector."""

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)
NODE_WEIGHTS = _WEIGHTS / 2
"""Shares of the photons absorbed at the depths of `path_nodes`."""


def attenuation(model: Model) -> float:
    """Linear attenuation coefficient of silicon, 1/mm."""
    return coefficient("Si", model.wavelength)


def path_length(model: Model, unit: Array) -> Array:
    """(n,) mm of sensor that rays along unit vectors (n, 3) pass."""
    return model.sensor / np.maximum(np.abs(unit @ np.cross(FAST, SLOW)), 1e-6)


def efficiency(model: Model, unit: Array) -> Array:
    """(n,) fraction of photons that the sensor absorbs."""
    return -np.expm1(-attenuation(model) * path_length(model, unit))


def path_nodes(model: Model, unit: Array) -> Array:
    """(n, 3) mm of path before absorption, at the nodes of Gauss-Legendre quadrature over absorbed photons."""
    share = (_NODES + 1) / 2 * efficiency(model, unit)[:, None]
    return -np.log1p(-share) / attenuation(model)


def polarisation(unit: Array) -> Array:
    """(n,) polarisation factor of rays along unit vectors (Kahn et al. 1982, J. Appl. Cryst. 15, 330)."""
    normal = unit @ POLARISATION_NORMAL
    forward = -unit[:, 2]
    f = POLARISATION_FRACTION
    return (1 - 2 * f) * (1 - normal**2) + f * (1 + forward**2)


def pixel_directions(model: Model, rows: slice = slice(None)) -> Array:
    """(slow, fast, 3) unit vectors to the centres of pixels of some rows."""
    nx, ny = model.image_size
    x = (np.arange(nx) + 0.5) * model.pixel
    y = (np.arange(ny)[rows] + 0.5) * model.pixel
    point = model.origin + x[None, :, None] * FAST + y[:, None, None] * SLOW
    return point / np.linalg.norm(point, axis=-1, keepdims=True)


def pixel_status(model: Model) -> NDArray[np.int8]:
    """(slow, fast) state of every pixel; seeded."""
    nx, ny = model.image_size
    status = np.zeros((ny, nx), dtype=np.int8)
    x, y = np.meshgrid(np.arange(nx) + 0.5, np.arange(ny) + 0.5)
    radius = np.hypot(x - model.beam_px[0], y - model.beam_px[1]) * model.pixel
    status[radius < BEAMSTOP_RADIUS] = SHADOW
    rng = model.rng("pixels")
    numbers = ((MARKED_BAD, model.bad_pixels), (DEAD, model.dead_pixels), (HOT, model.hot_pixels))
    for state, number in numbers:
        status.flat[rng.choice(status.size, size=min(number, status.size), replace=False)] = state
    for axis, size in ((1, nx), (0, ny)):
        module, gap = model.module[1 - axis], model.gap[1 - axis]
        inside = np.arange(size) % (module + gap) < module
        status[~inside if axis == 0 else (slice(None), ~inside)] = GAP
    return status


def background(model: Model, status: NDArray[np.int8]) -> Array:
    """(slow, fast) expected photons per pixel and image at unit beam: air, solvent, and a constant part."""
    out = np.empty(status.shape)
    for start in range(0, len(out), 64):
        rows = slice(start, start + 64)
        unit = pixel_directions(model, rows)
        cosine = -unit[..., 2]
        s = np.sqrt(2 * (1 - cosine)) / model.wavelength
        profile = 0.5 * np.exp(-s / 0.12) + 0.6 * np.exp(-0.5 * ((s - 0.29) / 0.08) ** 2) + 0.2
        flat = unit.reshape(-1, 3)
        factors = polarisation(flat) * efficiency(model, flat)
        out[rows] = profile * cosine**3 * factors.reshape(cosine.shape)
    out *= model.background / out.max()
    out[status == SHADOW] = 0.0
    return out
