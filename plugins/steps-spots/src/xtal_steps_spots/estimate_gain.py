"""The step estimate_gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError
from xtal.files import write_gain_map
from xtal.physics.spots.local import local_statistics
from xtal.run import Context
from xtal.words import counted
from xtal_steps_spots.imagesets import imagesets

Array = NDArray[np.float64]


def run(context: Context) -> None:
    """Estimate ADU per photon: of counts it is the ratio of variance to mean of the background.

    Raises
    ------
    DataError
        If there are several sets of images.
    AlgorithmFailed
        If the background hardly varies.
    """
    options = context.options
    sets = imagesets(context.experiments)
    if len(sets) > 1:
        raise DataError(
            f"These are {len(sets)} sets of images: the gain is estimated of one at a time.",
            advice="Give the images of one.",
        )
    experiment = sets[0][0]
    gains = []
    with context.frames(experiment) as reader:
        last = min(reader.z1, reader.z0 + options.max_images)
        for z in range(reader.z0, last):
            images = reader.read(z)
            masks = reader.mask(z, images)
            pedestals = [p.pedestal for p in experiment.detector]
            ratio = dispersions(images, masks, pedestals, options.kernel_size)
            gain, quartiles = robust_median(ratio, f"image {z + 1}")
            gains.append(gain)
            context.print(f"Image {z + 1}: q1, q2, q3: " + ", ".join(f"{q:.2f}" for q in quartiles))
            context.print(f"Estimated gain: {gain:.2f}")
    if len(gains) > 1:
        context.print(f"Average gain: {np.mean(gains):.2f} +/- {np.std(gains, ddof=1):.2f}")
    if options.output.gain_map:
        with context.writing("gain_map", options.output.gain_map) as path:
            write_gain_map(path, [panel.image_size[::-1] for panel in experiment.detector], gains[0])
    context.summary(f"gain {np.mean(gains):.2f} ADU per photon, from {counted(len(gains), 'image')}")


def dispersions(
    images: Sequence[NDArray[np.generic]],
    masks: Sequence[NDArray[np.bool_]],
    pedestals: Sequence[float],
    half: Sequence[int],
) -> Array:
    """(n,) variance over mean in the window round each good pixel, of all panels, where the mean is positive."""
    found = []
    for image, mask, pedestal in zip(images, masks, pedestals, strict=True):
        values = image.astype(np.float64) - pedestal
        count, mean, variance = local_statistics(values, mask, half)
        use = mask & (count > 1) & (mean > 0)
        found.append(variance[use] / mean[use])
    return np.concatenate(found)


def robust_median(ratio: Array, what: str) -> tuple[float, Array]:
    """Median of what lies within 1.5 interquartile ranges of the quartiles, and the quartiles.

    Raises
    ------
    AlgorithmFailed
        If there is nothing, or the quartiles are the same.
    """
    if len(ratio):
        ratio = np.sort(ratio)
        quartiles = ratio[[min(round(len(ratio) * part), len(ratio) - 1) for part in (0.25, 0.5, 0.75)]]
        reach = 1.5 * (quartiles[2] - quartiles[0])
        if reach > 0:
            inside = ratio[(ratio > quartiles[0] - reach) & (ratio < quartiles[2] + reach)]
            return float(inside[len(inside) // 2]), quartiles
    raise AlgorithmFailed(
        f"The pixel values of {what} vary too little to tell the gain.",
        advice="Take an image with more background, or a larger kernel_size=.",
    )
