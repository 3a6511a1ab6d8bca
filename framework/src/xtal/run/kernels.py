"""Kernel for the mask of one frame."""

from __future__ import annotations

from xtal.jit import jit


@jit
def trusted_pixels(image, static, low, high, out):
    """Mark the pixels that are good in the static mask and within the trusted range.

    Parameters
    ----------
    image : (n,) raw values, any integer dtype
    static : (n,) bool
    low, high : scalars of the image's dtype, both inclusive
    out : (n,) bool, filled
    """
    for i in range(image.size):
        value = image[i]
        out[i] = static[i] & (value >= low) & (value <= high)
