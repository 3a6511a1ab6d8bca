"""The Fourier search: spots on a grid, transform, peaks."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import BasisVectors
from xtal.models import ExperimentList
from xtal_indexing_fft3d.options import Fft3dOptions

F = NDArray[np.float64]

OVERSAMPLING = 2.5
"""Half the edge of the real-space map in units of the longest cell edge."""

ORIGIN = 1.5
"""Radius of the peak at the origin and its ripples, in units of the finest resolution."""

MIN_GRID = 64
PEAKS_KEPT = 4000


class Fft3d:
    """Real-space lattice vectors as peaks of |Re FT|^2 of the spots.

    The squared real part (not the modulus) asks that the origin be a lattice point too.
    """

    def __init__(self, options: Fft3dOptions | None = None) -> None:
        self.options = options or Fft3dOptions()

    def candidates(self, rlp: F, experiments: ExperimentList, max_cell: float, d_min: float) -> BasisVectors:
        """Lattice vectors (angstrom), strongest first, one of each +-pair; scores are heights over the rms.

        ``d_min`` is the finest resolution of use; the grid coarsens it to what ``max_cell`` and the
        number of grid points allow.

        Raises
        ------
        AlgorithmFailed
            If fewer than three peaks stand out.
        """
        length = np.linalg.norm(rlp, axis=1)
        d_min = max(d_min, float(1.0 / length.max()))
        n = self._grid_size(max_cell, d_min)
        d_min = max(d_min, 2 * OVERSAMPLING * max_cell / n)
        power = transform(rlp[length <= 1.0 / d_min], d_min, n)
        sigma = float(np.sqrt(np.mean(np.square(power, dtype=np.float64)) - np.mean(power, dtype=np.float64) ** 2))
        sites, heights = find_peaks(power, self.options.sigma_cutoff * sigma)
        vectors = sites * (d_min / 2)
        size = np.linalg.norm(vectors, axis=1)
        keep = (size >= ORIGIN * d_min) & (size <= 2 * max_cell)
        vectors, heights = vectors[keep], heights[keep]
        order = np.lexsort((np.round(size[keep], 3), -np.round(heights / sigma, 3)))[: self.options.max_vectors]
        if len(order) < 3:
            raise AlgorithmFailed(
                f"The Fourier search found {len(order)} lattice vectors; three are needed.",
                advice="Check beam centre, rotation axis and spots, or give max_cell=.",
            )
        return BasisVectors(vectors[order], heights[order] / sigma)

    def _grid_size(self, max_cell: float, d_min: float) -> int:
        """Points per edge that reach ``d_min``, in steps that the transform likes."""
        wanted = int(np.ceil(2 * OVERSAMPLING * max_cell / d_min))
        return int(fft.next_fast_len(min(max(wanted, MIN_GRID), self.options.n_points), real=True))


def transform(rlp: F, d_min: float, n: int) -> NDArray[np.float32]:
    """Squared real part of the transform of spots set on a grid of n^3 points over +-1/d_min.

    Spots are weighted by exp(-B/(4 d^2)) with a weight of 0.05 at the edge.

    Returns
    -------
    (n, n, n // 2 + 1) float32; index 1 along an axis is a real-space step of d_min / 2
    """
    cell = np.rint(rlp * (0.5 * d_min * n)).astype(np.int64) % n
    weight = np.exp(np.log(0.05) * np.einsum("ni,ni->n", rlp, rlp) * d_min**2)
    grid = np.zeros((n, n, n), np.float32)
    np.maximum.at(grid, (cell[:, 0], cell[:, 1], cell[:, 2]), weight.astype(np.float32))
    real = fft.rfftn(grid, overwrite_x=True).real
    return np.asarray(real * real)


def find_peaks(power: NDArray[np.float32], threshold: float) -> tuple[F, F]:
    """Local maxima over their 26 neighbours above a threshold, to a fraction of a grid step.

    Parameters
    ----------
    power : (n, n, n // 2 + 1) half of a map with a centre of symmetry

    Returns
    -------
    sites : (m, 3) signed positions in grid steps; of each pair +-v one
    heights : (m,)
    """
    n = power.shape[0]
    flat = np.flatnonzero(power > threshold)
    if len(flat) > 50 * PEAKS_KEPT:
        flat = flat[np.argsort(-power.ravel()[flat], kind="stable")[: 50 * PEAKS_KEPT]]
    sites = np.stack(np.unravel_index(flat, power.shape), axis=1)
    heights = power.ravel()[flat]
    is_peak = np.ones(len(sites), bool)
    for shift in product((-1, 0, 1), repeat=3):
        if shift != (0, 0, 0):
            is_peak[is_peak] &= heights[is_peak] >= _at(power, sites[is_peak] + np.array(shift))
    sites, heights = sites[is_peak], heights[is_peak]
    signed = np.where(sites > n // 2, sites - n, sites).astype(float)
    for axis in range(3):
        step = np.eye(3, dtype=np.int64)[axis]
        low, high = _at(power, sites - step), _at(power, sites + step)
        bend = low - 2.0 * heights + high
        signed[:, axis] += np.where(bend < 0, 0.5 * (low - high) / np.where(bend < 0, bend, 1.0), 0.0)
    doubled = (sites[:, 2] == 0) & ((signed[:, 0] < 0) | ((np.abs(signed[:, 0]) < 0.5) & (signed[:, 1] < 0)))
    return signed[~doubled], heights[~doubled].astype(float)


def _at(power: NDArray[np.float32], sites: NDArray[np.int64]) -> NDArray[np.float32]:
    """Values of the whole map, of which half is stored, with periodic wrap."""
    n, _, half = power.shape
    sites = sites % n
    beyond = sites[:, 2] >= half
    sites = np.where(beyond[:, None], (-sites) % n, sites)
    return power[sites[:, 0], sites[:, 1], sites[:, 2]]
