"""Where and when reflections are seen: static and scan-varying crystals, and stills.

Angles are solved for the exact rotation; a scan-varying crystal is taken linear in z
between its scan points (the convention of the file format) and each reflection is
brought to its own angle by fixed-point iteration, as the crystal drifts slowly.
"""

from __future__ import annotations

from collections.abc import Iterator

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Crystal, Experiment, ExperimentList, Scan
from xtal.physics.rays import SpindleFrame, centroids_to_mm, diffracting, is_entering, spindle_frame
from xtal.physics.resolution import d_of_hkl, highest_resolution
from xtal.table import Flag, ReflectionTable
from xtal.units import DEG

Array = NDArray[np.float64]

SLAB = 400_000
"""Indices that are tried at a time."""

MAX_SWELLING = 0.01
"""Share by which the cell of a scan-varying crystal may differ from its mean, when indices are listed."""


def crystal_of(experiment: Experiment) -> Crystal:
    """The crystal of an experiment.

    Raises
    ------
    DataError
        If the experiment is not indexed.
    """
    if experiment.crystal is None:
        raise DataError("An experiment has no crystal.", advice="Run the index step first.")
    return experiment.crystal


def setting_at(crystal: Crystal, scan: Scan, z: Array) -> Array:
    """(n, 3, 3) A at array indices z, linear between the scan points and constant beyond the ends."""
    points = crystal.A_at_scan_points
    if points is None:
        return np.broadcast_to(crystal.A, (len(z), 3, 3))
    t = np.clip(z - scan.array_range[0], 0.0, len(points) - 1.0)
    k = np.minimum(t.astype(np.int64), len(points) - 2)
    part = (t - k)[:, None, None]
    return np.asarray(points[k] + part * (points[k + 1] - points[k]))


