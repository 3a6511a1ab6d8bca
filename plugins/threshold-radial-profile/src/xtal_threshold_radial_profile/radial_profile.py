"""The threshold as a plugin."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models import Beam, Experiment, Panel
from xtal.physics.resolution import two_theta_at
from xtal_threshold_radial_profile.kernels import mark_above, shell_histograms, smooth
from xtal_threshold_radial_profile.options import RadialProfileOptions

F = NDArray[np.float64]

LOWEST, LEVELS = -255, 4096
"""Values that are counted one by one begin here, and how many there are; shells of others are sorted."""
ROWS = 128
"""Rows of the panel at a time, to keep temporaries small."""

NARROW = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0])
WIDE = np.array(
    [[1, 4, 7, 4, 1], [4, 16, 26, 16, 4], [7, 26, 41, 26, 7], [4, 16, 26, 16, 4], [1, 4, 7, 4, 1]], dtype=float
)


def shells_of_panel(panel: Panel, beam: Beam, n_bins: int) -> NDArray[np.uint16]:
    """Shell of the scattering angle of each pixel: equal steps from the least angle on the panel to the largest.

    Returns
    -------
    (slow, fast) 0 to n_bins - 1, at the corner of each pixel that is nearest the origin (as in DIALS 3.12)
    """
    fast, slow = panel.image_size
    angle = np.empty((slow, fast))
    for row in range(0, slow, ROWS):
        y, x = np.mgrid[row : min(row + ROWS, slow), 0:fast]
        angle[row : row + ROWS] = two_theta_at(panel, beam, np.stack([x, y], axis=-1).astype(float))
    angle -= angle.min()
    shells = np.floor(angle * (n_bins / (angle.max() + 1e-10)))
    return np.clip(shells, 0, n_bins - 1).astype(np.uint16)


@frozen
class Shells:
    """Pixels of a panel by shell.

    Attributes
    ----------
    number : (slow fast,) shell of each pixel
    order : (slow fast,) pixels sorted by shell
    starts : (n_bins + 1,) where each shell begins in ``order``
    """

    number: NDArray[np.uint16]
    order: NDArray[np.int32]
    starts: NDArray[np.int64]


class RadialProfile:
    """Strong where a pixel exceeds the median of its shell by some interquartile ranges."""

    def __init__(self, options: RadialProfileOptions | None = None) -> None:
        self.options = options or RadialProfileOptions()
        self._shells: dict[tuple[int, int], tuple[Experiment, Shells]] = {}
        self._lock = Lock()

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> RadialProfileKernel:
        """A kernel with the shells of the panel, which all threads share."""
        with self._lock:
            key = id(experiment), panel
            if key not in self._shells:
                number = shells_of_panel(experiment.detector[panel], experiment.beam, self.options.n_bins).reshape(-1)
                order = np.argsort(number, kind="stable").astype(np.int32)
                starts = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=self.options.n_bins))])
                self._shells[key] = experiment, Shells(number, order, starts)  # kept, so that its id stays its own
        return RadialProfileKernel(self.options, self._shells[key][1], experiment.detector[panel].adu_per_photon)


class RadialProfileKernel:
    """Marks strong pixels of frames of one panel; not for two threads at a time."""

    def __init__(self, options: RadialProfileOptions, shells: Shells, gain: float) -> None:
        self.n_iqr, self.shells, self.quantum = options.n_iqr, shells, 1.0 / gain
        self.weights = {"narrow": NARROW, "wide": WIDE}.get(options.blur or "")
        self.histograms = np.zeros((options.n_bins, LEVELS + 2), np.int64)

    def __call__(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
        """Fill ``strong``; all arrays have the shape (slow, fast)."""
        unit = 1.0
        if self.weights is not None:
            out: NDArray[Any] = np.empty(image.shape, float if image.dtype.kind == "f" else np.int32)
            smooth(image, mask, self.weights, out)
            image, unit = out, float(self.weights.sum())
        values, good = image.reshape(-1), mask.reshape(-1)
        q1, median, q3 = self.quartiles(values, good)
        quantum = self.quantum * unit
        add = self.n_iqr * (q3 - q1)
        add[add <= quantum] = 2 * quantum
        mark_above(values, good, self.shells.number, median + add, strong.reshape(-1))

    def quartiles(self, values: NDArray[Any], good: NDArray[np.bool_]) -> F:
        """(3, n_bins) lower quartile, median and upper quartile of the good pixels of each shell; 0 where it has none.

        Counts are not sorted but counted; a shell is sorted only where its quartiles are out of what is counted.
        """
        n_bins = len(self.histograms)
        out = np.zeros((3, n_bins))
        if values.dtype.kind == "f":
            todo: Any = range(n_bins)
        else:
            self.histograms.fill(0)
            shell_histograms(values, good, self.shells.number, LOWEST, self.histograms)
            todo = counted_quartiles(self.histograms, out)
        for shell in todo:
            at = self.shells.order[self.shells.starts[shell] : self.shells.starts[shell + 1]]
            chosen = values[at[good[at]]]
            if len(chosen):
                out[:, shell] = np.quantile(chosen.astype(np.float64), [0.25, 0.5, 0.75])
                if len(chosen) == 1:
                    out[0::2, shell] = 0.0
        return out


def counted_quartiles(histograms: NDArray[np.int64], out: F) -> list[int]:
    """Quartiles from histograms, by linear interpolation between ordered values.

    Parameters
    ----------
    histograms : (n, LEVELS + 2), the first and last level open
    out : (3, n), filled

    Returns
    -------
    shells whose quartiles touch an open level
    """
    total = np.cumsum(histograms, axis=1)
    n = total[:, -1]
    touched = np.zeros(len(n), bool)
    for row, quantile in enumerate((0.25, 0.5, 0.75)):
        place = np.maximum(n - 1, 0) * quantile
        low = np.floor(place).astype(np.int64)
        values = []
        for rank in (low, np.minimum(low + 1, np.maximum(n - 1, 0))):
            level = (total <= rank[:, None]).sum(axis=1)
            touched |= (level == 0) | (level >= LEVELS + 1)
            values.append(level + LOWEST - 1.0)
        out[row] = values[0] + (place - low) * (values[1] - values[0])
    out[:, n == 0] = 0.0
    return [int(k) for k in np.flatnonzero(touched & (n > 0))]
