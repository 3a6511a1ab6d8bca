"""Background by means and planes."""

from __future__ import annotations

import numpy as np

from xtal.hooks.protocols import BackgroundResult
from xtal.table import Shoeboxes
from xtal_background_simple.kernels import fit_planes
from xtal_background_simple.options import SimpleOptions

TERMS = {"constant3d": 1, "constant2d": 1, "linear2d": 3, "linear3d": 4}


class Simple:
    """Least squares after rejection of outliers (`xtal.hooks.protocols.BackgroundModel`).

    A fit fails with fewer than ``min_pixels`` usable voxels, or fewer than its terms need.
    """

    def __init__(self, options: SimpleOptions | None = None) -> None:
        self.options = options or SimpleOptions()

    def fit(self, boxes: Shoeboxes) -> BackgroundResult:
        """Fit a batch; see the protocol."""
        o = self.options
        lower, upper = (
            (o.outlier.nsigma.lower, o.outlier.nsigma.upper) if o.outlier.algorithm == "nsigma" else (0.0, 0.0)
        )
        out = np.zeros((len(boxes), 3))
        fit_planes(
            boxes.bbox, boxes.offsets, boxes.data, boxes.mask, boxes.background, float(lower), float(upper),
            TERMS[o.model.algorithm], o.model.algorithm.endswith("2d"), int(o.min_pixels), out,
        )  # fmt: skip
        return BackgroundResult(out[:, 0] > 0, out[:, 1].copy(), out[:, 2].copy())
