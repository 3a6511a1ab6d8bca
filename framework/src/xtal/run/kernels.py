"""Kernel for the mask of one frame."""

from __future__ import annotations

import numpy as np

from xtal.jit import jit

STRETCH = 1 << 12
"""Pixels that are looked at before it is asked whether one of them is bad."""


@jit
def trusted_pixels(image, static, low, high, out):
    """Mark the pixels that are good in the static mask and within the trusted range.

    Parameters
    ----------
    image : (n,) raw values, any real dtype
    static : (n,) bool
    low, high : scalars of the image's dtype, both inclusive
    out : (n,) bool, filled where that differs from ``static``

    Returns
    -------
    whether it differs; of most frames it does not, and nothing is written
    """
    n, same = image.size, 0
    while same < n:
        values, good, bad = image[same : same + STRETCH], static[same : same + STRETCH], False
        for i in range(values.size):
            bad |= good[i] & (not ((values[i] >= low) & (values[i] <= high)))
        if bad:
            break
        same += STRETCH
    if same >= n:
        return False
    for i in range(np.uint64(same)):  # assigning slices would compile the formatting of text, for its error
        out[i] = static[i]
    values, good, rest = image[same:], static[same:], out[same:]
    for i in range(values.size):  # from 0: where an index might be negative nothing is done by vectors
        rest[i] = good[i] & (values[i] >= low) & (values[i] <= high)
    return True
