"""Filters that look at all spots of an experiment: pairs by chance, steep background, crowded places, warm pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Detector
from xtal.table import ReflectionTable

Keep = NDArray[np.bool_]

CELLS = 50
"""Cells of the detector in each direction, to find crowded places."""
SLOTS = 30
"""Most bins of the histogram of spots per cell."""
FLAT = 0.002
"""Slope of its cumulative curve, part of the whole per spot, below which it is flat."""
BY_CHANCE = 0.01
"""Pixels of a detector that may be taken for warm by chance."""
PAIRS_BY_CHANCE = 0.1
"""Spots of two pixels that chance may make on an image."""
ROUND = 5
"""Pixels round a pair in which its background is measured; the nearest ones are left to it."""


def pair_filter(table: ReflectionTable, reader: Any, detector: Detector) -> Keep:
    """Spots but those of two pixels that are as bright by chance now and then.

    The counts of a pair, beside those that its surroundings expect in two pixels, are a Poisson number, in units of
    the variance of the surroundings over their mean where that is more than one (gain, point spread, a slope). A pair
    stays where so bright ones are fewer than `PAIRS_BY_CHANCE` among all neighbours on an image. Its images are read
    again.

    Parameters
    ----------
    table
        Spots of one experiment.
    reader
        Of its images.
    detector
        For the pedestals.
    """
    from scipy.special import gammainc

    keep = np.ones(len(table), bool)
    panel, bbox = np.asarray(table["panel"], np.int64), np.asarray(table["bbox"], np.int64)
    pairs = np.flatnonzero(np.asarray(table["n_signal"]) == 2)
    images, room = reader.allocate(), reader.allocate_masks()
    for z in np.unique(bbox[pairs, 4]):
        reader.read(int(z), out=images)
        masks = reader.mask(int(z), images, out=room)
        for k in pairs[bbox[pairs, 4] == z]:
            p = panel[k]
            values, own, good = _pair(images[p], masks[p], bbox[k], detector[int(p)].pedestal)
            # one count more: that none was seen does not say that none is expected
            mean = max(values[good].sum() + 1, 1) / max(np.count_nonzero(good), 1)
            unit = max(values[good].var() / mean if good.any() else 1.0, 1.0)
            tail = gammainc(max(values[own].sum(), 1e-9) / unit, 2 * mean / unit)
            keep[k] = 2 * masks[p].size * tail < PAIRS_BY_CHANCE
    return keep


def _pair(image: Any, mask: Keep, box: NDArray[np.int64], pedestal: float) -> tuple[NDArray[np.float64], Keep, Keep]:
    """Counts round a pair, which of them are its own, and which are good ones of its surroundings."""
    x0, x1, y0, y1 = _grown(box, image.shape, ROUND)
    y, x = np.mgrid[y0:y1, x0:x1]

    def within(by: int) -> Keep:
        a, b, c, d = box[:4]
        return np.asarray((x >= a - by) & (x < b + by) & (y >= c - by) & (y < d + by))

    return image[y0:y1, x0:x1] - float(pedestal), within(0), mask[y0:y1, x0:x1] & ~within(1)


def gradient_filter(table: ReflectionTable, reader: Any, size: int, cutoff: float) -> Keep:
    """Spots whose background is flat enough.

    The box of a spot grows by ``size + 1`` pixels; a plane is fitted to what its outermost ring of good
    pixels holds, summed over the frames of the spot (as DIALS 3.12 does).

    Parameters
    ----------
    table
        Spots of one experiment.
    reader
        Of its images.
    size
        Pixels.
    cutoff
        Steepest slope along x or y, ADU / px.
    """
    panel, bbox = np.asarray(table["panel"], np.int64), np.asarray(table["bbox"], np.int64)
    grown = [_grown(b, reader.shapes[p], size + 1) for p, b in zip(panel, bbox, strict=True)]
    sums = [np.zeros((y1 - y0, x1 - x0)) for x0, x1, y0, y1 in grown]
    good = [np.ones(s.shape, bool) for s in sums]
    images, room = reader.allocate(), reader.allocate_masks()
    order = np.argsort(bbox[:, 4], kind="stable")
    begin, open_ = 0, list[int]()
    for z in range(int(bbox[:, 4].min()), int(bbox[:, 5].max())):
        open_ = [k for k in open_ if bbox[k, 5] > z]
        while begin < len(order) and bbox[order[begin], 4] <= z:
            open_.append(int(order[begin]))
            begin += 1
        if not open_:
            continue
        reader.read(z, out=images)
        masks = reader.mask(z, images, out=room)
        for k in open_:
            x0, x1, y0, y1 = grown[k]
            sums[k] += images[panel[k]][y0:y1, x0:x1]
            good[k] &= masks[panel[k]][y0:y1, x0:x1]
    slopes = np.array([_slopes(s, g) for s, g in zip(sums, good, strict=True)])
    return np.asarray((np.abs(slopes) <= cutoff).all(axis=1))


def _grown(box: NDArray[np.int64], shape: tuple[int, int], by: int) -> tuple[int, int, int, int]:
    """x0, x1, y0, y1 of a box that grew, clipped to its panel."""
    x0, x1, y0, y1 = map(int, box[:4])
    return max(x0 - by, 0), min(x1 + by, shape[1]), max(y0 - by, 0), min(y1 + by, shape[0])


def _slopes(values: NDArray[np.float64], good: Keep) -> tuple[float, float]:
    """Slopes along x and y of the plane through the good pixels of the outermost ring; 0 where there are too few."""
    ring = good.copy()
    ring[1:-1, 1:-1] = False
    y, x = np.nonzero(ring)
    if len(x) < 3:
        return 0.0, 0.0
    design = np.stack([np.ones(len(x)), x, y], axis=1)
    _, a, b = np.linalg.lstsq(design, values[ring], rcond=None)[0]
    return float(a), float(b)


def density_filter(xy: NDArray[np.float64]) -> Keep:
    """Spots outside of crowded places.

    Spots are counted in 50 x 50 cells. Where the cumulative histogram of these counts turns flat lies the limit:
    cells above it are far more crowded than the rest (as DIALS 3.12 has it, which though takes every spot
    where the first bin alone is filled).

    Parameters
    ----------
    xy : (n, 2) px
    """
    counts, x_edges, y_edges = np.histogram2d(xy[:, 0], xy[:, 1], bins=CELLS)
    histogram, edges = np.histogram(counts, bins=max(min(int(counts.max()), SLOTS), 1))
    gradient = np.diff(np.cumsum(histogram) / counts.size) / (edges[1] - edges[0])
    flat = np.flatnonzero((gradient[1:] < FLAT) & (gradient[:-1] < FLAT))
    if len(flat) == 0:
        return np.ones(len(xy), bool)
    limit = edges[max(flat[0], 1)]
    column = np.clip(np.searchsorted(x_edges, xy[:, 0], side="right") - 1, 0, CELLS - 1)
    row = np.clip(np.searchsorted(y_edges, xy[:, 1], side="right") - 1, 0, CELLS - 1)
    return np.asarray(counts[column, row] <= limit)


def warm_filter(table: ReflectionTable, n_pixels: int, n_turns: int) -> Keep:
    """Spots that do not lie on a warm pixel.

    A warm pixel is strong now and then, with no neighbour: it holds several spots that are one pixel wide. Of a
    crystal such spots are few and lie anywhere, so that hardly two of them share a pixel. Spots whose centroid is on
    a pixel that holds more of them than chance brings together are dropped.

    Parameters
    ----------
    table
        Spots of the scan of one experiment.
    n_pixels
        Of its detector.
    n_turns
        How often a reflection may come back to its place: turns of the goniometer, begun ones counted.
    """
    x0, x1, y0, y1 = np.asarray(table["bbox"], np.int64).T[:4]
    x, y = np.floor(table["xyzobs.px.value"][:, :2]).astype(np.int64).T
    place = (np.asarray(table["panel"], np.int64) << 40) + (y << 20) + x
    narrow = (x1 - x0 == 1) & (y1 - y0 == 1)
    places, times = np.unique(place[narrow], return_counts=True)
    warm = places[times >= n_turns * more_than_chance(int(narrow.sum()), n_pixels)]
    return ~np.isin(place, warm)


def more_than_chance(n: int, places: int) -> int:
    """Least number of things in one place, two at least, that is not met by chance where ``n`` lie anywhere."""
    density, least = n / places, 2
    while places * density**least / math.factorial(least) > BY_CHANCE:
        least += 1
    return least
