"""Gaussian smoother of parameters along the scan, as in Aimless (Evans & Murshudov 2013)."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

F = NDArray[np.float64]
I64 = NDArray[np.int64]

_TABLE = ((5.0, 1.0, 1.5), (10.0, 2.0, 3.0), (25.0, 4.0, 5.0), (90.0, 8.0, 10.0))
"""Scans of less than so many degrees: intervals of scale and decay."""


def automatic_intervals(width_deg: float) -> tuple[float, float]:
    """Intervals (degrees) of scale and decay for a scan of this length, as in DIALS."""
    for limit, scale, decay in _TABLE:
        if width_deg < limit:
            return scale, decay
    return 15.0, 20.0


@frozen
class Smoother:
    """Evenly spaced parameters whose weighted mean makes a smooth curve.

    Attributes
    ----------
    n_parameters, interval_deg : as fitted to the scan
    norm : parameter spacings per image
    """

    n_parameters: int
    interval_deg: float
    norm: float

    @classmethod
    def over(cls, width_deg: float, image_deg: float, interval_deg: float) -> Smoother:
        """For a scan of ``width_deg`` in images of ``image_deg``, parameters about ``interval_deg`` apart."""
        interval = interval_deg + 1e-5
        if width_deg <= interval:
            n, interval = 2, max(width_deg, 1e-5)
        elif width_deg < 2 * interval:
            n, interval = 3, width_deg / 2
        else:
            intervals = max(int(width_deg / interval) + 1, 3)
            n, interval = intervals + 2, width_deg / intervals
        return cls(n, interval, 0.999 * image_deg / interval)

    @property
    def positions(self) -> F:
        """(n,) where the parameters stand, in spacings."""
        start = 0.0 if self.n_parameters < 4 else -0.5
        return np.asarray(start + np.arange(self.n_parameters), dtype=float)

    def weights(self, images: F) -> tuple[I64, F]:
        """Parameters and weights (sum 1) that make the value at each place.

        Parameters
        ----------
        images : (n,) images since the start of the scan

        Returns
        -------
        indices : (n, k) int64, ascending; weights : (n, k), k = min(3, n_parameters)
        """
        k = min(3, self.n_parameters)
        top = self.positions[-1] if self.n_parameters < 4 else self.n_parameters - 2.0
        x = np.clip(images * self.norm, 0.0, top)
        first = np.rint((x - self.positions[0]) - (k - 1) / 2.0).astype(np.int64)
        indices = np.clip(first, 0, self.n_parameters - k)[:, None] + np.arange(k)
        sigma = 0.65 + 0.05 * (k - 2)
        weight = np.exp(-(((x[:, None] - self.positions[indices]) / sigma) ** 2))
        return indices, weight / weight.sum(axis=1, keepdims=True)
