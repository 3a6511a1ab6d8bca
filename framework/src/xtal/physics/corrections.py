"""Corrections of intensities for geometry, polarisation and the sensor; never applied here, only computed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.physics.kabsch import unit_rows

Array = NDArray[np.float64]


def lorentz_polarization(experiment: Experiment, s1: Array) -> Array:
    """Factor L/P that multiplies raw intensities (column ``lp``).

    L = |s1 . (m x s0)| / (|s0||s1|), the inverse of the Lorentz factor of a rotation (1 for stills), and
    P = (1 - 2f)(1 - (n.u)^2) + f (1 + (u.u0)^2) for X-rays (Kabsch 1988); electrons are not polarised.

    Parameters
    ----------
    s1 : (n, 3) diffracted wave vectors, 1/angstrom

    Returns
    -------
    (n,) float64
    """
    beam = experiment.beam
    u, u0 = unit_rows(np.asarray(s1, dtype=float)), unit_rows(beam.s0)
    lorentz = np.ones(len(u))
    if not experiment.is_still and experiment.goniometer is not None:
        lorentz = np.abs(u @ np.cross(experiment.goniometer.axis, u0))
    if beam.is_electron or beam.probe == "neutron":
        return lorentz
    f, normal = beam.polarization_fraction, unit_rows(beam.polarization_normal)
    polarization = (1 - 2 * f) * (1 - (u @ normal) ** 2) + f * (1 + (u @ u0) ** 2)
    return np.asarray(lorentz / polarization)


def quantum_efficiency(experiment: Experiment, s1: Array, panel: NDArray[np.integer]) -> Array | None:
    """Part of the photons that the sensor absorbs (column ``qe``, divides raw intensities).

    1 - exp(-mu t / |cos|) with the angle between ray and panel normal.

    Returns
    -------
    (n,) float64, 1 on panels whose sensor is not known; None if none is known
    """
    panels = experiment.detector.panels
    if not any(p.mu > 0 and p.thickness > 0 for p in panels):
        return None
    u = unit_rows(np.asarray(s1, dtype=float))
    normals = np.array([p.normal for p in panels])[panel]
    depth = np.array([p.mu * p.thickness for p in panels])[panel]
    cosine = np.abs(np.sum(u * normals, axis=1))
    return np.where(depth > 0, -np.expm1(-depth / np.maximum(cosine, 1e-3)), 1.0)
