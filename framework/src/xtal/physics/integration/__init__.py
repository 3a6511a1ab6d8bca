"""Boxes of voxels round predicted reflections: cutting them from frames, summation, fits."""

from xtal.physics.integration.boxes import Gatherer, OpenBoxes, chunks_of_frames, footprint_boxes
from xtal.physics.integration.summation import Sums, crop_to_foreground, summation, take_boxes

__all__ = [
    "Gatherer",
    "OpenBoxes",
    "Sums",
    "chunks_of_frames",
    "crop_to_foreground",
    "footprint_boxes",
    "summation",
    "take_boxes",
]
