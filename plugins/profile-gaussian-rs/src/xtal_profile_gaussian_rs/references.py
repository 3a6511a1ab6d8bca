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

from xtal.hooks.protocols import HeldBoxes, ProfileFit
from xtal.models import Experiment
from xtal.physics.integration import batches_of_voxels
from xtal.physics.kabsch import kabsch_axes, sources, unit_rows
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.table.shoebox import box_sizes
from xtal_profile_gaussian_rs.kernels import fit_profiles, moments

Array = NDArray[np.float64]

CELLS = 21
"""Cells of the correction table along each side, over -/+ `REACH` local standard deviations."""
REACH = 5.0
CAP = 300.0
"""Counts beyond which a spot weighs no more."""
PLACES = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
"""Where the elements 11, 12, 22 stand in a symmetric tensor."""
N_CAUSES = 6
PRIOR_COUNTS = 1500.0
"""Weight of the size estimated beforehand against counts of learned spots: five strong ones."""
STRONG_LEVELS = (20.0, 10.0, 5.0, 3.0)
"""Least I/sigma of spots to learn from; the next lower one where there are fewer than `WANTED` in a block."""
WANTED = 300

BATCH = 1_000_000
"""Voxels of boxes that are fitted together."""


@define
class _Block:
    """Sums over strong reflections of one block.

    Attributes
    ----------
    matrix, right : normal equations of the coefficients of the causes, (6, 6) and (6,)
    places, centres : normal equations of the centres, (3, 3) and (3, 2)
    cross, square : normal equations of the causes of the drift across the rocking curve, (3,) and (3, 3)
    drift : (6, 3, 3) what products of these causes add to ``right``
    strong : reflections that are learned from
    """

    matrix: Array
    right: Array
    places: Array
    centres: Array
    cross: Array
    square: Array
    drift: Array
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
    _expected: Array = field(init=False)
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
        profile = self.experiment.profile or {}
        across, mosaic = profile.get("sigma_across", np.degrees(sigma_b)), profile.get("sigma_mosaic", 0.0)
        self._expected = np.array([0.5 * np.radians(across) ** 2, np.radians(mosaic) ** 2]) / self._unit
        panel = self.experiment.detector[0]
        self._pixel_angle2 = (panel.pixel_size[0] / max(panel.distance, 1e-9)) ** 2

    @property
    def n_blocks(self) -> int:
        return len(self.edges) - 1

    def block_of(self, z: Array) -> NDArray[np.int64]:
        """(n,) block of reflections at array index z."""
        return np.clip(np.searchsorted(self.edges, z, side="right") - 1, 0, self.n_blocks - 1)

    def learn(self, block: int, table: ReflectionTable, boxes: HeldBoxes) -> NDArray[np.bool_]:
        """Take in the reflections of a block; see the protocol."""
        from xtal_profile_gaussian_rs.model import geometry

        strong = _strong(table)
        rows = np.flatnonzero(strong)
        part = boxes.select(rows)
        chosen = table.select(rows)
        chosen["bbox"] = part.bbox
        geo = geometry(self.experiment, chosen, self._axes[0])
        rocking, out = self._rocking(chosen), np.zeros((len(rows), 10))
        moments(geo, part.bbox, part.offsets, part.data, part.mask, part.background, rocking, out)
        good = np.flatnonzero(out[:, 0] > 0)
        out, drifts, metric = out[good], self._drifts(chosen, rocking)[good], self._metric(chosen)[good]
        # Beyond `CAP` counts not counting rules but position errors; and strong spots, which are at low angles, must
        # not outvote the others.
        weight = 1.0 / (1.0 + out[:, 0] / CAP)
        causes = self._causes(chosen, geo)[good]
        product = PLACES.T @ np.einsum("nik,njl->nijkl", metric, metric).reshape(-1, 4, 4) @ PLACES  # tr(M A M B)
        weighted = weight[:, None, None] * (product @ causes)
        matrix = np.einsum("n,nij,nik->jk", out[:, 0], weighted, causes)
        terms = self._terms(np.asarray(chosen["s1"])[good])
        shares = terms * weight[:, None]
        # The spread in z is that of the rocking curve; its share in the moments is drift^2 times it.
        spread = out[:, 0] * 0.5 / rocking[good, 1] ** 2
        added = np.stack([drifts[:, i, :, None] * drifts[:, j, None] for i, j in ((0, 0), (0, 1), (1, 1))], axis=1)
        cross = out[:, 8:10] - out[:, 6:7] * out[:, 1:3] / out[:, :1]
        square = out[:, 7] - out[:, 6] ** 2 / out[:, 0]
        towards = weight[:, None, None] * (metric @ drifts)
        self._blocks[block] = _Block(
            matrix, np.einsum("nij,ni->j", weighted, out[:, 3:6]), (shares * out[:, :1]).T @ terms,
            shares.T @ out[:, 1:3], np.einsum("nik,ni->k", towards, cross),
            np.einsum("n,nik,nil->kl", square, towards, drifts),
            np.einsum("nij,nikl->jkl", spread[:, None, None] * weighted, added), strong,
        )  # fmt: skip
        return strong

    def fit(self, block: int, table: ReflectionTable, boxes: HeldBoxes, floor: float) -> ProfileFit:
        """Fit the reflections of a block; see the protocol."""
        from xtal_profile_gaussian_rs.model import geometry

        cropped = table.select(np.arange(len(table)))
        cropped["bbox"] = boxes.bbox
        geo = geometry(self.experiment, cropped, self._axes[0])
        rocking = self._rocking(table)
        shape = self._shapes(block, cropped, geo, rocking)
        level = np.asarray(table["background.mean.variance"], dtype=float)
        correction = self._correction(block, geo, boxes, shape, rocking, level)
        out = np.zeros((len(table), 6))
        for batch in batches_of_voxels(box_sizes(boxes.bbox), BATCH):
            part, nothing = boxes.select(np.arange(batch.start, batch.stop)), np.empty((0, CELLS, CELLS))
            _run(geo[batch], part, shape[batch], rocking[batch], correction, level[batch], floor, nothing, out[batch])
        return ProfileFit(out[:, 4] > 0, out[:, 0], out[:, 1], out[:, 2], out[:, 5])

    def _rocking(self, table: ReflectionTable) -> Array:
        """(n, 2) predicted z, and 1/(sqrt2 sigma) of the rocking curve in frames."""
        from xtal_profile_gaussian_rs.model import sizes

        sigma_m, scan = sizes(self.experiment, table)[2], self.experiment.scan
        assert scan is not None
        k = np.abs(table["zeta"]) * abs(scan.width) / (np.sqrt(2.0) * sigma_m)
        return np.column_stack([np.asarray(table["xyzcal.px"])[:, 2], k])

    def _drifts(self, table: ReflectionTable, rocking: Array) -> Array:
        """(n, 2, 3) drift of the centre per frame that a cause of the rocking curve makes.

        Of mosaicity, if it makes all of the curve: at an angle phi' those blocks reflect that are turned back by
        zeta (phi' - phi) about e1, the shortest way; so s1 moves by (phi' - phi) (m - zeta e1) x (s1 - s0). Of the
        beam's divergence in two directions, in units of sigma_b^2 / 2: a change of s0 by d reflects at another angle
        and moves s1 by d and by that turn; the drift is the mean of the product of turn and motion over the mean
        square of all turns. (That of a spread of wavelengths is too small to be told from the rest.)
        """
        scan, goniometer = self.experiment.scan, self.experiment.goniometer
        assert scan is not None and goniometer is not None
        s1, zeta = np.asarray(table["s1"]), np.asarray(table["zeta"])[:, None]
        s0 = sources(self.experiment, np.asarray(table["xyzcal.px"])[:, 2])
        r, length = s1 - s0, np.linalg.norm(s1, axis=1)
        velocity = np.cross(goniometer.axis, r)
        motions = [velocity - zeta * np.cross(kabsch_axes(s1, s0)[0], r)]
        squared = 0.5 * (scan.width / rocking[:, 1]) ** 2
        for axis in self._axes:
            change = length[:, None] * axis
            turn = -np.sum(r * change, axis=1) / np.sum(velocity * s0, axis=1)
            motions.append((change + velocity * turn[:, None]) * (self._unit * turn / squared)[:, None])
        unit = unit_rows(s1)
        along = unit_rows(self._axes[0] - (unit @ self._axes[0])[:, None] * unit)
        motion = np.stack(motions, axis=2) * (scan.width / length)[:, None, None]
        return np.stack([np.einsum("nik,ni->nk", motion, a) for a in (along, np.cross(unit, along))], axis=1)

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
        cosine, sine = self._ring(table)
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

    def _metric(self, table: ReflectionTable) -> Array:
        """(n, 2, 2) inverse of the covariance expected beforehand, in units of sigma_b^2 / 2.

        It is the inner product of displacements in which they are equally certain, and with it tr(M A M B) that of
        tensors (by which the likelihood of a covariance matrix changes). Moments err in proportion to themselves:
        where mosaicity draws spots out to three times their width, what the causes fail to explain along the ring
        would else be made up for across it, where it is nine times as much.
        """
        from xtal_profile_gaussian_rs.model import radii, sizes

        n_sigma, sigma_b, _ = sizes(self.experiment, table)
        along, across = (radii(self.experiment, table) / (n_sigma * sigma_b[:, None])).T ** 2
        along, across = 1 / (2 * along - across), 1 / across  # radii count mosaicity half
        cosine, sine = self._ring(table)
        off = (along - across) * cosine * sine
        m = np.stack([along * cosine**2 + across * sine**2, off, off, along * sine**2 + across * cosine**2], axis=1)
        return np.asarray(m.reshape(-1, 2, 2))

    def _ring(self, table: ReflectionTable) -> tuple[Array, Array]:
        """(n,) components of e1, which lies along the ring, on the axes of the shapes."""
        unit = unit_rows(np.asarray(table["s1"]))
        along = unit_rows(self._axes[0] - (unit @ self._axes[0])[:, None] * unit)
        e1 = kabsch_axes(unit, unit_rows(self.experiment.beam.s0))[0]
        return np.sum(e1 * along, axis=1), np.sum(e1 * np.cross(unit, along), axis=1)

    def _shapes(self, block: int, table: ReflectionTable, geo: Array, rocking: Array) -> Array:
        """(n, 8) shape of each reflection; see `kernels`."""
        matrix, right = np.zeros((N_CAUSES, N_CAUSES)), np.zeros(N_CAUSES)
        places, centres = PRIOR_COUNTS * np.eye(3), np.zeros((3, 2))
        near = self._near(block)
        turns = self._turns(near)
        for b, share in near:
            matrix = matrix + share * b.matrix
            right = right + share * (b.right - turns @ b.drift @ turns)
            places, centres = places + share * b.places, centres + share * b.centres
        # Drawn to the sizes estimated beforehand, each cause in proportion to what is known of it.
        counts = places[0, 0] - PRIOR_COUNTS
        prior = PRIOR_COUNTS * (np.diag(matrix) + self._unit**2) / (counts + 1.0)
        right[[0, 4]] += prior[[0, 4]] * self._expected
        v = self._causes(table, geo) @ np.linalg.solve(matrix + np.diag(prior), right)
        centre = self._terms(np.asarray(table["s1"])) @ np.linalg.solve(places, centres)
        v11, v22 = np.maximum(v[:, 0], 0.05 * self._unit), np.maximum(v[:, 2], 0.05 * self._unit)
        v12 = np.clip(v[:, 1], -0.9 * np.sqrt(v11 * v22), 0.9 * np.sqrt(v11 * v22))
        cell = np.full(len(table), REACH / (0.5 * (CELLS - 1)))
        return np.column_stack([v11, v12, v22, centre, self._drifts(table, rocking) @ turns, cell])

    def _turns(self, near: list[tuple[_Block, float]]) -> Array:
        """(3,) strengths of the causes of `_drifts`: all mosaicity, unless the data say otherwise."""
        cross, square = np.zeros(3), np.zeros((3, 3))
        counts = sum(share * b.places[0, 0] for b, share in near)
        for b, share in near:
            cross, square = cross + share * b.cross, square + share * b.square
        prior = PRIOR_COUNTS * (np.diag(square) + 1e-3 * self._unit) / (counts + 1.0)
        found = np.linalg.solve(square + np.diag(prior), cross + prior * [1.0, 0.0, 0.0])
        return np.clip(found, 0.0, [1.5, np.inf, np.inf])

    def _near(self, block: int) -> list[tuple[_Block, float]]:
        """Blocks that share in the shape of one: its neighbours a little, or all where spots are few."""
        decay = 0.25
        for decay in (0.25, 0.5, 1.0):
            shares = {b: decay ** abs(b - block) for b in self._blocks if b <= block + 1}
            if sum(share * self._blocks[b].strong.sum() for b, share in shares.items()) >= WANTED:
                break
        return [(self._blocks[b], share) for b, share in sorted(shares.items()) if share > 1e-3]

    def _correction(
        self, block: int, geo: Array, boxes: HeldBoxes, shape: Array, rocking: Array, level: Array
    ) -> Array:
        """Correction table of a block from what its strong reflections leave over."""
        table = np.zeros((CELLS, CELLS))
        rows = np.flatnonzero(self._blocks[block].strong)
        part = boxes.select(rows)
        for _ in range(2 if len(rows) else 0):
            sums, out = np.zeros((3, CELLS, CELLS)), np.zeros((len(rows), 6))
            _run(geo[rows], part, shape[rows], rocking[rows], table, level[rows], 0.5, sums, out)
            table = believed(table, sums)
        return table


