"""The threshold as a plugin, and what the extended one shares with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Experiment
from xtal_threshold_dispersion.kernels import TILE, mark_dispersed
from xtal_threshold_dispersion.options import DispersionOptions


class Window:
    """Options turned into what the kernels need.

    Parameters
    ----------
    options
        As the user set them.

    Raises
    ------
    OptionError
        If ``min_local`` does not fit the window.
    """

    def __init__(self, options: DispersionOptions) -> None:
        self.half_slow, self.half_fast = options.kernel_size
        n = (2 * self.half_slow + 1) * (2 * self.half_fast + 1)
        self.least = options.min_local if options.min_local > 0 else n
        if not 2 <= self.least <= n:
            raise OptionError(
                f"min_local={options.min_local} must lie between 2 and {n}, the pixels of the window.",
                advice="Change min_local or kernel_size.",
            )
        self.gain = 1.0 if options.gain is None else options.gain
        self.limits = dispersion_limits(n, self.gain, options.sigma_background)
        m = np.arange(self.least, n + 1)
        self.harmless = math.floor((self.limits[m] / m).min() * (1 - 1e-12))
        self.sigma_strong = options.sigma_strong
        self.global_threshold = 0.0 if options.global_threshold == "auto" else float(options.global_threshold)
        self.learns = options.global_threshold == "auto"

    def learn(self, image: NDArray[Any]) -> None:
        """Take the global threshold from the first image."""
        if self.learns:
            self.global_threshold, self.learns = elbow_threshold(image), False


class Marker:
    """Work spaces to mark pixels of dispersed windows on frames of one shape; not for two threads at a time.

    Attributes
    ----------
    tiles : (slow, tiles) uint8, not 0 where a tile may hold a pixel marked in the last frame
    """

    def __init__(self, window: Window, shape: tuple[int, ...]) -> None:
        n = -(-shape[1] // TILE)
        self.window = window
        self.tiles = np.zeros((shape[0], n), np.uint8)
        self._work = np.zeros((7, n * TILE + 2 * window.half_fast))
        self._hot = np.zeros(n * TILE, bool)
        self._seen = np.zeros((4, n), np.int64)

    def test(self, dtype: np.dtype[Any], *, peaks: bool) -> tuple[Any, ...]:
        """What the kernels need to mark dispersed pixels (`mark_rows`); with ``peaks`` only those above the mean."""
        w, kind = self.window, dtype.type
        reals = dtype.kind == "f"
        # nothing is harmless among reals; what is harmless must fit the image's type
        harmless = kind(-1) if reals else kind(min(w.harmless, np.iinfo(dtype).max))
        peak = np.array([w.sigma_strong if peaks else 0.0, w.gain, w.global_threshold])
        return (
            w.half_slow, w.half_fast, reals, w.least, w.limits, kind(0), harmless, peak,
            self._work, self._hot, self._hot.view(np.uint64), self._seen,
        )  # fmt: skip


def dispersion_limits(n: int, gain: float, n_sigma: float) -> NDArray[np.float64]:
    """Largest value of (m y - x x) / x, with sums x of values and y of squares, in a window of flat background.

    The index of dispersion (variance over mean) of m Poisson counts has the expectation 1
    and the standard deviation sqrt(2 / (m - 1)).

    Parameters
    ----------
    n
        Pixels in a full window.
    gain
        ADU per photon.
    n_sigma
        Standard deviations allowed.

    Returns
    -------
    (n + 1,) for m = 0 to n good pixels
    """
    free = np.maximum(np.arange(n + 1, dtype=float) - 1, 0)
    return np.asarray(gain * (free + n_sigma * np.sqrt(2 * free)))


def elbow_threshold(image: NDArray[Any]) -> float:
    """Value beyond which the histogram of an image has its long flat tail.

    Pixels above levels that grow by half each time are counted; of the curve of counts
    against levels, from its steepest chord on, the point farthest from that chord is its elbow, and the
    threshold stands two levels before it (as in DIALS 3.12).

    Parameters
    ----------
    image
        (slow, fast); masked pixels take part.

    Returns
    -------
    one of 1, 2, 3, 5, 7, 11, 17, ...
    """
    levels = np.array([int(1.5**i) for i in range(1, 20)], dtype=float)
    above = np.array([np.count_nonzero(image > level) for level in levels], dtype=float)
    slopes = (above[-1] - above[:-1]) / (levels[-1] - levels[:-1])
    start = int(np.argmin(slopes))
    run, rise = levels[-1] - levels[start], above[-1] - above[start]
    across = run * (above[start:] - above[start]) - rise * (levels[start:] - levels[start])
    gaps = np.abs(across) / math.hypot(run, rise)
    return float(int(levels[start + int(np.argmax(gaps)) - 2]))


class Dispersion:
    """Strong where the window is dispersed and the pixel exceeds the window's mean."""

    def __init__(self, options: DispersionOptions | None = None) -> None:
        self.window = Window(options or DispersionOptions())
        if self.window.learns:
            self.learn = self.window.learn

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> DispersionKernel:
        """A kernel with buffers of the panel's size; neither the experiment nor the mask's values matter to it."""
        return DispersionKernel(self.window, mask.shape)


class DispersionKernel:
    """Marks strong pixels of frames.

    Attributes
    ----------
    halo : rows before and after a row that decide about it
    """

    def __init__(self, window: Window, shape: tuple[int, ...]) -> None:
        self.marker, self.halo = Marker(window, shape), window.half_slow

    def __call__(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
        """Fill ``strong``; all arrays have the shape (slow, fast)."""
        mark_dispersed(image, mask, self.marker.test(image.dtype, peaks=True), self.marker.tiles, strong)
