"""The mean of a box's background without outliers."""

from __future__ import annotations

import numpy as np

from xtal.hooks.protocols import BackgroundResult
from xtal.table import MaskBit, Shoeboxes
from xtal_background_template.options import TemplateOptions

USABLE = MaskBit.VALID | MaskBit.BACKGROUND


class TemplateBackground:
    """One level per box (`xtal.hooks.protocols.BackgroundModel`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def fit(self, boxes: Shoeboxes) -> BackgroundResult:
        """Fill ``boxes.background`` and mark the voxels used."""
        n = len(boxes)
        result = BackgroundResult(np.zeros(n, dtype=bool), np.zeros(n), np.zeros(n))
        for i in range(n):
            data, mask, background = boxes.box(i)
            background[:] = 0.0
            mask &= ~int(MaskBit.BACKGROUND_USED)
            used = (mask & (USABLE | MaskBit.OVERLAPPED)) == USABLE
            for _ in range(3):
                if used.sum() < self.options.min_pixels:
                    break
                counts = data[used].astype(float)
                mean, spread = counts.mean(), max(counts.std(), 1e-6)
                used &= np.abs(data - mean) <= self.options.n_sigma * spread
            counts = data[used].astype(float)
            if len(counts) < self.options.min_pixels:
                continue
            mean, variance = counts.mean(), counts.var(ddof=1)
            background[:] = mean
            mask[used] |= MaskBit.BACKGROUND_USED
            result.ok[i] = True
            # a box of equal counts has a spread of 0; the mean of n Poisson counts is known to 1/n at best
            result.variance[i] = max(variance, 1 / len(counts)) / len(counts)
            result.dispersion[i] = variance / mean if mean > 0 else 0.0
        return result
