"""Reflections that the ends of the scan cut: the fraction recorded of them, and how well it is known.

That fraction follows from the predicted angle and the rocking width, and small errors of both count: 0.006 degree where
the width is 0.08 are 6 % of half a reflection. Whole reflections show these errors. Each is split in two at a frame
edge (`split_frames`), as the end of a scan could have done, and the part before the edge is compared with the model's:

* over all the scan: by how much the rocking width is off, how much it varies between reflections, and how far angles
  are off for whatever reason;
* near each end: by which distortion D of its reciprocal lattice the crystal differs there from the model. A vector r
  that diffracts to s1 becomes r + D r, which leaves the Ewald sphere unless the crystal turns on about the axis m, by
  -s1 . D r / s1 . (m x r). D (turns and strains) changes linearly with the angle, from the end inwards.

What then still differs by more than counting is the angle's own error. With those of the fit it makes the variance of
the fraction. Fractions come from the profile model: a shifted angle and a wider curve are those of a table with other
predicted angles and another zeta.
"""

from __future__ import annotations

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.hooks.protocols import ProfileModel
from xtal.models import Experiment
from xtal.physics.kabsch import sources
from xtal.table import Flag, ReflectionTable

F = NDArray[np.float64]
Rows = NDArray[np.int64]

WHOLE = 0.9973
"""Fraction recorded from which a reflection counts as whole: three standard deviations on both sides."""
NEAR = np.radians(5.0)
"""Rotation over which the distortion is taken as linear."""
STRONG = 10.0
"""Least I/sigma of reflections that are split."""
INSIDE = 0.01
"""Least fraction on either side of the edge: else it says nothing."""
FEW = 20
"""Reflections below which nothing is measured."""
FAR = 4.0
"""Standard deviations beyond which a reflection is left out."""
ROUNDS = 10
"""Of a fit, whose weights follow from what it leaves over."""
LEAST = 1e-3
"""Fraction recorded below which nothing is divided by it."""
STEP = 0.01
"""Step of derivatives, in frames and as a part of the width."""


@frozen
class Settled:
    """What was found for an experiment's cut reflections.

    Attributes
    ----------
    n_cut : reflections cut by an end of the scan
    width : part by which rocking curves are wider than the profile model's
    angle : rms correction of their angles (radian)
    doubt : rms standard error of their angles after that (radian)
    """

    n_cut: int
    width: float
    angle: float
    doubt: float


@frozen(eq=False)
class _Splits:
    """Reflections split in two.

    Attributes
    ----------
    rows : (n,) of the table
    excess : (n,) fraction before the edge less the model's
    variance : (n,) of that, by counting
    slopes : (n, 2) change of the model's fraction with the angle (per radian) and with the width (per part of it)
    """

    rows: Rows
    excess: F
    variance: F
    slopes: F

    def select(self, keep: NDArray[np.bool_]) -> _Splits:
        return _Splits(self.rows[keep], self.excess[keep], self.variance[keep], self.slopes[keep])


@frozen(eq=False)
class _Fit:
    """Parameters and their covariance, and the variances that are left over."""

    values: F
    covariance: F
    extra: F


def split_frames(bbox: NDArray[np.int32], z: F) -> NDArray[np.int32]:
    """(n,) frame edges at which boxes are split: next to the prediction, in long boxes also next to places round it."""
    room = np.maximum(bbox[:, 5] - bbox[:, 4] - 2, 0)
    edges = np.rint(z + (np.arange(len(z)) % 3 - 1) * room / 6).astype(np.int32)
    return np.clip(edges, bbox[:, 4], bbox[:, 5])


def slim(table: ReflectionTable, rows: Rows) -> ReflectionTable:
    """Only what a profile model needs of some predictions."""
    out = ReflectionTable(n_rows=len(rows))
    for name in ("s1", "xyzcal.px", "xyzcal.mm", "zeta", "panel", "bbox"):
        out[name] = np.asarray(table[name])[rows]
    return out


