"""Shapes of reflections, learned from the strong ones while the scan passes, and the fit with them.

The profile in the pixels of a frame is a Gaussian in (c1, c2) whose covariance and centre are learned
on a net of places over the detector for each block of the scan, plus a correction table per block for what is
not Gaussian, times the part of the rocking curve that falls on the frame. Learning takes counts at the
centres of pixels, so that the learned shape is already blurred by the pixel, as the data are (an effective point-spread
function: Anderson & King 2000); nothing is resampled, and the counts of different pixels stay independent.
"""

from __future__ import annotations

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.hooks.protocols import ProfileFit
from xtal.models import Experiment
from xtal.physics.kabsch import unit_rows
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal_profile_gaussian_rs.kernels import fit_profiles, moments

Array = NDArray[np.float64]

CELLS = 17
"""Cells of the correction table along each side, over -/+ 1.1 foreground radii."""
PRIOR_COUNTS = 300.0
"""Weight of the size estimated beforehand against counts of learned spots."""
STRONG_LEVELS = (20.0, 10.0, 5.0, 3.0)
"""Least I/sigma of spots to learn from; the next lower one where there are fewer than `WANTED` in a block."""
WANTED = 300


@define
class _Block:
    """Sums over strong reflections of one block: weight, c1, c2, and c1^2, c1 c2, c2^2 at each node."""

    sums: Array
    strong: NDArray[np.bool_]


@define
class GaussianReferences:
    """Learned shapes of one experiment (`xtal.hooks.protocols.ProfileReferences`)."""

    experiment: Experiment
    scan_step: float
    grid_size: int
    edges: Array = field(init=False)
    _axes: Array = field(init=False)
    _range: Array = field(init=False)
    _blocks: dict[int, _Block] = field(init=False, factory=dict)
    _tables: dict[int, Array] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        scan = self.experiment.scan
        assert scan is not None
        n = max(1, int(np.ceil(abs(scan.oscillation_deg[1]) * scan.n_images / self.scan_step - 1e-6)))
        self.edges = np.linspace(*scan.array_range, n + 1)
        self._axes, self._range = _detector_frame(self.experiment)

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
        part = boxes.select(rows)
        chosen = table.select(rows)
        out = np.zeros((len(rows), 6))
        chosen["bbox"] = part.bbox
        moments(
            geometry(self.experiment, chosen), part.bbox, part.offsets, part.data, part.mask, part.background, out
        )
        good = out[:, 0] > 0
        # One very strong spot must not outvote the others: beyond 3,000 counts position errors rule, not counting.
        weight = 1.0 / (1.0 + out[good, 0] / 3000.0)
        nodes, share = self._nodes(chosen["s1"][good])
        sums = np.zeros((self.grid_size**2, 6))
        for k in range(4):
            np.add.at(sums, nodes[:, k], (share[:, k] * weight)[:, None] * out[good])
        self._blocks[block] = _Block(sums, strong)
        return strong

    def fit(self, block: int, table: ReflectionTable, boxes: Shoeboxes, floor: float) -> ProfileFit:
        """Fit the reflections of a block; see the protocol."""
        from xtal_profile_gaussian_rs.model import geometry, sizes

        cropped = table.select(np.arange(len(table)))
        cropped["bbox"] = boxes.bbox
        geo = geometry(self.experiment, cropped)
        n_sigma, sigma_b, sigma_m = sizes(self.experiment, table)
        shape = self._shapes(block, np.asarray(table["s1"]), sigma_b, n_sigma)
        scan = self.experiment.scan
        assert scan is not None
        k = np.abs(table["zeta"]) * abs(scan.width) / (np.sqrt(2.0) * sigma_m)
        rocking = np.column_stack([np.asarray(table["xyzcal.px"])[:, 2], k])
        level = np.asarray(table["background.mean.variance"], dtype=float)
        self._correct(block, geo, boxes, shape, rocking, level)
        out = np.zeros((len(table), 6))
        node = np.zeros(len(table), np.int64)
        _run(geo, boxes, shape, rocking, self._tables[block], node, level, floor, np.empty((0, 3, 1, 1)), out)
        self._blocks.pop(block - 1, None)
        self._tables.pop(block - 1, None)
        return ProfileFit(out[:, 4] > 0, out[:, 0], out[:, 1], out[:, 2], out[:, 5])

    def _nodes(self, s1: Array) -> tuple[NDArray[np.int64], Array]:
        """Four nodes round each reflection's place on the detector and their bilinear shares."""
        g = self.grid_size
        u = unit_rows(np.asarray(s1)) @ self._axes.T
        t = (u - self._range[0]) / (self._range[1] - self._range[0]) * g - 0.5
        t = np.clip(t, 0.0, g - 1.0)
        low = np.minimum(t.astype(np.int64), max(g - 2, 0))
        f = t - low
        high = np.minimum(low + 1, g - 1)
        nodes = np.stack([a[:, 1] * g + b[:, 0] for a in (low, high) for b in (low, high)], axis=1)
        share = np.stack([a * b for a in (1 - f[:, 1], f[:, 1]) for b in (1 - f[:, 0], f[:, 0])], axis=1)
        return nodes, share

    def _shapes(self, block: int, s1: Array, sigma_b: Array, n_sigma: float) -> Array:
        """(n, 7) shape of each reflection: inverse covariance, centre, cell of the correction table."""
        sums = sum(
            (share * self._blocks[b].sums for b, share in ((block, 1.0), (block - 1, 0.25), (block + 1, 0.25))
             if b in self._blocks),
            np.zeros((self.grid_size**2, 6)),
        )  # fmt: skip
        prior = 0.5 * float(np.mean(sigma_b)) ** 2 if len(sigma_b) else 1.0
        overall = sums.sum(axis=0) + PRIOR_COUNTS * np.array([1, 0, 0, prior, 0, prior])
        shrunk = sums + PRIOR_COUNTS * overall / overall[0]
        nodes, share = self._nodes(s1)
        local = np.einsum("nk,nkj->nj", share, (shrunk / shrunk[:, :1])[nodes])
        m1, m2 = local[:, 1], local[:, 2]
        v11 = np.maximum(local[:, 3] - m1 * m1, 0.05 * prior)
        v22 = np.maximum(local[:, 5] - m2 * m2, 0.05 * prior)
        v12 = local[:, 4] - m1 * m2
        v12 = np.clip(v12, -0.9 * np.sqrt(v11 * v22), 0.9 * np.sqrt(v11 * v22))
        det = v11 * v22 - v12 * v12
        cell = 2.2 * n_sigma * sigma_b / (CELLS - 1)
        return np.column_stack([v22 / det, -v12 / det, v11 / det, m1, m2, cell, np.ones(len(s1))])

    def _correct(
        self, block: int, geo: Array, boxes: Shoeboxes, shape: Array, rocking: Array, level: Array
    ) -> None:
        """Learn the correction table of a block from what its strong reflections leave over."""
        table = np.zeros((1, CELLS, CELLS))
        rows = np.flatnonzero(self._blocks[block].strong)
        part = boxes.select(rows)
        for _ in range(2 if len(rows) else 0):
            sums = np.zeros((1, 3, CELLS, CELLS))
            out, node = np.zeros((len(rows), 6)), np.zeros(len(rows), np.int64)
            _run(geo[rows], part, shape[rows], rocking[rows], table, node, level[rows], 0.5, sums, out)
            scale = np.maximum(sums[:, 1], 1e-9)
            change, noise = sums[:, 0] / scale, sums[:, 2] / scale**2
            # What is not clearly seen is not believed.
            table = table + change * change**2 / (change**2 + noise + 1e-12)
        self._tables[block] = table


