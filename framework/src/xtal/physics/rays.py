"""Observed spots to rays, rays to reciprocal space, and the frame in which rotation is simple.

Everything here follows the diffraction geometry of Kabsch (2010), Acta Cryst. D66, 133:
r(phi) = S R(e, phi) F A h and s1 = s0 + r.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models import Beam, Experiment, ExperimentList, Goniometer
from xtal.table import ReflectionTable

Array = NDArray[np.float64]


@frozen(eq=False)
class SpindleFrame:
    """Axes in which the rotation is about the second one and s0 has no first component.

    With m2 the scan axis before S, m3 along the part of S^-1 s0 normal to it and
    m1 = m2 x m3, a vector (a, b, c) turned by phi becomes
    (a cos + c sin, b, c cos - a sin), and the derivative by phi of r = (a, b, c) is (c, 0, -a).

    Attributes
    ----------
    from_crystal : (3, 3) M F, takes A h into the frame at phi = 0
    to_lab : (3, 3) S M^T, takes vectors of the frame (after rotation) to the laboratory
    s0 : (3,) incident wave vector in the frame; s0[0] = 0, s0[2] > 0
    """

    from_crystal: Array
    to_lab: Array
    s0: Array


def spindle_frame(beam: Beam, goniometer: Goniometer, s0: Array | None = None) -> SpindleFrame:
    """Frame of a beam and a goniometer (``s0`` in place of the beam's, if given).

    Raises
    ------
    ValueError
        If the beam runs along the rotation axis: then no angle is defined.
    """
    setting, m2 = goniometer.setting_rotation, goniometer.axis_datum
    s0 = setting.T @ (beam.s0 if s0 is None else s0)
    m1 = np.cross(m2, s0)
    length = np.linalg.norm(m1)
    if length < 1e-8 * np.linalg.norm(s0):
        raise ValueError("the beam runs along the rotation axis")
    m1 = m1 / length
    m = np.array([m1, m2, np.cross(m1, m2)])
    return SpindleFrame(m @ goniometer.fixed_rotation, setting @ m.T, np.array([0.0, m[1] @ s0, m[2] @ s0]))


def diffracting(y: Array, s0: Array, sign: Array | float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Turn reciprocal vectors on to the Ewald sphere.

    Parameters
    ----------
    y : (n, 3) 1/angstrom
        Vectors at phi = 0 in the `SpindleFrame`.
    s0 : (3,)
        Incident wave vector in that frame.
    sign : +1 for the crossing that enters the sphere, -1 for the one that leaves it

    Returns
    -------
    r : (n, 3) the vectors on the sphere
    phi : (n,) radian, in (-pi, pi]
    ok : (n,) whether the vector crosses the sphere at all; elsewhere r lies nearest to it
    """
    a, b, c = y[:, 0], y[:, 1], y[:, 2]
    circle = a * a + c * c
    third = -(0.5 * (circle + b * b) + b * s0[1]) / s0[2]
    first2 = circle - third * third
    ok = first2 >= 0
    first = sign * np.sqrt(np.maximum(first2, 0.0))
    phi = np.arctan2(c * first - a * third, a * first + c * third)
    return np.column_stack([first, b, third]), phi, ok


def is_entering(s1: Array, beam: Beam, goniometer: Goniometer) -> NDArray[np.bool_]:
    """(n,) whether a reflection moves into the Ewald sphere as the crystal turns (s1 . (s0 x e) < 0)."""
    return np.asarray(s1 @ np.cross(beam.s0, goniometer.axis) < 0)


def row_experiments(table: ReflectionTable, experiments: ExperimentList) -> NDArray[np.int64]:
    """(n,) experiment of each row; that of the same images where the row is not indexed.

    Rows that belong to no experiment get -1.
    """
    n = len(table)
    rows = np.asarray(table["id"], dtype=np.int64).copy() if "id" in table else np.zeros(n, np.int64)
    if np.all(rows >= 0):
        return np.where(rows < len(experiments), rows, -1)
    first: dict[int, int] = {}
    for k, experiment in enumerate(experiments):
        first.setdefault(id(experiment.images) if experiment.images is not None else id(experiment.detector), k)
    of_images = np.array(list(first.values()) or [-1])
    images = np.asarray(table["imageset_id"], dtype=np.int64) if "imageset_id" in table else np.zeros(n, np.int64)
    fallback = np.where(images < len(of_images), of_images[np.minimum(images, len(of_images) - 1)], -1)
    return np.where(rows >= 0, rows, fallback)


def centroids_to_mm(table: ReflectionTable, experiments: ExperimentList) -> None:
    """Add ``xyzobs.mm.value``, ``xyzobs.mm.variance`` (mm, mm, radian) and ``s1`` of observed centroids.

    Parameters
    ----------
    table
        With ``xyzobs.px.value``, ``panel`` and ``id`` (or ``imageset_id``); variances if there.
    """
    px = np.asarray(table["xyzobs.px.value"], dtype=float)
    variance = np.asarray(table["xyzobs.px.variance"], dtype=float) if "xyzobs.px.variance" in table else None
    mm, mm_variance, s1 = np.zeros_like(px), np.zeros_like(px), np.zeros_like(px)
    panel, owner = np.asarray(table["panel"], dtype=np.int64), row_experiments(table, experiments)
    for k, experiment in enumerate(experiments):
        scan = experiment.scan
        scale_z = 0.0 if experiment.is_still or scan is None else scan.width
        for p, model in enumerate(experiment.detector):
            rows = np.flatnonzero((owner == k) & (panel == p))
            if len(rows) == 0:
                continue
            mm[rows, :2] = model.px_to_mm(px[rows, :2])
            mm[rows, 2] = 0.0 if scale_z == 0.0 or scan is None else scan.phi(px[rows, 2])
            lab = model.lab(mm[rows, :2])
            s1[rows] = lab / (np.linalg.norm(lab, axis=1, keepdims=True) * experiment.beam.wavelength)
            if variance is not None:
                scale = np.array([*model.pixel_size, scale_z])
                mm_variance[rows] = variance[rows] * scale**2
    table["xyzobs.mm.value"] = mm
    if variance is not None:
        table["xyzobs.mm.variance"] = mm_variance
    table["s1"] = s1


def map_to_reciprocal(table: ReflectionTable, experiments: ExperimentList) -> None:
    """Add ``rlp`` (1/angstrom), the observed spots at zero rotation: F^-1 R(-phi) S^-1 (s1 - s0).

    Centroids are converted first (`centroids_to_mm`), so ``s1`` is the observed one after it.
    """
    centroids_to_mm(table, experiments)
    s1, phi = table["s1"], table["xyzobs.mm.value"][:, 2]
    rlp, owner = np.zeros_like(s1), row_experiments(table, experiments)
    for k, experiment in enumerate(experiments):
        rows = owner == k
        rlp[rows] = to_zero_rotation(experiment, s1[rows] - experiment.beam.s0, phi[rows])
    table["rlp"] = rlp


def to_zero_rotation(experiment: Experiment, r: Array, phi: Array) -> Array:
    """(n, 3) laboratory vectors at rotation phi (n,) turned back to where A h is given."""
    goniometer = experiment.goniometer
    if goniometer is None:
        return r
    v = r @ goniometer.setting_rotation
    if not experiment.is_still:
        e = goniometer.axis_datum
        along = (v @ e)[:, None] * e
        across = v - along
        v = along + np.cos(phi)[:, None] * across - np.sin(phi)[:, None] * np.cross(e, across)
    return np.asarray(v @ goniometer.fixed_rotation)