def settle_cut(table: ReflectionTable, k: int, experiment: Experiment, profile: ProfileModel) -> Settled | None:
    """Correct partiality and profile-fitted intensity of the reflections of experiment k that an end of the scan cuts.

    They get the variance of 1 / partiality in ``partiality.inv.variance``. Whole reflections stay as they are.

    Parameters
    ----------
    table : integrated, with the columns ``split.frame`` and ``split.sums`` of the engine

    Returns
    -------
    None where none is cut, or too few strong ones are whole
    """
    part, mine = np.asarray(table["partiality"]), np.asarray(table["id"]) == k
    cut = np.flatnonzero(mine & (part < WHOLE))
    splits = _split(table, np.flatnonzero(mine & (part >= WHOLE)), experiment, profile)
    if len(cut) == 0 or len(splits.rows) < FEW:
        return None
    overall = _fit(splits, splits.slopes, splits.slopes**2)
    wider, uneven = float(overall.values[1]), float(overall.extra[1])
    shift, variance = _shifts(table, cut, splits, overall, experiment)
    new, slopes = _fractions(slim(table, cut), experiment, profile, shift, wider)
    new = np.clip(new, LEAST, 1)
    spread = slopes[:, 0] ** 2 * variance + slopes[:, 1] ** 2 * (overall.covariance[1, 1] + uneven)
    ratio = part[cut] / new
    table["partiality"][cut], table["partiality.inv.variance"][cut] = new, spread / new**4
    fitted = table.has_flags(Flag.INTEGRATED_PRF)[cut]
    table["intensity.prf.value"][cut[fitted]] *= ratio[fitted]
    table["intensity.prf.variance"][cut[fitted]] *= ratio[fitted] ** 2
    return Settled(len(cut), wider, float(np.sqrt(np.mean(shift**2))), float(np.sqrt(np.mean(variance))))


def _split(table: ReflectionTable, rows: Rows, experiment: Experiment, profile: ProfileModel) -> _Splits:
    """Those of some whole reflections that are strong enough and split where it says something."""
    value, variance = np.asarray(table["intensity.sum.value"])[rows], np.asarray(table["intensity.sum.variance"])[rows]
    good = table.has_flags(Flag.INTEGRATED_SUM)[rows]
    good &= ~table.has_flags(Flag.OVERLAPPED_FG | Flag.OVERLOADED, any_of=True)[rows]
    rows = rows[good & (value > STRONG * np.sqrt(np.maximum(variance, 1.0)))]
    before = slim(table, rows)
    total = profile.partiality(experiment, before)
    before["bbox"] = np.column_stack([before["bbox"][:, :5], np.asarray(table["split.frame"])[rows]])
    model, slopes = _fractions(before, experiment, profile)
    model, slopes = model / total, slopes / total[:, None]
    signal, counts = np.hsplit(np.asarray(table["split.sums"])[rows], 2)
    intensity = signal.sum(axis=1)
    # Of before - model * (before + after).
    noise = counts[:, 0] * (1 - model) ** 2 + counts[:, 1] * model**2
    noise = noise * np.asarray(table["counts_per_photon"])[rows] / intensity**2
    inside = (model > INSIDE) & (model < 1 - INSIDE) & (noise > 0)
    return _Splits(rows, signal[:, 0] / intensity - model, noise, slopes).select(inside)


def _fractions(
    table: ReflectionTable, experiment: Experiment, profile: ProfileModel, shift: F | float = 0.0, wider: float = 0.0
) -> tuple[F, F]:
    """Fraction of reflections in the frames of their boxes, and (n, 2) its changes with angle and width.

    Parameters
    ----------
    shift : added to the predicted angles (radian)
    wider : part by which rocking curves are made wider
    """
    assert experiment.scan is not None
    width, along = experiment.scan.width, np.array([0.0, 0.0, 1.0])

    def part(later: float, more: float) -> F:
        moved = ReflectionTable({name: table[name] for name in table.columns()}, n_rows=len(table))
        turn = np.outer(np.broadcast_to(shift + later, len(table)), along)
        moved["xyzcal.mm"], moved["xyzcal.px"] = table["xyzcal.mm"] + turn, table["xyzcal.px"] + turn / width
        moved["zeta"] = table["zeta"] / (1 + wider + more)
        return profile.partiality(experiment, moved)

    step = STEP * abs(width)
    by_angle = (part(step, 0) - part(-step, 0)) / (2 * step)
    by_width = (part(0, STEP) - part(0, -STEP)) / (2 * STEP)
    return part(0, 0), np.column_stack([by_angle, by_width])


