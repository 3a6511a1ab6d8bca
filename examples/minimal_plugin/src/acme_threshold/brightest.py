import numpy as np


class Brightest:
    def __init__(self, options):
        self.n_sigma = options.n_sigma

    def prepare(self, experiment, panel, mask):
        def kernel(image, mask, strong, frame):
            counts = image[mask]
            mean = counts.mean() if counts.size else 0.0
            strong[:] = mask & (image > mean + self.n_sigma * np.sqrt(max(mean, 1.0)))

        return kernel
