"""Boxes of voxels round predicted reflections: cutting them from frames, summation, fits."""

from xtal.physics.integration.boxes import (
    Gatherer,
    Layers,
    OpenBoxes,
    batches_of_voxels,
    chunks_of_frames,
    footprint_boxes,
)
from xtal.physics.integration.foreground import Foreground, Foregrounds
from xtal.physics.integration.rings import expect_levels, expected_levels
from xtal.physics.integration.summation import (
    Sums,
    count_noise,
    drop_bad_pixels,
    split_sums,
    summation,
    take_boxes,
)

__all__ = [
    "Foreground",
    "Foregrounds",
    "Gatherer",
    "Layers",
    "OpenBoxes",
    "Sums",
    "batches_of_voxels",
    "chunks_of_frames",
    "count_noise",
    "drop_bad_pixels",
    "expect_levels",
    "expected_levels",
    "footprint_boxes",
    "split_sums",
    "summation",
    "take_boxes",
]
