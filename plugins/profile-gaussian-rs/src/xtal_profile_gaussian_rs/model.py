"""The profile model: estimation, extent, foreground, partiality."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, OptionError
from xtal.hooks.protocols import ProfileEstimate
from xtal.models import Experiment
from xtal.physics.integration import footprint_boxes
from xtal.physics.kabsch import corner_directions, fraction_between, kabsch_axes, sources, unit_rows
from xtal.table import ReflectionTable
from xtal.words import counted
from xtal_profile_gaussian_rs import estimate
from xtal_profile_gaussian_rs.kernels import footprints
from xtal_profile_gaussian_rs.options import GaussianRsOptions
from xtal_profile_gaussian_rs.references import GaussianReferences

Array = NDArray[np.float64]

ENOUGH = 10_000
"""Spots that are used at most for the size, those of refinement first."""


class GaussianRs:
    """Profile model of a rotation scan in Kabsch's local frame (`xtal.hooks.protocols.ProfileModel`)."""

    def __init__(self, options: GaussianRsOptions | None = None) -> None:
        self.options = options or GaussianRsOptions()

    def estimate(self, experiment: Experiment, spots: ReflectionTable) -> ProfileEstimate:
        """Size of spots; see the protocol."""
        given = self.options.parameters
        if (given.sigma_b is None) != (given.sigma_m is None):
            raise OptionError(
                "profile.gaussian_rs.parameters.sigma_b and sigma_m go together.",
                advice="Give both of them or neither.",
            )
        if given.sigma_b is not None and given.sigma_m is not None:
            return ProfileEstimate(self._json(given.sigma_b, given.sigma_m), len(spots), [])
        notes: list[str] = []
        far = np.abs(spots["zeta"]) >= self.options.filter.min_zeta
        if not far.any():
            raise AlgorithmFailed(
                "There are no strong spots from which the size of reflections could be estimated.",
                advice="Give the table that refine wrote (refined.refl), or profile.gaussian_rs.parameters.sigma_b and "
                "sigma_m in degrees.",
            )
        spots = _limited(spots.select(far))
        moments, counts = estimate.divergence(experiment, spots)
        if not np.isfinite(moments).any():
            raise AlgorithmFailed(
                "The strong spots hold no counts.", advice="Give profile.gaussian_rs.parameters.sigma_b and sigma_m."
            )
        sigma_b = float(np.sqrt(np.nanmean(moments[:, 0])))
        mosaic, across = estimate.mosaic_and_across(moments, estimate.ring_growth(experiment, spots), counts)
        parts = estimate.frame_counts(experiment, spots)
        sigma_m = estimate.rocking_width(*parts) if len(parts[0]) else experiment.scan.width  # type: ignore[union-attr]
        if len(spots) < self.options.min_spots.overall:
            notes.append(
                f"The size of reflections comes from {counted(len(spots), 'strong spot')} only "
                f"(profile.gaussian_rs.min_spots.overall={self.options.min_spots.overall} are wanted): it is uncertain."
            )
        profile = self._json(np.degrees(sigma_b), np.degrees(sigma_m))
        # The strongest spots, which count most there, may be wider than most for reasons of their own.
        profile |= {
            "sigma_across": float(np.degrees(min(across, sigma_b))), "sigma_mosaic": float(np.degrees(mosaic))
        }  # fmt: skip
        return ProfileEstimate(profile, len(spots), notes)

    def _json(self, sigma_b_deg: float, sigma_m_deg: float) -> dict[str, Any]:
        n_sigma = self.options.parameters.n_sigma
        return {
            "__id__": "gaussian_rs", "n_sigma": n_sigma, "sigma_b": float(sigma_b_deg), "sigma_m": float(sigma_m_deg)
        }  # fmt: skip

    def bbox(self, experiment: Experiment, table: ReflectionTable, margin: float) -> NDArray[np.int32]:
        """Boxes of reflections; see the protocol."""
        n_sigma, _, sigma_m = sizes(experiment, table)
        s1, position = np.asarray(table["s1"]), np.asarray(table["xyzcal.px"])
        reach = radii(experiment, table)
        reach = reach + (margin - 1) * reach[:, 1:]  # as much room beyond the ends of an ellipse as beyond its sides
        corners = corner_directions(s1, sources(experiment, position[:, 2]), reach)
        out = np.zeros((len(table), 6), np.int32)
        panel = np.asarray(table["panel"])
        for p in np.unique(panel):
            here = panel == p
            model = experiment.detector[int(p)]
            xy = model.mm_to_px(model.intersect(corners[here].reshape(-1, 3))[0]).reshape(-1, 4, 2)
            out[here, 0:4:2], out[here, 1:4:2] = np.floor(xy.min(axis=1)), np.ceil(xy.max(axis=1))
        scan = experiment.scan
        assert scan is not None
        reach = n_sigma * sigma_m / np.maximum(np.abs(table["zeta"]), 1e-6) / abs(scan.width)
        first, last = scan.array_range
        out[:, 4] = np.clip(np.floor(np.clip(position[:, 2] - reach, first, last)), first, last - 1)
        out[:, 5] = np.clip(np.ceil(np.clip(position[:, 2] + reach, first, last)), first + 1, last)
        return out

    def partiality(self, experiment: Experiment, table: ReflectionTable) -> Array:
        """Part of each reflection within the frames of its box; see the protocol."""
        scan, sigma_m = experiment.scan, sizes(experiment, table)[2]
        assert scan is not None
        phi, bbox = np.asarray(table["xyzcal.mm"])[:, 2], np.asarray(table["bbox"])
        return fraction_between(phi, np.asarray(table["zeta"]), sigma_m, scan.phi(bbox[:, 4]), scan.phi(bbox[:, 5]))

    def footprint(self, experiment: Experiment, table: ReflectionTable) -> NDArray[np.uint8]:
        """Foreground of one layer of each box; see the protocol."""
        bbox = np.ascontiguousarray(table["bbox"], dtype=np.int32)
        starts = footprint_boxes(bbox)
        out = np.empty(int(starts[-1]), np.uint8)
        centre = np.floor(np.asarray(table["xyzcal.px"])[:, :2])
        footprints(geometry(experiment, table), bbox, centre, radii(experiment, table), starts, out)
        return out

    def references(self, experiment: Experiment) -> GaussianReferences:
        """Shapes, to be learned; see the protocol."""
        return GaussianReferences(experiment, self.options.fitting.scan_step)


