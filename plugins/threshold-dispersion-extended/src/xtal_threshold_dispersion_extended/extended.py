"""The extended dispersion threshold as a plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal_threshold_dispersion.dispersion import Marker, Window
from xtal_threshold_dispersion.kernels import TILE
from xtal_threshold_dispersion_extended.kernels import mark_strong, signal_rows
from xtal_threshold_dispersion_extended.options import DispersionExtendedOptions

EXTRA = 2
"""Pixels by which the window of the second pass is wider at each side."""


class DispersionExtended:
    """Strong where a region is dispersed and the pixel exceeds the background outside of such regions."""

    def __init__(self, options: DispersionExtendedOptions | None = None) -> None:
        self.options = options or DispersionExtendedOptions()
        self.window = Window(self.options)
        if self.window.learns:
            self.learn = self.window.learn

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> DispersionExtendedKernel:
        """A kernel with buffers of the panel's size; the experiment does not matter to it."""
        return DispersionExtendedKernel(self.window, mask.shape, self.options.masked_is_background)


class DispersionExtendedKernel:
    """Marks strong pixels of frames of one shape; not for two threads at a time.

    A window is dispersed as far as it reaches a spot, so regions are shrunk by the half
    window less one pixel (Winter et al. 2018); the rest of the image is background.

    Attributes
    ----------
    halo : rows before and after a row that decide about it
    """

    def __init__(self, window: Window, shape: tuple[int, ...], masked_is_background: bool) -> None:
        self.window, self.marker = window, Marker(window, shape)
        self.masked_counts = not masked_is_background
        self.reach = min(window.half_slow, window.half_fast) - 1
        self.halo = window.half_slow + self.reach + window.half_slow + EXTRA
        self.column = np.empty(TILE + 2 * self.reach, np.uint8)
        self.sums = np.empty((2, shape[1]))
        self.signal = np.zeros((signal_rows(self.reach, window.half_slow + EXTRA), shape[1]), np.uint8)

    def __call__(self, image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
        """Fill ``strong``; all arrays have the shape (slow, fast)."""
        w, m = self.window, self.marker
        above = w.half_slow + EXTRA, w.half_fast + EXTRA, w.sigma_strong, w.gain, w.global_threshold
        test = m.test(image.dtype, peaks=False)
        shrink = self.masked_counts, self.reach, self.column
        mark_strong(image, mask, test, *shrink, above, self.sums, m.tiles, self.signal, strong)
