"""Shapes of reflections, learned from the strong ones while the scan passes, and the fit with them.

The profile in the pixels of a frame is a Gaussian whose covariance is a sum of six tensors, each with the dependence on
the place of one cause of spot size, plus a correction table for what is not Gaussian, times the part of the
rocking curve that falls on the frame. The coefficients, the spots' centres and the table are learned for each block
of the scan; since the causes are the same for all spots, weak ones at high resolution get their own size.
Learning takes counts at the centres of pixels, so that the learned shape is already blurred by the pixel, as the
data are (an effective point-spread function: Anderson & King 2000); nothing is resampled, and the counts of
different pixels stay independent.
"""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.hooks.protocols import ProfileFit
from xtal.models import Experiment
from xtal.physics.integration import take_boxes
from xtal.physics.kabsch import kabsch_axes, sources, unit_rows
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal_profile_gaussian_rs.kernels import fit_profiles, moments

Array = NDArray[np.float64]

CELLS = 21
"""Cells of the correction table along each side, over -/+ `REACH` local standard deviations."""
REACH = 5.0
CAP = 300.0
"""Counts beyond which a spot weighs no more."""
PAIRS = np.array([1.0, 2.0, 1.0])
"""How often the elements 11, 12, 22 stand in a symmetric tensor."""
N_CAUSES = 6
PRIOR_COUNTS = 1500.0
"""Weight of the size estimated beforehand against counts of learned spots: five strong ones."""
STRONG_LEVELS = (20.0, 10.0, 5.0, 3.0)
"""Least I/sigma of spots to learn from; the next lower one where there are fewer than `WANTED` in a block."""
WANTED = 300


@define
class _Block:
    """Sums over strong reflections of one block.

    Attributes
    ----------
    matrix, right : normal equations of the coefficients of the causes, (6, 6) and (6,)
    places, centres : normal equations of the centres, (3, 3) and (3, 2)
    drift : (6,) what the drift across the rocking curve adds to ``right``
    cross, square : numerator and denominator of the scale of the drift
    strong : reflections that are learned from
    """

    matrix: Array
    right: Array
    places: Array
    centres: Array
    drift: Array
    cross: float
    square: float
    strong: NDArray[np.bool_]


