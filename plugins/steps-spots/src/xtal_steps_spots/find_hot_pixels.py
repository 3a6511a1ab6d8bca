"""The step find_hot_pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import write_mask
from xtal.models import ExperimentList
from xtal.run import Context
from xtal.table import MaskBit, ReflectionTable, Shoeboxes
from xtal.words import counted
from xtal_steps_spots.generate_mask import numbered
from xtal_steps_spots.hot import FEWEST, hot_at
from xtal_steps_spots.imagesets import imagesets

LISTED = 10
"""Hot pixels that are named one by one."""


def run(context: Context) -> None:
    """Write a mask of pixels that are strong on almost every image.

    Raises
    ------
    DataError
        If the spots carry no pixels, or the scans are too short to tell.
    """
    table = context.reflections
    if "shoebox" not in table:
        raise DataError("The spots carry no pixels.", advice="Find them again with shoeboxes=True.")
    sets = imagesets(context.experiments)
    names = numbered(context.output_name("mask"), len(sets))
    n_hot = []
    for members, name in zip(sets, names, strict=True):
        masks = hot_masks(context, members, table)
        n_hot.append(sum(int((~mask).sum()) for mask in masks))
        with context.writing("mask", name) as path:
            write_mask(path, masks)
        context.summary(f"{name}: {counted(n_hot[-1], 'hot pixel')}")
    if not all(n_hot):
        context.print(
            "Spots that find_spots drops, on warm pixels or of too few, are not in the table: "
            "its write_hot_mask=True counts all strong pixels."
        )


def hot_masks(context: Context, members: ExperimentList, table: ReflectionTable) -> list[NDArray[np.bool_]]:
    """Per panel (slow, fast) of a set of images, True where a pixel is not hot."""
    numbers = [k for k, e in enumerate(context.experiments) if any(e is m for m in members)]
    experiment = members[0]
    n_images = experiment.scan.n_images if experiment.scan else 1
    if n_images < FEWEST:
        raise DataError(
            f"{counted(n_images, 'image does', 'images do')} not tell hot pixels from spots: {FEWEST} are needed.",
            advice="Take a longer scan, or mask pixels by hand: xtal run generate_mask untrusted.pixel=y,x",
        )
    rows = np.isin(table["id"], numbers)
    masks, listed = [], []
    for number, panel in enumerate(experiment.detector):
        shape = (panel.image_size[1], panel.image_size[0])
        counts = images_strong(table.select(rows & (table["panel"] == number))["shoebox"], shape)
        at = hot_at(counts, context.options.hot_fraction, n_images)
        mask = np.ones(shape, bool)
        mask.reshape(-1)[at] = False
        masks.append(mask)
        listed += [[str(number), str(k % shape[1]), str(k // shape[1]), str(counts[k])] for k in at]
    if listed:
        more = f" (the first {LISTED} of {len(listed)})" if len(listed) > LISTED else ""
        context.table(f"Hot pixels{more}", ["panel", "fast", "slow", "images on which it is strong"], listed[:LISTED])
    return masks


def images_strong(boxes: Shoeboxes, shape: tuple[int, int]) -> NDArray[np.int64]:
    """(slow * fast,) on how many images each pixel of a panel is strong, from the boxes of its spots."""
    counts = np.zeros(shape[0] * shape[1], np.int64)
    for k in range(len(boxes)):
        _, mask, _ = boxes.box(k)
        _, y, x = np.nonzero(mask & MaskBit.FOREGROUND)
        np.add.at(counts, (y + boxes.bbox[k, 2]) * shape[1] + x + boxes.bbox[k, 0], 1)
    return counts
