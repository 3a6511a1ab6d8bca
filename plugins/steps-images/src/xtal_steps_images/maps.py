"""What the search for spots makes of an image, as maps (the test of `dispersion`; Parkhurst et al. 2016)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.physics.spots.local import local_statistics
from xtal_steps_images.options import BitmapOptions

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def display_map(image: Array, mask: Mask, options: BitmapOptions) -> Array:
    """(slow, fast) the map that ``options.display`` names; those of tests hold 0 and 1."""
    o = options
    if o.display == "image":
        return image
    count, mean, variance = local_statistics(image, mask, o.kernel_size)
    enough = mask & (count >= (o.min_local or (2 * o.kernel_size[0] + 1) * (2 * o.kernel_size[1] + 1)))
    mean, variance = np.where(enough, mean, 0.0), np.where(enough, variance, 0.0)
    if o.display == "mean":
        return mean
    if o.display == "variance":
        return variance
    dispersion = np.divide(variance, mean, out=np.ones_like(mean), where=mean > 0)
    if o.display == "dispersion":
        return dispersion
    limit = o.gain * (1 + o.nsigma_b * np.sqrt(2 / np.maximum(count - 1, 1)))
    dispersed = enough & (count > 1) & (dispersion > limit)
    strong = enough & (image > mean + o.nsigma_s * np.sqrt(o.gain * np.maximum(mean, 0)))
    above = enough & (image > o.global_threshold)
    tests = {
        "sigma_b": dispersed,
        "sigma_s": strong,
        "global_threshold": above,
        "threshold": dispersed & strong & above,
    }
    return tests[o.display].astype(np.float64)