@define
class GaussianReferences:
    """Learned shapes of one experiment (`xtal.hooks.protocols.ProfileReferences`)."""

    experiment: Experiment
    scan_step: float
    edges: Array = field(init=False)
    _axes: Array = field(init=False)
    _range: Array = field(init=False)
    _unit: float = field(init=False)
    _pixel_angle2: float = field(init=False)
    _blocks: dict[int, _Block] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        scan = self.experiment.scan
        assert scan is not None
        n = max(1, int(np.ceil(abs(scan.oscillation_deg[1]) * scan.n_images / self.scan_step - 1e-6)))
        self.edges = np.linspace(*scan.array_range, n + 1)
        self._axes, self._range = _detector_frame(self.experiment)
        sigma_b = np.radians(np.mean((self.experiment.profile or {})["sigma_b"]))
        self._unit = 0.5 * float(sigma_b) ** 2
        panel = self.experiment.detector[0]
        self._pixel_angle2 = (panel.pixel_size[0] / max(panel.distance, 1e-9)) ** 2

    @property
    def n_blocks(self) -> int:
        return len(self.edges) - 1

    def block_of(self, z: Array) -> NDArray[np.int64]:
        """(n,) block of reflections at array index z."""
        return np.clip(np.searchsorted(self.edges, z, side="right") - 1, 0, self.n_blocks - 1)

    def learn(self, block: int, table: ReflectionTable, boxes: Shoeboxes) -> NDArray[np.bool_]:
        """Take in the reflections of a block; see the protocol."""
        from xtal_profile_gaussian_rs.model import geometry

        strong = _strong(table)
        rows = np.flatnonzero(strong)
        part = take_boxes(boxes, rows)
        chosen = table.select(rows)
        chosen["bbox"] = part.bbox
        geo = geometry(self.experiment, chosen, self._axes[0])
        rocking, out = self._rocking(chosen), np.zeros((len(rows), 10))
        moments(geo, part.bbox, part.offsets, part.data, part.mask, part.background, rocking, out)
        good = np.flatnonzero(out[:, 0] > 0)
        out, drift = out[good], self._drift(chosen)[good]
        # Beyond `CAP` counts not counting rules but position errors; and strong spots, which are at low angles, must
        # not outvote the others.
        weight = 1.0 / (1.0 + out[:, 0] / CAP)
        causes = self._causes(chosen, geo)[good]
        weighted = np.einsum("n,nij,i->nij", weight, causes, PAIRS)
        matrix = np.einsum("n,nij,nik->jk", out[:, 0], weighted, causes)
        terms = self._terms(np.asarray(chosen["s1"])[good])
        shares = terms * weight[:, None]
        # The spread in z is that of the rocking curve; its share in the moments is drift^2 times it.
        spread = out[:, 0] * 0.5 / rocking[good, 1] ** 2
        added = spread[:, None] * np.column_stack([drift[:, 0] ** 2, drift[:, 0] * drift[:, 1], drift[:, 1] ** 2])
        total = out[:, :1]
        cross = out[:, 8:10] - out[:, 6:7] * out[:, 1:3] / total
        square = out[:, 7] - out[:, 6] ** 2 / total[:, 0]
        self._blocks[block] = _Block(
            matrix, np.einsum("nij,ni->j", weighted, out[:, 3:6]), (shares * out[:, :1]).T @ terms,
            shares.T @ out[:, 1:3], np.einsum("nij,ni->j", weighted, added),
            float(weight @ np.sum(cross * drift, axis=1)), float((weight * square) @ np.sum(drift**2, axis=1)), strong,
        )  # fmt: skip
        return strong

    def fit(self, block: int, table: ReflectionTable, boxes: Shoeboxes, floor: float) -> ProfileFit:
        """Fit the reflections of a block; see the protocol."""
        from xtal_profile_gaussian_rs.model import geometry

        cropped = table.select(np.arange(len(table)))
        cropped["bbox"] = boxes.bbox
        geo = geometry(self.experiment, cropped, self._axes[0])
        shape = self._shapes(block, cropped, geo)
        rocking = self._rocking(table)
        level = np.asarray(table["background.mean.variance"], dtype=float)
        correction = self._correction(block, geo, boxes, shape, rocking, level)
        out = np.zeros((len(table), 6))
        _run(geo, boxes, shape, rocking, correction, level, floor, np.empty((0, CELLS, CELLS)), out)
        return ProfileFit(out[:, 4] > 0, out[:, 0], out[:, 1], out[:, 2], out[:, 5])

    def _rocking(self, table: ReflectionTable) -> Array:
        """(n, 2) predicted z, and 1/(sqrt2 sigma) of the rocking curve in frames."""
        from xtal_profile_gaussian_rs.model import sizes

        sigma_m, scan = sizes(self.experiment, table)[2], self.experiment.scan
        assert scan is not None
        k = np.abs(table["zeta"]) * abs(scan.width) / (np.sqrt(2.0) * sigma_m)
        return np.column_stack([np.asarray(table["xyzcal.px"])[:, 2], k])

    def _drift(self, table: ReflectionTable) -> Array:
        """(n, 2) drift of the centre per frame if all of the rocking curve is mosaicity.

        At an angle phi' those blocks reflect that are turned back by zeta (phi' - phi) about e1, the shortest way;
        so s1 moves by (phi' - phi) (m - zeta e1) x (s1 - s0).
        """
        scan, goniometer = self.experiment.scan, self.experiment.goniometer
        assert scan is not None and goniometer is not None
        s1 = np.asarray(table["s1"])
        s0 = sources(self.experiment, np.asarray(table["xyzcal.px"])[:, 2])
        e1 = kabsch_axes(s1, s0)[0]
        motion = np.cross(goniometer.axis - np.asarray(table["zeta"])[:, None] * e1, s1 - s0)
        unit = unit_rows(s1)
        along = unit_rows(self._axes[0] - (unit @ self._axes[0])[:, None] * unit)
        length = np.linalg.norm(s1, axis=1)
        both = np.column_stack([np.sum(motion * a, axis=1) for a in (along, np.cross(unit, along))])
        return np.asarray(both * (scan.width / length)[:, None])

    def _terms(self, s1: Array) -> Array:
        """(n, 3) 1, u, v with (u, v) the place on the detector, which spans -1 to 1."""
        t = unit_rows(np.asarray(s1)) @ self._axes.T
        u, v = (2 * (t - self._range[0]) / (self._range[1] - self._range[0]) - 1).T
        return np.column_stack([np.ones(len(u)), u, v])

    def _causes(self, table: ReflectionTable, geo: Array) -> Array:
        """(n, 3, 6) elements 11, 12, 22 of the tensors of the causes of spot size, in units of sigma_b^2 / 2.

        Divergence of the beam (round and the two ways it can be longer in one direction), lengths on the detector
        (size of crystal and pixel, seen from the sample), mosaicity (along e1, grows with |s1 - s0|) and
        spread of wavelength (along the radius, grows with tan theta).
        """
        unit, u0 = unit_rows(np.asarray(table["s1"])), unit_rows(self.experiment.beam.s0)
        along = unit_rows(self._axes[0] - (unit @ self._axes[0])[:, None] * unit)
        across = np.cross(unit, along)
        e1 = kabsch_axes(unit, u0)[0]
        cosine, sine = np.sum(e1 * along, axis=1), np.sum(e1 * across, axis=1)
        half = np.arccos(np.clip(unit @ u0, -1.0, 1.0)) / 2
        mosaic, spread = 4 * np.sin(half) ** 2, np.tan(half) ** 2
        one, none = np.ones(len(unit)), np.zeros(len(unit))
        jacobian = geo[:, [1, 2, 4, 5]]
        lengths = np.column_stack([
            jacobian[:, 0] ** 2 + jacobian[:, 1] ** 2,
            jacobian[:, 0] * jacobian[:, 2] + jacobian[:, 1] * jacobian[:, 3],
            jacobian[:, 2] ** 2 + jacobian[:, 3] ** 2,
        ]) / geo[:, 6:7]  # fmt: skip
        tensors: list[list[Array]] = [
            [one, none, one], [one, none, -one], [none, one, none], list((lengths / self._pixel_angle2).T),
            [mosaic * cosine**2, mosaic * cosine * sine, mosaic * sine**2],
            [spread * sine**2, -spread * cosine * sine, spread * cosine**2],
        ]  # fmt: skip
        return self._unit * np.stack([np.stack(t, axis=1) for t in tensors], axis=2)

    def _shapes(self, block: int, table: ReflectionTable, geo: Array) -> Array:
        """(n, 8) shape of each reflection; see `kernels`."""
        matrix, right = np.zeros((N_CAUSES, N_CAUSES)), np.zeros(N_CAUSES)
        places, centres = PRIOR_COUNTS * np.eye(3), np.zeros((3, 2))
        near = self._near(block)
        # The drift counts as mosaicity makes it unless the data say otherwise.
        doubt = PRIOR_COUNTS * 1e-3 * self._unit
        square = sum(share * b.square for b, share in near)
        scale = (sum(share * b.cross for b, share in near) + doubt) / (square + doubt)
        scale = min(max(scale, 0.0), 1.5)
        for b, share in near:
            matrix = matrix + share * b.matrix
            right = right + share * (b.right - scale**2 * b.drift)
            places, centres = places + share * b.places, centres + share * b.centres
        # Drawn to a round spot of sigma_b, each cause in proportion to what is known of it.
        counts = places[0, 0] - PRIOR_COUNTS
        prior = PRIOR_COUNTS * (np.diag(matrix) + self._unit**2) / (counts + 1.0)
        right[0] += prior[0]
        v = self._causes(table, geo) @ np.linalg.solve(matrix + np.diag(prior), right)
        centre = self._terms(np.asarray(table["s1"])) @ np.linalg.solve(places, centres)
        v11, v22 = np.maximum(v[:, 0], 0.05 * self._unit), np.maximum(v[:, 2], 0.05 * self._unit)
        v12 = np.clip(v[:, 1], -0.9 * np.sqrt(v11 * v22), 0.9 * np.sqrt(v11 * v22))
        cell = np.full(len(table), REACH / (0.5 * (CELLS - 1)))
        return np.column_stack([v11, v12, v22, centre, scale * self._drift(table), cell])

    def _near(self, block: int) -> list[tuple[_Block, float]]:
        """Blocks that share in the shape of one: its neighbours a little, or all where spots are few."""
        decay = 0.25
        for decay in (0.25, 0.5, 1.0):
            shares = {b: decay ** abs(b - block) for b in self._blocks if b <= block + 1}
            if sum(share * self._blocks[b].strong.sum() for b, share in shares.items()) >= WANTED:
                break
        return [(self._blocks[b], share) for b, share in sorted(shares.items()) if share > 1e-3]

    def _correction(
        self, block: int, geo: Array, boxes: Shoeboxes, shape: Array, rocking: Array, level: Array
    ) -> Array:
        """Correction table of a block from what its strong reflections leave over."""
        table = np.zeros((CELLS, CELLS))
        rows = np.flatnonzero(self._blocks[block].strong)
        part = take_boxes(boxes, rows)
        for _ in range(2 if len(rows) else 0):
            sums, out = np.zeros((3, CELLS, CELLS)), np.zeros((len(rows), 6))
            _run(geo[rows], part, shape[rows], rocking[rows], table, level[rows], 0.5, sums, out)
            scale = np.maximum(sums[1], 1e-9)
            change, noise = sums[0] / scale, sums[2] / scale**2
            # What is not clearly seen is not believed.
            table = table + change * change**2 / (change**2 + noise + 1e-12)
        return table