def solve_angles(
    experiment: Experiment, frame: SpindleFrame, hkl: Array, entering: NDArray[np.bool_], phi: Array | None
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Angle at which each index diffracts.

    Parameters
    ----------
    hkl : (n, 3) float
    entering : (n,) which of the two crossings
    phi : (n,) radian, the turn in which the angle is wanted; None for the first of the scan

    Returns
    -------
    s1 : (n, 3) laboratory, 1/angstrom
    phi : (n,) radian, unwrapped
    ok : (n,) whether there is a crossing
    """
    crystal, scan = crystal_of(experiment), experiment.scan
    assert scan is not None
    sign = np.where(entering, 1.0, -1.0)
    start = scan.phi(scan.array_range[0])
    near = np.full(len(hkl), start + np.pi) if phi is None else phi
    r, found, ok = diffracting(hkl @ crystal.A.T @ frame.from_crystal.T, frame.s0, sign)
    found = near + wrap(found - near)
    if crystal.A_at_scan_points is not None:
        for _ in range(3):
            a_h = np.einsum("nij,nj->ni", setting_at(crystal, scan, scan.z(found)), hkl)
            r, again, ok = diffracting(a_h @ frame.from_crystal.T, frame.s0, sign)
            found = found + wrap(again - found)
    return (frame.s0 + r) @ frame.to_lab.T, found, ok


def wrap(angle: Array) -> Array:
    """Angle (radian) in [-pi, pi)."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def predict_reflections(table: ReflectionTable, experiments: ExperimentList) -> None:
    """Fill ``xyzcal.mm``, ``xyzcal.px``, ``s1`` and the flag *predicted* of the rows that have an index.

    Rows need ``miller_index``, ``id``, ``panel`` and ``entering``; where ``entering`` is absent
    it is taken from the observed centroid and added. The angle is the one nearest to the
    observed one, where there is one. Edges of panels and scan are not heeded, so that a
    reflection keeps its panel. Rows without an experiment or index are left as they are.
    Stills also get ``delpsical.rad``.
    """
    ids, hkl = np.asarray(table["id"]), np.asarray(table["miller_index"], dtype=float)
    indexed = (ids >= 0) & np.any(hkl != 0, axis=1)
    _ensure_columns(table, experiments)
    observed = np.asarray(table["xyzobs.mm.value"])[:, 2] if "xyzobs.mm.value" in table else None
    for k, experiment in enumerate(experiments):
        rows = np.flatnonzero(indexed & (ids == k))
        if len(rows) == 0:
            continue
        if experiment.is_still:
            s1, phi, ok = still_rays(experiment, hkl[rows])
            _delta_psi(table)[rows] = phi
            z = np.zeros(len(rows))
            phi = z
        else:
            assert experiment.goniometer is not None and experiment.scan is not None
            frame = spindle_frame(experiment.beam, experiment.goniometer)
            near = None if observed is None else observed[rows]
            s1, phi, ok = solve_angles(experiment, frame, hkl[rows], np.asarray(table["entering"])[rows], near)
            z = experiment.scan.z(phi)
        _fill(table, experiment, rows, s1, phi, z, ok)


def _delta_psi(table: ReflectionTable) -> Array:
    if "delpsical.rad" not in table:
        table["delpsical.rad"] = np.zeros(len(table))
    return np.asarray(table["delpsical.rad"])


def _ensure_columns(table: ReflectionTable, experiments: ExperimentList) -> None:
    """Make the columns that prediction writes, and ``entering`` from what was observed."""
    n = len(table)
    if "entering" not in table:
        if "s1" not in table and "xyzobs.px.value" in table:
            centroids_to_mm(table, experiments)
        entering, ids = np.zeros(n, bool), np.asarray(table["id"])
        for k, experiment in enumerate(experiments):
            if experiment.goniometer is not None and not experiment.is_still:
                rows = ids == k
                entering[rows] = is_entering(table["s1"][rows], experiment.beam, experiment.goniometer)
        table["entering"] = entering
    for name in ("xyzcal.mm", "xyzcal.px", "s1"):
        table[name] = np.array(table[name], dtype=float) if name in table else np.zeros((n, 3))
    if "flags" not in table:
        table["flags"] = np.zeros(n, np.uint64)


def _fill(
    table: ReflectionTable, experiment: Experiment, rows: NDArray[np.int64], s1: Array, phi: Array, z: Array,
    ok: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Write rays as positions on the panels that the rows name."""
    panel = np.asarray(table["panel"])[rows]
    ok = ok.copy()
    mm, px = np.zeros((len(rows), 3)), np.zeros((len(rows), 3))
    mm[:, 2], px[:, 2] = phi, z
    for p in np.unique(panel):
        here = np.flatnonzero(panel == p)
        model = experiment.detector[int(p)]
        v = s1[here] @ np.linalg.inv(model.d_matrix).T
        towards = v[:, 2] > 0
        ok[here] &= towards
        xy = v[:, :2] / np.where(towards, v[:, 2], 1.0)[:, None]
        mm[here, :2], px[here, :2] = xy, model.mm_to_px(xy)
    good = rows[ok]
    table["xyzcal.mm"][good], table["xyzcal.px"][good], table["s1"][good] = mm[ok], px[ok], s1[ok]
    table.clear_flags(rows, Flag.PREDICTED)
    table.set_flags(good, Flag.PREDICTED)


def still_rays(experiment: Experiment, hkl: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Rays of a still and how far each lattice point is from the Ewald sphere.

    The point is turned on to the sphere about the axis normal to it and to the beam
    (Sauter et al. 2014, Acta Cryst. D70, 3299).

    Returns
    -------
    s1 : (n, 3); delta_psi : (n,) radian; ok : (n,)
    """
    q = hkl @ crystal_of(experiment).A.T
    s0 = experiment.beam.s0
    direction = -experiment.beam.direction
    q2 = np.einsum("ni,ni->n", q, q)
    axis = np.cross(q, direction)
    length = np.linalg.norm(axis, axis=1)
    a = 0.5 * q2 * experiment.beam.wavelength
    ok = (length > 1e-12) & (q2 > a * a)
    axis = axis / np.where(ok, length, 1.0)[:, None]
    across = np.cross(direction, axis)
    r = -a[:, None] * direction + np.sqrt(np.maximum(q2 - a * a, 0.0))[:, None] * across
    unit_q = q / np.sqrt(np.where(ok, q2, 1.0))[:, None]
    sideways = np.cross(unit_q, axis)
    delta_psi = -np.arctan2(np.einsum("ni,ni->n", r, sideways), np.einsum("ni,ni->n", r, unit_q))
    return s0 + r, delta_psi, ok


def indices_within(crystal: Crystal, d_min: float, a_matrix: Array | None = None) -> Iterator[NDArray[np.int64]]:
    """All Miller indices with d >= d_min that the lattice's centring allows, in slabs of h.

    Yields
    ------
    (n, 3) int64, h slowest, without 0 0 0
    """
    a_matrix = crystal.A if a_matrix is None else a_matrix
    real = np.linalg.norm(np.linalg.inv(a_matrix), axis=1)
    h_max, k_max, l_max = np.floor(real / d_min + 1e-9).astype(int)
    k, l = np.meshgrid(np.arange(-k_max, k_max + 1), np.arange(-l_max, l_max + 1), indexing="ij")
    plane = np.column_stack([k.ravel(), l.ravel()])
    per_slab = max(1, SLAB // len(plane))
    operations = crystal.space_group.operations()
    for first in range(-h_max, h_max + 1, per_slab):
        h = np.arange(first, min(first + per_slab, h_max + 1))
        hkl = np.column_stack([np.repeat(h, len(plane)), np.tile(plane, (len(h), 1))])
        r = hkl @ a_matrix.T
        r2 = np.einsum("ni,ni->n", r, r)
        hkl = hkl[(r2 <= 1 / d_min**2) & (r2 > 0)]
        yield hkl[~absent(hkl, operations)]


def absent(hkl: NDArray[np.int64], operations: gemmi.GroupOps) -> NDArray[np.bool_]:
    """(n,) indices that the lattice's centring extinguishes.

    Absences by screw axes and glide planes are predicted all the same: they are what tells
    the space group, and whether it was given right.
    """
    out = np.zeros(len(hkl), bool)
    for centring in operations.cen_ops:
        if any(centring):
            out |= (hkl @ np.array(centring)) % gemmi.Op.DEN != 0
    return out


def predict_all(
    experiment: Experiment,
    d_min: float | None = None,
    padding: float = 0.0,
    d_max: float | None = None,
    force_static: bool = False,
) -> ReflectionTable:
    """Every reflection that the scan (or still) puts on the detector.

    Parameters
    ----------
    d_min, d_max
        Limits of resolution, angstrom; d_min None: that of the corners of the detector.
    padding
        Degrees by which the scan is widened at both ends.
    force_static
        Ignore the scan points of the crystal.

    Returns
    -------
    ReflectionTable
        ``miller_index id panel entering s1 xyzcal.mm xyzcal.px flags``; one row for every turn in
        which a reflection is met. Sorted by nothing but index and crossing.

    Raises
    ------
    DataError
        If d_min is beyond what the wavelength can reach.
    """
    crystal = crystal_of(experiment)
    if d_min is None:
        d_min = highest_resolution(experiment.detector, experiment.beam)
    if d_min < experiment.beam.wavelength / 2 - 1e-9:
        raise DataError(
            f"The resolution limit {d_min:g} Å is beyond half the wavelength ({experiment.beam.wavelength / 2:g} Å).",
            advice="Give a larger d_min.",
        )
    static = force_static or crystal.A_at_scan_points is None
    parts: list[Rows] = []
    for hkl in indices_within(crystal, d_min if static else d_min * (1 - MAX_SWELLING)):
        if experiment.is_still:
            rows = [_still_rows(experiment, hkl)]
        else:
            rows = [_scan_rows(experiment, hkl, padding * DEG, static, e) for e in (True, False)]
        parts.extend(_within(r, experiment, 1 / d_min, 0.0 if d_max is None else 1 / d_max) for r in rows)
    return _assemble(experiment, parts)


Rows = tuple[NDArray[np.int64], NDArray[np.bool_], Array, Array]


def _scan_rows(experiment: Experiment, hkl: NDArray[np.int64], padding: float, static: bool, entering: bool) -> Rows:
    """Indices, crossing, s1 and unwrapped angles of one of the two crossings within the scan."""
    goniometer, scan, crystal = experiment.goniometer, experiment.scan, crystal_of(experiment)
    assert goniometer is not None and scan is not None
    frame = spindle_frame(experiment.beam, goniometer)
    low, high = (scan.phi(z) for z in scan.array_range)
    low, high = low - padding, high + padding
    margin = 0.0 if static else _drift(crystal)
    sign = 1.0 if entering else -1.0
    a_matrix = crystal.A if static or crystal.A_at_scan_points is None else crystal.A_at_scan_points.mean(axis=0)
    y = hkl @ (frame.from_crystal @ a_matrix).T
    # A point that only just misses the sphere on average may reach it at its own angle.
    slack = 0.0 if static else 4 * margin
    circle = y[:, 0] ** 2 + y[:, 2] ** 2
    third = (0.5 * (circle + y[:, 1] ** 2) + y[:, 1] * frame.s0[1]) / frame.s0[2]
    keep = third**2 <= circle * (1 + slack)
    hkl, y = hkl[keep], y[keep]
    r, phi, ok = diffracting(y, frame.s0, sign)
    phi = low - margin + (phi - low + margin) % (2 * np.pi)
    turns = []
    while True:
        inside = np.flatnonzero(phi <= high + margin)
        if len(inside) == 0:
            break
        turns.append((inside, phi[inside]))
        phi = phi + 2 * np.pi
    if not turns:
        return hkl[:0], np.zeros(0, bool), np.zeros((0, 3)), np.zeros(0)
    rows = np.concatenate([t[0] for t in turns])
    hkl, phi, r, ok = hkl[rows], np.concatenate([t[1] for t in turns]), r[rows], ok[rows]
    s1 = (frame.s0 + r) @ frame.to_lab.T
    if not static:
        s1, phi, ok = solve_angles(experiment, frame, hkl.astype(float), np.full(len(hkl), entering), phi)
        ok &= (phi >= low) & (phi <= high)
    return hkl[ok], np.full(int(ok.sum()), entering), s1[ok], phi[ok]


def _within(rows: Rows, experiment: Experiment, high: float, low: float) -> Rows:
    """Rays whose reciprocal vector, at their own angle, is of a length from low to high (1/angstrom)."""
    hkl, entering, s1, phi = rows
    if experiment.is_still:
        length = 1 / d_of_hkl(hkl, crystal_of(experiment).A)
    else:
        length = np.linalg.norm(s1 - experiment.beam.s0, axis=1)
    keep = (length <= high * (1 + 1e-9)) & (length >= low)
    return hkl[keep], entering[keep], s1[keep], phi[keep]


def _drift(crystal: Crystal) -> float:
    """Generous bound (radian) of how far a scan-varying crystal turns from its mean."""
    points = crystal.A_at_scan_points
    assert points is not None
    mean = points.mean(axis=0)
    change = np.linalg.norm((points - mean) @ np.linalg.inv(mean), axis=(1, 2)).max()
    return float(min(0.5, 10 * change + 1e-4))


def _still_rows(experiment: Experiment, hkl: NDArray[np.int64], limit: float = 0.0015) -> Rows:
    """Indices of a still within ``limit`` (radian) of the Ewald sphere."""
    s1, delta_psi, ok = still_rays(experiment, hkl.astype(float))
    ok &= np.abs(delta_psi) < limit
    return hkl[ok], np.zeros(int(ok.sum()), bool), s1[ok], delta_psi[ok]


def _assemble(experiment: Experiment, parts: list[Rows]) -> ReflectionTable:
    """Table of the rays that hit a panel."""
    hkl, entering, s1, phi = (np.concatenate([p[i] for p in parts]) for i in range(4))
    panel, xy = experiment.detector.intersect(s1)
    hit = panel >= 0
    hkl, entering, s1, phi, panel, xy = hkl[hit], entering[hit], s1[hit], phi[hit], panel[hit], xy[hit]
    px = np.empty((len(hkl), 3))
    for p, model in enumerate(experiment.detector):
        here = panel == p
        px[here, :2] = model.mm_to_px(xy[here])
    still = experiment.is_still or experiment.scan is None
    px[:, 2] = 0.0 if still else experiment.scan.z(phi)  # type: ignore[union-attr]  # no still without scan
    table = ReflectionTable(n_rows=len(hkl))
    table["miller_index"] = hkl.astype(np.int32)
    table["id"] = np.zeros(len(hkl), np.int32)
    table["panel"] = panel.astype(np.uint64)
    table["entering"] = entering
    table["s1"] = s1
    table["xyzcal.mm"] = np.column_stack([xy, np.zeros_like(phi) if still else phi])
    table["xyzcal.px"] = px
    table["flags"] = np.full(len(hkl), int(Flag.PREDICTED), np.uint64)
    if still:
        table["delpsical.rad"] = phi
    return table
