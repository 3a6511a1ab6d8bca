"""A threshold on the mean of the panel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.hooks.protocols import ThresholdKernel
from xtal.models import Experiment
from xtal_threshold_template.options import TemplateOptions


class TemplateThreshold:
    """Strong is what stands ``n_sigma`` out of the mean (`xtal.hooks.protocols.ThresholdAlgorithm`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.n_sigma = options.n_sigma

    def prepare(self, experiment: Experiment, panel: int, mask: NDArray[np.bool_]) -> ThresholdKernel:
        """A kernel; buffers that it may want to reuse belong in here, one set per thread."""

        def kernel(image: NDArray[Any], mask: NDArray[np.bool_], strong: NDArray[np.bool_], frame: int) -> None:
            counts = image[mask]
            mean = float(counts.mean()) if counts.size else 0.0
            # what was in `strong` before is of no interest: every pixel is written
            np.logical_and(mask, image > mean + self.n_sigma * max(mean, 1.0) ** 0.5, out=strong)

        return kernel