def _run(
    geo: Array, boxes: Shoeboxes, shape: Array, rocking: Array, table: Array, node: NDArray[np.int64], level: Array,
    floor: float, sums: Array, out: Array,
) -> None:  # fmt: skip
    fit_profiles(
        geo, boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, shape, rocking, table, node, level,
        float(floor), sums, out,
    )  # fmt: skip


def _strong(table: ReflectionTable) -> NDArray[np.bool_]:
    """Reflections to learn from: strong, whole and undisturbed."""
    spoilt = Flag.INCLUDES_BAD_PIXELS | Flag.OVERLOADED | Flag.OVERLAPPED_FG | Flag.DONT_INTEGRATE
    spoilt |= Flag.FAILED_DURING_BACKGROUND_MODELLING
    whole = ~table.has_flags(spoilt & ~Flag.BACKGROUND_INCLUDES_BAD_PIXELS, any_of=True)
    whole &= np.asarray(table["partiality"]) > 0.99
    variance = np.asarray(table["intensity.sum.variance"])
    ratio = np.asarray(table["intensity.sum.value"]) / np.sqrt(np.where(variance > 0, variance, np.inf))
    strong = whole & (ratio >= STRONG_LEVELS[-1])
    for least in STRONG_LEVELS:
        chosen = whole & (ratio >= least)
        if chosen.sum() >= WANTED:
            return np.asarray(chosen)
    return np.asarray(strong)


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