def _limited(spots: ReflectionTable) -> ReflectionTable:
    """At most `ENOUGH` spots, evenly spread."""
    if len(spots) <= ENOUGH:
        return spots
    return spots.select(np.linspace(0, len(spots) - 1, ENOUGH).astype(np.int64))


def sizes(experiment: Experiment, table: ReflectionTable) -> tuple[float, Array, Array]:
    """n_sigma, and sigma_b and sigma_m (radian) at each reflection's frame; files may hold one value per frame."""
    profile = experiment.profile
    if not profile or profile.get("__id__") != "gaussian_rs":
        raise AlgorithmFailed(
            "The experiment has no profile model gaussian_rs.", advice="Run integrate with create_profile_model=True."
        )
    z = np.asarray(table["xyzcal.px"])[:, 2]
    first = experiment.scan.array_range[0] if experiment.scan else 0
    out = []
    for name in ("sigma_b", "sigma_m"):
        values = np.radians(np.atleast_1d(np.asarray(profile[name], dtype=float)))
        out.append(values[np.clip(np.floor(z).astype(int) - first, 0, len(values) - 1)])
    return float(profile.get("n_sigma", 3.0)), out[0], out[1]


def radii(experiment: Experiment, table: ReflectionTable) -> Array:
    """(n, 2) radii (radian) of the foreground along the ring and across it.

    Where the profile does not tell mosaicity from the rest (DIALS's, or sizes that the user gave) both are n_sigma
    times sigma_b.
    """
    n_sigma, sigma_b, _ = sizes(experiment, table)
    profile = experiment.profile or {}
    if "sigma_mosaic" not in profile:
        return n_sigma * np.column_stack([sigma_b, sigma_b])
    across, mosaic = np.radians([profile["sigma_across"], profile["sigma_mosaic"]])
    along = np.sqrt(across**2 + mosaic**2 * estimate.ring_growth(experiment, table))
    return n_sigma * np.column_stack([along, np.full(len(table), across)])


def geometry(experiment: Experiment, table: ReflectionTable, along: Array | None = None) -> Array:
    """(n, 11) what the kernels need to turn pixels of each box into c1 and c2; see `kernels`.

    The shift by parallax is that of the predicted position for all pixels of a box. With ``along`` (3,) the first axis
    lies along this vector's projection across s1 in place of Kabsch's e1.
    """
    s1, position = np.asarray(table["s1"]), np.asarray(table["xyzcal.px"])
    if along is None:
        e1, e2 = kabsch_axes(s1, sources(experiment, position[:, 2]))
    else:
        u = unit_rows(s1)
        e1 = unit_rows(along - (u @ along)[:, None] * u)
        e2 = np.cross(u, e1)
    bbox, panel = np.asarray(table["bbox"]), np.asarray(table["panel"])
    out = np.zeros((len(table), 11))
    for p in np.unique(panel):
        here = np.flatnonzero(panel == p)
        model = experiment.detector[int(p)]
        size = np.array(model.pixel_size)
        # The ray of the prediction itself is the reference, so that (0, 0) is exactly at s1.
        shift = model.px_to_mm(position[here, :2]) - position[here, :2] * size
        corner = model.lab(bbox[here][:, [0, 2]] * size + shift)
        fast, slow = model.fast_axis * size[0], model.slow_axis * size[1]
        for k, axis in ((0, e1[here]), (3, e2[here])):
            out[here, k] = np.einsum("ni,ni->n", axis, corner)
            out[here, k + 1], out[here, k + 2] = axis @ fast, axis @ slow
        out[here, 6] = np.einsum("ni,ni->n", corner, corner)
        out[here, 7], out[here, 8] = 2 * corner @ fast, 2 * corner @ slow
        out[here, 9], out[here, 10] = fast @ fast, slow @ slow
    return out