def _run(
    geo: Array, boxes: Shoeboxes, shape: Array, rocking: Array, table: Array, level: Array, floor: float, sums: Array,
    out: Array,
) -> None:  # fmt: skip
    fit_profiles(
        geo, boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, shape, rocking, table, level,
        float(floor), sums, out,
    )  # fmt: skip


def believed(table: Array, sums: Array) -> Array:
    """The correction that residuals ask for, each cell drawn to none by how little is known of it.

    Cells of one ring about the centre (all beyond `REACH` are one) are taken to vary alike: the mean square of what is
    seen there, less the noise, is that of what is true (empirical Bayes). So cells at the rim, on which a few voxels
    fall, say nothing; their noise was many times the peak, and made 13,000 photons beside a gap 20,000.

    Parameters
    ----------
    table : (m, m) with which the residuals were made
    sums : (3, m, m) residual, profile scale and variance (`kernels.fit_profiles`)
    """
    known = (sums[1] > 0) & (sums[2] > 0)
    seen, precision = table.copy(), np.zeros_like(table)
    seen[known] += sums[0][known] / sums[1][known]
    precision[known] = sums[1][known] ** 2 / sums[2][known]
    middle = (len(table) - 1) / 2
    ring = np.rint(np.minimum(np.hypot(*(np.indices(table.shape) - middle)), middle)).astype(int)
    excess, weight = (np.bincount(ring.ravel(), v.ravel()) for v in (precision**2 * seen**2 - precision, precision**2))
    # less what chance makes of it: the square of noise varies by twice its own square
    true = np.maximum((excess - np.sqrt(2 * weight)) / np.maximum(weight, np.finfo(float).tiny), 0.0)[ring]
    return np.asarray(seen * true * precision / (true * precision + 1.0))


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
