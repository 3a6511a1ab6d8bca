"""The local frame of a reflection and what follows from it (Kabsch 1988, 2010).

With s0 and s1 the incident and diffracted wave vectors at the predicted position and m the
rotation axis::

    e1 = s1 x s0 / |..|     e2 = s1 x e1 / |..|     zeta = m . e1

A direction s' of length |s1| has the angular coordinates c1 = e1 . (s' - s1)/|s1| and
c2 = e2 . (s' - s1)/|s1|; a rotation by phi' - phi gives c3 = zeta (phi' - phi). In these
coordinates (radian) every reflection of a crystal has much the same shape.

References: Kabsch, W. (1988) J. Appl. Cryst. 21, 916; (2010) Acta Cryst. D66, 133.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment

Array = NDArray[np.float64]


def unit_rows(vectors: Array) -> Array:
    """(n, 3) rows scaled to length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def kabsch_axes(s1: Array, s0: Array) -> tuple[Array, Array]:
    """Axes e1 and e2 of reflections.

    Parameters
    ----------
    s1 : (n, 3) 1/angstrom
    s0 : (3,) or (n, 3) 1/angstrom

    Returns
    -------
    e1, e2 : (n, 3) unit vectors; e1 is tangential, e2 points along the radius
    """
    e1 = unit_rows(np.cross(s1, s0))
    return e1, unit_rows(np.cross(s1, e1))


def zeta(s1: Array, s0: Array, axis: Array) -> Array:
    """(n,) signed factor from a rotation angle to the rocking angle c3; small near the axis."""
    return np.asarray(kabsch_axes(s1, s0)[0] @ np.asarray(axis, dtype=float))


def sources(experiment: Experiment, z: Array) -> Array:
    """(n, 3) incident wave vectors at array indices z; those of the nearest scan point where the beam drifts."""
    points = experiment.beam.s0_at_scan_points
    if points is None or experiment.scan is None:
        return np.broadcast_to(experiment.beam.s0, (len(z), 3))
    at = np.rint(np.asarray(z) - experiment.scan.array_range[0]).astype(int)
    return np.asarray(points)[np.clip(at, 0, len(points) - 1)]


def corner_directions(s1: Array, s0: Array, half_widths: Array) -> Array:
    """(n, 4, 3) wave vectors at the corners (c1, c2) = (-/+ first, -/+ second) of ``half_widths`` (n, 2), radian."""
    e1, e2 = kabsch_axes(s1, s0)
    length = np.linalg.norm(s1, axis=1)[:, None]
    p1, p2 = half_widths[:, :1] * e1, half_widths[:, 1:] * e2
    corners = []
    for sign1, sign2 in ((-1, -1), (1, -1), (-1, 1), (1, 1)):
        p = sign1 * p1 + sign2 * p2
        corners.append(length * (p + np.sqrt(np.maximum(1 - np.sum(p * p, axis=1, keepdims=True), 0)) * s1 / length))
    return np.stack(corners, axis=1)


def fraction_between(phi: Array, zeta_: Array, sigma_m: Array | float, phi_a: Array, phi_b: Array) -> Array:
    """Part of a reflection recorded while the crystal turns from ``phi_a`` to ``phi_b`` (all radian).

    The rocking curve is a Gaussian of width ``sigma_m`` in c3. With the angles of the box it is the
    partiality.
    """
    from scipy.special import erf

    k = np.abs(zeta_) / (np.sqrt(2.0) * sigma_m)
    return np.asarray(0.5 * np.abs(erf(k * (phi_b - phi)) - erf(k * (phi_a - phi))))
