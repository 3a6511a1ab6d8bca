"""A quantity that varies smoothly over a scan: uniform quadratic B-spline.

Samples stand at the middles of the intervals and half an interval beyond both ends, as in
the smoother of Aimless that DIALS uses, but the weights are those of the quadratic B-spline:
continuous slopes, straight lines reproduced exactly, three samples at any place.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Array = NDArray[np.float64]


@frozen
class Smoother:
    """Weights of samples over [z0, z1] in ``n_intervals``; 0 intervals is a constant.

    Attributes
    ----------
    z0, z1 : ends of the scan, array indices
    n_intervals : equal intervals between them
    """

    z0: float
    z1: float
    n_intervals: int

    @property
    def n_samples(self) -> int:
        return self.n_intervals + 2 if self.n_intervals else 1

    @property
    def window(self) -> int:
        """Samples that have weight at one place."""
        return 3 if self.n_intervals else 1

    def weights(self, z: Array) -> tuple[NDArray[np.int64], Array]:
        """First sample (n,) and weights (n, window) of the samples from there on."""
        if self.n_intervals == 0:
            return np.zeros(len(z), np.int64), np.ones((len(z), 1))
        t = np.clip((z - self.z0) / (self.z1 - self.z0) * self.n_intervals, 0.0, float(self.n_intervals))
        first = np.minimum(t.astype(np.int64), self.n_intervals - 1)
        u = t - first
        return first, np.stack([0.5 * (1 - u) ** 2, 0.5 + u - u * u, 0.5 * u * u], axis=1)

    def value(self, z: Array, samples: Array) -> Array:
        """(n, k) smoothed values of samples (n_samples, k) at z (n,)."""
        first, weights = self.weights(z)
        out = weights[:, :1] * samples[first]
        for i in range(1, self.window):
            out = out + weights[:, i : i + 1] * samples[first + i]
        return out