def _shifts(
    table: ReflectionTable, cut: Rows, splits: _Splits, overall: _Fit, experiment: Experiment
) -> tuple[F, F]:  # fmt: skip
    """How much later cut reflections come than predicted (radian), and its variance, by whole ones near each end."""
    scan = experiment.scan
    assert scan is not None
    rest = evolve(splits, excess=splits.excess - overall.values[1] * splits.slopes[:, 1],
                  variance=splits.variance + overall.extra[1] * splits.slopes[:, 1] ** 2)  # fmt: skip
    # The end of a straight line is known half as well as its middle.
    prior = 4 * float(overall.extra[0] + overall.covariance[0, 0])
    shift, variance = np.zeros(len(cut)), np.zeros(len(cut))
    z, (first, last) = np.asarray(table["xyzcal.px"])[:, 2], scan.array_range
    late = z[cut] > 0.5 * (first + last)
    for inwards, mine in ((z - first, ~late), (last - z, late)):
        inwards = inwards * abs(scan.width) / NEAR
        near = rest.select(inwards[rest.rows] < 1)
        by_angle = near.slopes[:, :1]
        fit = _fit(near, _distortions(experiment, table, near.rows, inwards) * by_angle, by_angle**2, prior,
                   overall.extra[:1])  # fmt: skip
        changes = _distortions(experiment, table, cut[mine], inwards)
        shift[mine] = changes @ fit.values
        variance[mine] = np.einsum("ni,ij,nj->n", changes, fit.covariance, changes) + fit.extra
    return shift, variance


def _distortions(experiment: Experiment, table: ReflectionTable, rows: Rows, inwards: F) -> F:
    """(n, 18) shifts of angles by each element of the distortion at the end of the scan, and of its change inwards."""
    assert experiment.goniometer is not None
    s1 = np.asarray(table["s1"])[rows]
    r = s1 - sources(experiment, np.asarray(table["xyzcal.px"])[rows, 2])
    speed = np.einsum("ni,ni->n", s1, np.cross(experiment.goniometer.axis, r))
    here = -np.einsum("ni,nj->nij", s1, r).reshape(-1, 9) / speed[:, None]
    return np.hstack([here, here * inwards[rows, None]])


def _fit(splits: _Splits, design: F, spread: F, prior: float = 1.0, extra: F | None = None) -> _Fit:
    """Least squares of the excess; what is left over of it beyond counting is found along with it.

    Parameters
    ----------
    design : (n, m) change of the fraction with each parameter
    spread : (n, k) variance of the fraction that a variance of 1 of angles or widths makes
    prior : variance of the parameters round 0 that is known beforehand; 1, in radian or as a part, is nothing
    extra : (k,) these variances where there are too few reflections to tell
    """
    from scipy.optimize import nnls

    keep = np.ones(len(splits.rows), dtype=bool)
    extra = np.zeros(spread.shape[1]) if extra is None else extra
    for _ in range(ROUNDS):
        variance = splits.variance + spread @ extra
        weighted = design * (keep / variance)[:, None]
        covariance = np.asarray(np.linalg.inv(weighted.T @ design + np.eye(design.shape[1]) / prior), dtype=float)
        values = covariance @ (weighted.T @ splits.excess)
        if len(keep) < FEW:
            break
        left = splits.excess - design @ values
        pulls = np.abs(left) / np.sqrt(variance)
        keep = pulls < FAR * max(1.0, 1.4826 * float(np.median(pulls)))
        extra = nnls(spread[keep] / variance[keep, None], (left**2 - splits.variance)[keep] / variance[keep])[0]
    return _Fit(values, covariance, extra)
