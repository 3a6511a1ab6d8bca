"""Spots: strong pixels joined over frames, their centroids and boxes, masks of resolution."""

from __future__ import annotations

from xtal.physics.spots.masks import ice_rings, resolution_mask
from xtal.physics.spots.pixels import Gathering, StrongPixels
from xtal.physics.spots.shapes import circle_mask, polygon_mask
from xtal.physics.spots.spots import Spots, find_spots
from xtal.physics.spots.stream import SpotStream

__all__ = [
    "Gathering",
    "SpotStream",
    "Spots",
    "StrongPixels",
    "circle_mask",
    "find_spots",
    "ice_rings",
    "polygon_mask",
    "resolution_mask",
]
