"""Boxes of voxels round predicted reflections: cutting them from frames, summation, fits."""

from xtal.physics.integration.boxes import Gatherer, Layers, OpenBoxes, chunks_of_frames, footprint_boxes
from xtal.physics.integration.rings import expect_levels, expected_levels
from xtal.physics.integration.summation import (
    Sums,
    count_noise,
    crop_to_foreground,
    drop_bad_pixels,
    join_boxes,
    summation,
    take_boxes,
)

__all__ = [
    "Gatherer",
    "Layers",
    "OpenBoxes",
    "Sums",
    "chunks_of_frames",
    "count_noise",
    "crop_to_foreground",
    "drop_bad_pixels",
    "expect_levels",
    "expected_levels",
    "footprint_boxes",
    "join_boxes",
    "summation",
    "take_boxes",
]
