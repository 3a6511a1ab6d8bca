"""Periods of the points along many directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.hooks.protocols import BasisVectors
from xtal.models import ExperimentList
from xtal_indexing_template.options import TemplateOptions

F = NDArray[np.float64]


def half_sphere(n: int) -> F:
    """(n, 3) unit vectors spread evenly over half a sphere, along a spiral."""
    z = (np.arange(n) + 0.5) / n
    angle = np.arange(n) * np.pi * (3 - 5**0.5)
    radius = np.sqrt(1 - z * z)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])


class TemplateIndexing:
    """Fourier transforms of one dimension (`xtal.hooks.protocols.IndexingMethod`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def candidates(self, rlp: F, experiments: ExperimentList, max_cell: float, d_min: float) -> BasisVectors:
        """The periods that explain most points, best first; none where there are too few points."""
        d_star = np.linalg.norm(rlp, axis=1)
        d_min = max(d_min, 1 / d_star.max(initial=1e-3))  # d_min=0 sets no limit
        points = rlp[d_star <= 1 / d_min]
        if len(points) < 10:
            return BasisVectors(np.empty((0, 3)), np.empty(0))
        starts = self._strongest(points, max_cell, d_min)
        found = sorted(((self._refined(points, v)) for v in starts), key=lambda pair: -pair[1])
        kept: list[tuple[F, float]] = []
        for vector, score in found:
            length = float(np.linalg.norm(vector))
            apart = all(min(np.linalg.norm(vector - v), np.linalg.norm(vector + v)) > 1.0 for v, _ in kept)
            if 2 * d_min < length <= max_cell and apart:
                kept.append((vector, score))
        vectors = np.array([v for v, _ in kept]).reshape(-1, 3)
        return BasisVectors(vectors, np.array([s for _, s in kept], dtype=float))

    def _strongest(self, points: F, max_cell: float, d_min: float) -> F:
        """(m, 3) angstrom: the highest peak of each direction, of the best directions."""
        n_bins = int(4 * max_cell / d_min)
        bin_width = 2 / d_min / n_bins
        least = max(2, round(4 * d_min / (1 / (n_bins * bin_width))))
        last = int(max_cell * n_bins * bin_width)
        lengths = np.arange(last + 1) / (n_bins * bin_width)
        directions = half_sphere(self.options.n_directions)
        peaks = np.empty((len(directions), 2))
        for i, direction in enumerate(directions):
            at = np.floor((points @ direction + 1 / d_min) / bin_width).astype(int)
            power = np.abs(np.fft.rfft(np.bincount(np.clip(at, 0, n_bins - 1), minlength=n_bins)))[: last + 1]
            best = least + int(np.argmax(power[least:]))
            peaks[i] = power[best], lengths[best]
        order = np.argsort(-peaks[:, 0], kind="stable")[:300]
        return np.asarray(directions[order] * peaks[order, 1:])

    def _refined(self, points: F, vector: F) -> tuple[F, float]:
        """Least squares to the whole numbers nearest the projections, low resolution first."""
        d_star = np.linalg.norm(points, axis=1)
        for reach in (0.4, 0.6, 0.8, 1.0, 1.0):
            near = points[d_star <= np.quantile(d_star, reach)]
            phase = near @ vector
            good = np.abs(phase - np.round(phase)) < self.options.tolerance
            if good.sum() >= 10:
                vector = np.linalg.lstsq(near[good], np.round(phase[good]), rcond=None)[0]
        phase = points @ vector
        return vector, float(np.mean(np.abs(phase - np.round(phase)) < self.options.tolerance))
