"""The threshold as a plugin, and what the extended one shares with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Experiment
from xtal_threshold_dispersion.kernels import mark_dispersed
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
        self.sigma_strong = options.sigma_strong
        self.global_threshold = options.global_threshold

    def mark(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], *, peaks: bool) -> None:
        """Mark pixels of dispersed windows; with ``peaks`` only those that stand out of the mean."""
        peak = np.array([self.sigma_strong if peaks else 0.0, self.gain, self.global_threshold])
        resum = image.dtype.kind == "f"
        work = np.zeros((8, image.shape[1] + 2 * self.half_fast + 1))
        mark_dispersed(image, mask, self.half_slow, self.half_fast, resum, self.least, self.limits, peak, work, strong)


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


class Dispersion:
    """Strong where the window is dispersed and the pixel exceeds the window's mean."""

    def __init__(self, options: DispersionOptions | None = None) -> None:
        self.window = Window(options or DispersionOptions())

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> DispersionKernel:
        """A kernel; neither the experiment nor the static mask matters to it."""
        return DispersionKernel(self.window)


class DispersionKernel:
    """Marks strong pixels of frames."""

    def __init__(self, window: Window) -> None:
        self.window = window

    def __call__(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
        """Fill ``strong``; all arrays have the shape (slow, fast)."""
        self.window.mark(image, mask, strong, peaks=True)
