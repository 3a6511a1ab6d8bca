"""Spots: strong pixels joined over frames, their centroids and boxes, masks of resolution."""

from __future__ import annotations

from xtal.physics.spots.masks import ice_rings, resolution_mask
from xtal.physics.spots.pixels import StrongPixels
from xtal.physics.spots.spots import Spots, find_spots

__all__ = ["Spots", "StrongPixels", "find_spots", "ice_rings", "resolution_mask"]
