"""Background by robust Poisson regression.

Reference: Cantoni & Ronchetti (2001) J. Am. Stat. Assoc. 96, 1022; Parkhurst et al. (2016) J. Appl. Cryst. 49, 1912.
"""

from __future__ import annotations

import numpy as np

from xtal.hooks.protocols import BackgroundResult
from xtal.table import Shoeboxes
from xtal_background_glm.kernels import robust_poisson
from xtal_background_glm.options import GlmOptions


class Glm:
    """Robust Poisson mean per box or per frame (`xtal.hooks.protocols.BackgroundModel`).

    A fit fails with fewer than ``min_pixels`` usable voxels or with negative counts.
    """

    def __init__(self, options: GlmOptions | None = None) -> None:
        self.options = options or GlmOptions()

    def fit(self, boxes: Shoeboxes) -> BackgroundResult:
        """Fit a batch; see the protocol."""
        out = np.zeros((len(boxes), 3))
        o = self.options
        robust_poisson(
            boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background,
            float(o.robust.tuning_constant), int(o.min_pixels), o.model.algorithm == "constant2d", out,
        )  # fmt: skip
        return BackgroundResult(out[:, 0] > 0, out[:, 1].copy(), out[:, 2].copy())