def _run(
    geo: Array, boxes: Shoeboxes, shape: Array, rocking: Array, table: Array, level: Array, floor: float, sums: Array,
    out: Array,
) -> None:  # fmt: skip
    fit_profiles(
        geo, boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, shape, rocking, table, level,
        float(floor), sums, out,
    )  # fmt: skip


def _strong(table: ReflectionTable) -> NDArray[np.bool_]:
    """Reflections to learn from: strong, whole, undisturbed; overlapped ones only where there are too few others."""
    spoilt = Flag.FOREGROUND_INCLUDES_BAD_PIXELS | Flag.OVERLOADED | Flag.DONT_INTEGRATE
    whole = ~table.has_flags(spoilt | Flag.FAILED_DURING_BACKGROUND_MODELLING, any_of=True)
    whole &= np.asarray(table["partiality"]) > 0.99
    variance = np.asarray(table["intensity.sum.variance"])
    ratio = np.asarray(table["intensity.sum.value"]) / np.sqrt(np.where(variance > 0, variance, np.inf))
    alone = whole & ~table.has_flags(Flag.OVERLAPPED_FG)
    chosen = np.zeros(len(table), bool)
    for candidates in (alone, whole):
        for least in STRONG_LEVELS:
            chosen = candidates & (ratio >= least)
            if chosen.sum() >= WANTED:
                return np.asarray(chosen)
    return chosen


def _detector_frame(experiment: Experiment) -> tuple[Array, Array]:
    """Two axes across the beam, and the range of unit rays along them that the detector covers."""
    beam = unit_rows(experiment.beam.s0)
    first = experiment.detector[0].fast_axis
    across = unit_rows(first - (first @ beam) * beam)
    axes = np.stack([across, np.cross(beam, across)])
    rays = []
    for panel in experiment.detector:
        size = np.array(panel.image_size) * np.array(panel.pixel_size)
        corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * size
        rays.append(unit_rows(panel.lab(corners)) @ axes.T)
    every = np.concatenate(rays)
    return axes, np.stack([every.min(axis=0), every.max(axis=0)])
