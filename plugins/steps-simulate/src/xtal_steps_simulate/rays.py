"""One ray at a time: at which rotation a lattice point diffracts it, and where it lands."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.units import DEG
from xtal_steps_simulate.model import FAST, SLOW, SPINDLE, Array, Model

Booleans = NDArray[np.bool_]

KICKS = ("block x", "block y", "block z", "horizontal", "vertical", "wavelength", "start x", "start y", "start z")
"""The independent Gaussian variables of a ray, see `kick_sizes`."""


@frozen(eq=False)
class Landing:
    """Where rays go.

    Attributes
    ----------
    phi : (n,) radian, rotation at which the point diffracts; NaN where it never does
    xy : (n, 2) px, where the ray enters the sensor
    s1 : (n, 3) diffracted wave vector, 1/angstrom
    """

    phi: Array
    xy: Array
    s1: Array


def kick_sizes(model: Model) -> Array:
    """(9,) standard deviations of `KICKS`: radian, relative, mm."""
    angles = np.array([model.mosaicity] * 3 + list(model.divergence)) * DEG
    return np.array([*angles, model.bandwidth, *[model.crystal_size] * 3])


def rotate(vectors: Array, axis: Array, angle: Array) -> Array:
    """(n, 3) vectors turned about a unit axis by angles (n,), right-handed."""
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return c * vectors + s * np.cross(axis, vectors) + (1 - c) * (vectors @ axis)[:, None] * axis


def rotate_by_vectors(vectors: Array, rotation: Array) -> Array:
    """(n, 3) vectors turned by rotation vectors (n, 3), radian (Rodrigues)."""
    angle = np.linalg.norm(rotation, axis=1)
    axis = rotation / np.maximum(angle, 1e-300)[:, None]
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    along = np.sum(axis * vectors, axis=1)[:, None]
    return c * vectors + s * np.cross(axis, vectors) + (1 - c) * along * axis


def incident(model: Model, horizontal: float = 0.0, vertical: float = 0.0, relative: float = 0.0) -> Array:
    """(3,) wave vector of a ray tilted by angles (radian) whose wavelength is off by a fraction."""
    direction = np.array([np.tan(horizontal), np.tan(vertical), -1.0])
    return direction / (np.linalg.norm(direction) * model.wavelength * (1 + relative))


def diffract(model: Model, r: Array, entering: Booleans, kick: Array | None = None) -> Landing:
    """Solve |s0 + R(phi) r| = |s0| exactly and follow the ray to the detector.

    Parameters
    ----------
    r : (n, 3) 1/angstrom, reciprocal-lattice points at zero rotation
    entering : (n,) which of the two solutions: the point goes into the Ewald sphere, or comes out
    kick : (9,) values of `KICKS` of the ray, none: the mean ray
    """
    kick = np.zeros(len(KICKS)) if kick is None else kick
    r = rotate_by_vectors(r, np.broadcast_to(kick[:3], r.shape))
    s0 = incident(model, *kick[3:6])
    along = r @ SPINDLE
    across = r - along[:, None] * SPINDLE
    cosine, sine = across @ s0, np.cross(SPINDLE, across) @ s0
    amplitude = np.hypot(cosine, sine)
    with np.errstate(invalid="ignore", divide="ignore"):
        opening = np.arccos((-0.5 * np.sum(r * r, axis=1) - along * (s0 @ SPINDLE)) / amplitude)
    phi = np.arctan2(sine, cosine) + np.where(entering, opening, -opening)
    s1 = s0 + rotate(r, SPINDLE, phi)
    return Landing(phi=phi, xy=land(model, s1, kick[6:]), s1=s1)


def land(model: Model, s1: Array, start: Array) -> Array:
    """(n, 2) px where rays along s1 from a point (mm) meet the detector; NaN where they go away from it."""
    normal = np.cross(FAST, SLOW)
    with np.errstate(invalid="ignore", divide="ignore"):
        length = ((model.origin - start) @ normal) / (s1 @ normal)
        length = np.where(length > 0, length, np.nan)
        offset = start + length[:, None] * s1 - model.origin
    return np.stack([offset @ FAST, offset @ SLOW], axis=1) / model.pixel


def spread(model: Model, r: Array, entering: Booleans) -> Array:
    """(n, 3, 3) covariance of (phi, x, y) over all rays, from exact rays one standard deviation to either side."""
    total = np.zeros((len(r), 3, 3))
    for number, size in enumerate(kick_sizes(model)):
        if size == 0:
            continue
        kick = np.zeros(len(KICKS))
        kick[number] = 0.5 * size
        high, low = diffract(model, r, entering, kick), diffract(model, r, entering, -kick)
        turn = np.remainder(high.phi - low.phi + np.pi, 2 * np.pi) - np.pi
        move = np.column_stack([turn, high.xy - low.xy])
        total += move[:, :, None] * move[:, None, :]
    return total
