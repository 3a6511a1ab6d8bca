import numpy as np
from attrs import frozen

from xtal.options import option


@frozen
class BrightestOptions:
    n_sigma: float = option(6.0, help="Standard deviations above the mean", gt=0)


class Brightest:
    def __init__(self, options):
        self.n_sigma = options.n_sigma

    def prepare(self, experiment, panel, mask):
        def kernel(image, mask, strong, frame):
            counts = image[mask]
            mean = counts.mean() if counts.size else 0.0
            strong[:] = mask & (image > mean + self.n_sigma * np.sqrt(max(mean, 1.0)))

        return kernel
