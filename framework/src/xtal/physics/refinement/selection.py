"""Which centroids refinement may use, and the observations made of them."""

from __future__ import annotations

import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.models import Experiment, ExperimentList
from xtal.physics.rays import centroids_to_mm, is_entering
from xtal.physics.refinement.problem import Observations
from xtal.physics.refinement.settings import RefinementSettings
from xtal.table import Flag, ReflectionTable
from xtal.units import DEG

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]

FEWEST_WHOLE = 5
"""Spots of a scan seen whole that determine its angles without those that run out of it."""


@define(eq=False)
class Selection:
    """Usable rows of the table and what was observed there.

    Attributes
    ----------
    rows : (n,) rows of the table
    obs : observations of those rows; weights are 1 / variance as the table states it
    variance : (n, 3) px, px, images squared, as the table states it
    scale : (n, 3) mm, mm, radian per px, px, image
    phi_weight : (n,) 0 where the angle was not observed whole, else 1
    """

    rows: NDArray[np.int64]
    obs: Observations
    variance: Array
    scale: Array
    phi_weight: Array


def select(table: ReflectionTable, experiments: ExperimentList, settings: RefinementSettings) -> Selection:
    """Choose rows, and write ``xyzobs.mm.*`` and ``entering`` of the table.

    Left out are rows without index, overloads, those flagged unsuitable, those near the
    spindle or outside the scan.
    """
    centroids_to_mm(table, experiments)
    observed_s1 = np.asarray(table["s1"])
    table["entering"] = entering_of(table, experiments, observed_s1)
    ids = np.asarray(table["id"], dtype=np.int64)
    usable = (ids >= 0) & (ids < len(experiments)) & np.any(np.asarray(table["miller_index"]) != 0, axis=1)
    usable &= ~table.has_flags(Flag.OVERLOADED | Flag.NOT_SUITABLE_FOR_REFINEMENT, any_of=True)
    for k, experiment in enumerate(experiments):
        rows = np.flatnonzero(usable & (ids == k))
        usable[rows] = inside(experiment, observed_s1[rows], table["xyzobs.px.value"][rows, 2], settings)
    rows = thinned(np.flatnonzero(usable), settings.max_reflections)
    variance = np.asarray(table["xyzobs.px.variance"], dtype=float)[rows]
    still = np.array([e.is_still for e in experiments], dtype=bool)[ids[rows]]
    # Angles of stills are in mrad, and 1 mrad is expected of them before residuals say better.
    variance[still, 2] = 1.0
    scale = scales(table, experiments, rows)
    entering = np.asarray(table["entering"])[rows]
    obs = Observations(
        ids[rows],
        np.asarray(table["panel"], dtype=np.int64)[rows],
        np.asarray(table["miller_index"], dtype=float)[rows],
        np.where(entering, 1.0, -1.0),
        np.asarray(table["xyzobs.mm.value"])[rows],
        np.asarray(table["xyzobs.px.value"], dtype=float)[rows, 2],
        1.0 / np.maximum(variance * scale**2, 1e-18),
    )
    return Selection(rows, obs, variance, scale, phi_weights(table, experiments, rows))


def entering_of(table: ReflectionTable, experiments: ExperimentList, s1: Array) -> Bool:
    """(n,) crossing of each row, from where it was observed."""
    out, ids = np.zeros(len(table), bool), np.asarray(table["id"])
    for k, experiment in enumerate(experiments):
        if experiment.goniometer is not None and not experiment.is_still:
            rows = ids == k
            out[rows] = is_entering(s1[rows], experiment.beam, experiment.goniometer)
    return out


def inside(experiment: Experiment, s1: Array, z: Array, settings: RefinementSettings) -> Bool:
    """Rows of an experiment that are well away from the spindle and within the scan."""
    if experiment.is_still or experiment.goniometer is None or experiment.scan is None:
        return np.ones(len(s1), bool)
    across = np.cross(s1, experiment.beam.s0)
    length = np.linalg.norm(across, axis=1)
    zeta = np.abs(across @ experiment.goniometer.axis) / np.maximum(length, 1e-12)
    z0, z1 = experiment.scan.array_range
    good = (zeta > settings.close_to_spindle_cutoff) & (z >= z0) & (z <= z1)
    margin = settings.scan_margin_deg * DEG / experiment.scan.width
    trimmed = good & (z >= z0 + margin) & (z <= z1 - margin)
    return trimmed if margin > 0 and trimmed.sum() >= 40 else good


def thinned(rows: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    """At most so many rows, drawn at random with a fixed seed (tables are ordered in space and time)."""
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(42).choice(rows, most, replace=False))


def scales(table: ReflectionTable, experiments: ExperimentList, rows: NDArray[np.int64]) -> Array:
    """(n, 3) mm, mm and radian per pixel, pixel and image."""
    out = np.ones((len(rows), 3))
    ids, panels = np.asarray(table["id"])[rows], np.asarray(table["panel"], dtype=np.int64)[rows]
    for k, experiment in enumerate(experiments):
        mine = ids == k
        sizes = np.array([p.pixel_size for p in experiment.detector])
        out[mine, :2] = sizes[panels[mine]]
        out[mine, 2] = 1e-3 if experiment.is_still or experiment.scan is None else experiment.scan.width
    return out


def phi_weights(table: ReflectionTable, experiments: ExperimentList, rows: NDArray[np.int64]) -> Array:
    """0 where a spot runs out of the scan, so that its centre in phi was not seen; else 1.

    Where hardly a spot does not (scans of a few images) all angles are kept, for want of better.
    """
    out = np.ones(len(rows))
    if "bbox" not in table:
        return out
    bbox, ids = np.asarray(table["bbox"])[rows], np.asarray(table["id"])[rows]
    for k, experiment in enumerate(experiments):
        if experiment.is_still or experiment.scan is None:
            continue
        z0, z1 = experiment.scan.array_range
        mine = np.flatnonzero(ids == k)
        cut = (bbox[mine, 4] <= z0) | (bbox[mine, 5] >= z1)
        if (~cut).sum() >= FEWEST_WHOLE:
            out[mine[cut]] = 0.0
    return out
