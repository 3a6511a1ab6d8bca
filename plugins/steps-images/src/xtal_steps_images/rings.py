"""Rings of equal resolution on a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xtal.models import Experiment
from xtal.physics.resolution import d_of_panel, highest_resolution
from xtal.physics.spots import ice_rings
from xtal_steps_images.mosaic import Mosaic
from xtal_steps_images.options import BitmapOptions

Array = NDArray[np.float64]
Box = tuple[int, int, int, int]
"""Left, upper, right, lower, the latter two outside."""

TRIED = 200
"""Places of a ring at which its label is tried."""


class Rings:
    """Draws the rings that options ask for; their places are found once."""

    def __init__(self, experiment: Experiment, mosaic: Mosaic, options: BitmapOptions) -> None:
        r, ice, beam = options.resolution_rings, options.ice_rings, experiment.beam
        self.binning = options.binning
        self.sets: list[tuple[list[tuple[float, NDArray[np.intp]]], str, int]] = []
        if not (r.show or ice.show):
            return
        inverse_squares = mosaic.place([d_of_panel(p, beam) ** -2.0 for p in experiment.detector], np.nan)
        finest = highest_resolution(experiment.detector, beam)
        if r.show:
            even = [((k + 1) / (r.number + 1)) ** -0.5 * finest for k in range(r.number)]
            self.sets.append((places(inverse_squares, r.d_spacings or even), r.fill, r.fontsize))
        if ice.show:
            ranges = ice_rings(finest, unit_cell=ice.unit_cell, space_group=ice.space_group, width=1e-6)
            d = [((a**-2 + b**-2) / 2) ** -0.5 for a, b in ranges]
            self.sets.append((places(inverse_squares, d), ice.fill, ice.fontsize))

    def draw(self, picture: Image.Image) -> None:
        """Draw all rings, and their labels where these hide no other label."""
        pen = ImageDraw.Draw(picture)
        taken: list[Box] = []
        for rings, fill, fontsize in self.sets:
            for d, xy in rings:
                if len(xy) == 0:
                    continue
                at = np.unique(xy // self.binning, axis=0)
                pen.point(at.ravel().tolist(), fill=fill)
                if not fontsize:
                    continue
                font = ImageFont.load_default(fontsize)
                _, _, width, height = pen.textbbox((0, 0), f"{d:.2f}", font=font)
                box = free_place(at, (math.ceil(width), math.ceil(height)), picture.size, taken)
                if box is not None:
                    taken.append(box)
                    pen.text(box[:2], f"{d:.2f}", fill=fill, font=font)


def free_place(
    ring: NDArray[np.intp], size: tuple[int, int], picture: tuple[int, int], taken: Sequence[Box]
) -> Box | None:
    """Where a label lies at its ring, whole on the picture and over no other: as high as may be.

    Parameters
    ----------
    ring : (n, 2) pixels x, y
    size, picture
        Width and height of the label and of the picture, px.
    taken
        Labels that are there.
    """
    ring = ring[np.argsort(ring[:, 1], kind="stable")]
    for x, y in ring[:: max(len(ring) // TRIED, 1)].tolist():
        x, y = max(min(x, picture[0] - size[0]), 0), max(min(y, picture[1] - size[1]), 0)
        if all(x + size[0] <= a or c <= x or y + size[1] <= b or e <= y for a, b, c, e in taken):
            return x, y, x + size[0], y + size[1]
    return None


def places(inverse_squares: Array, spacings: Sequence[float]) -> list[tuple[float, NDArray[np.intp]]]:
    """Of each spacing (angstrom) the (n, 2) pixels x, y between which and their neighbours its ring passes."""
    found = []
    for d in spacings:
        inside = inverse_squares < d**-2
        known = np.isfinite(inverse_squares)
        edge = np.zeros(inside.shape, bool)
        edge[:, 1:] |= (inside[:, 1:] != inside[:, :-1]) & known[:, 1:] & known[:, :-1]
        edge[1:] |= (inside[1:] != inside[:-1]) & known[1:] & known[:-1]
        found.append((d, np.argwhere(edge)[:, ::-1]))
    return found
