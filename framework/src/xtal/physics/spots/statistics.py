"""Counts of spots per image and how far they reach: what beamlines watch while data come in.

Three estimates of the resolution of an image, none of which needs a crystal: the finest spot
below a line through the strongest spots of each shell, and the two methods of Zhang, Sauter, van den Bedem,
Snell & Deacon (2006), J. Appl. Cryst. 39, 112-119, section 2.4.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray

from xtal.physics.spots.masks import ice_rings

F = NDArray[np.float64]
Bool = NDArray[np.bool_]

NONE = -1.0
"""Stands where there is no estimate, as in DIALS's JSON."""
FEWEST = 10
"""Resolution is estimated from more spots than this."""
OUTLIER = 0.01
"""Chance of an intensity as large as a Wilson outlier's."""


@frozen
class SpotStatistics:
    """What the spots of one image say; the names are those of DIALS's JSON.

    Attributes
    ----------
    n_spots_total, n_spots_no_ice, n_spots_4A : all spots, those off ice rings, those with d > 4 angstrom
    total_intensity : counts of the spots off ice rings
    estimated_d_min : angstrom, from the strengths of spots, or -1
    d_min_distl_method_1, d_min_distl_method_2 : angstrom, from their numbers, or -1
    noisiness_method_1, noisiness_method_2 : share of pairs out of the expected order, 0 (smooth) to 1, or -1
    """

    n_spots_total: int
    n_spots_no_ice: int
    n_spots_4A: int
    total_intensity: float
    estimated_d_min: float = NONE
    d_min_distl_method_1: float = NONE
    noisiness_method_1: float = NONE
    d_min_distl_method_2: float = NONE
    noisiness_method_2: float = NONE

    def as_dict(self) -> dict[str, Any]:
        """Names and values, for JSON."""
        return asdict(self)


def spot_statistics(
    d: F, intensity: F, variance: F, *, filter_ice: bool = True, ice_width: float = 0.004, resolution: bool = True
) -> SpotStatistics:
    """Statistics of the spots of one image.

    Parameters
    ----------
    d, intensity, variance
        (n,) resolution in angstrom, counts, and their variance.
    filter_ice, ice_width
        Whether spots on rings of hexagonal ice count apart; full width of a ring in 1/d**2, 1/angstrom**2.
    resolution
        Whether to estimate the resolution.

    Returns
    -------
    SpotStatistics
    """
    ice = on_ice(d, ice_width) if filter_ice else np.zeros(len(d), bool)
    counts = (len(d), int((~ice).sum()), int((d > 4).sum()), float(intensity[~ice].sum()))
    known = variance > 0
    if not resolution or counts[1] <= FEWEST or known.sum() <= FEWEST:
        return SpotStatistics(*counts)
    d, intensity, variance, ice = d[known], intensity[known], variance[known], ice[known]
    return SpotStatistics(
        *counts,
        limit_of_strengths(d, intensity, variance, ice),
        *limit_of_ranks(d),
        *limit_of_counts(d),
    )


def on_ice(d: F, width: float) -> Bool:
    """(n,) whether a spot lies within ``width`` (full, 1/d**2) of a ring of hexagonal ice."""
    found = np.zeros(len(d), bool)
    if len(d):
        finest = float(d.min() ** -2 + width / 2) ** -0.5  # the finest spot may lie on the near side of a ring
        for fine, coarse in ice_rings(finest, width=width):
            found |= (d >= fine) & (d <= coarse)
    return found


def limit_of_strengths(d: F, intensity: F, variance: F, ice: Bool) -> float:
    """Finest spot (angstrom) below the line through the strong spots of each shell, or -1.

    Shells hold equal numbers of spots. In each, spots too strong for Wilson's distribution are left out; the 90th
    percentile of ln(I/sigma) is a point of the line, at the 1/d**2 of the 10th (as DIALS pairs them, whose
    figures are thus reproduced).
    """
    inverse, strength = d**-2, np.log(np.maximum(intensity, 1e-9) / np.sqrt(variance))
    outliers = np.zeros(len(d), bool)
    points = []
    for shell in shells_of_equal_numbers(d):
        outliers[shell] = wilson_outliers(intensity[shell], ice[shell])
        kept = shell[~(outliers[shell] | ice[shell])]
        if len(kept) == 0:
            continue
        order = kept[np.argsort(strength[kept], kind="stable")]
        low, high = order[int(0.1 * len(order))], order[int(0.9 * len(order))]
        points.append((inverse[low], strength[high]))
    if len(points) < 2:
        return NONE
    x, y = np.array(points).T
    slope, intercept = np.polyfit(x, y, 1)
    below = (strength < slope * inverse + intercept) & ~outliers & ~ice
    return float(d[below].min()) if below.any() else NONE


def shells_of_equal_numbers(d: F, per_shell: int = 20, fewest: int = 5, most: int = 20) -> list[NDArray[np.int64]]:
    """Rows of each shell, coarse first; the coarsest spot of all belongs to none (intervals are open there)."""
    n = max(fewest, min(len(d) // per_shell, most))
    falling = np.sort(d)[::-1]
    edges = [falling[0], *(falling[max(int((i + 1) * len(d) / n + 0.5) - 1, 0)] for i in range(n))]
    return [np.flatnonzero((d < high) & (d >= low)) for high, low in pairwise(edges)]


def wilson_outliers(intensity: F, ice: Bool) -> Bool:
    """(n,) intensities larger than the mean of the others allows (acentric Wilson distribution)."""
    outliers = np.zeros(len(intensity), bool)
    while (used := ~outliers & ~ice).any():
        limit = -math.log(OUTLIER) * intensity[used].mean()
        found = ~outliers & (intensity >= limit)
        if not found.any():
            break
        outliers |= found
    return outliers


def limit_of_ranks(d: F, points: int = 40, skip: int = 3) -> tuple[float, float]:
    """Method 1 of Zhang et al.: the knee of 1/d**3 against the rank of a spot.

    Returns
    -------
    (d_min in angstrom, noisiness)
    """
    step = max(2, math.ceil(len(d) / points))
    coarse_first = np.sort(d)[::-1][: len(d) // step * step : step]
    y = coarse_first**-3.0
    if len(y) < skip + 3:
        return NONE, NONE
    slopes = (y[1:] - y[0]) / np.arange(1, len(y))
    last = int(np.argmax(slopes[skip:])) + skip + 1
    chord = np.array([last, y[last] - y[0]]) / math.hypot(last, y[last] - y[0])
    gaps = np.abs(chord[1] * np.arange(last) - chord[0] * (y[:last] - y[0]))
    farthest = int(np.argmax(gaps))
    near = np.flatnonzero(gaps > gaps[farthest] - 0.5 * gaps.std(ddof=1))
    return float(coarse_first[max(farthest, int(near[-1]))]), out_of_order(slopes, rising=True)


def limit_of_counts(d: F, mu: float = 0.15) -> tuple[float, float]:
    """Method 2 of Zhang et al.: the first two shells of equal volume with few spots.

    Returns
    -------
    (d_min in angstrom, noisiness)
    """
    y = np.unique(d**-3.0)
    first = math.ceil(min(max(25, 0.05 * len(y)), 0.25 * len(y)))
    if first >= len(y) or y[first] <= y[0]:
        return NONE, NONE
    n = min(max(math.ceil((y[-1] - y[0]) / (y[first] - y[0])), 20), 40)
    edges = y[0] + np.arange(n + 1) * (y[-1] - y[0]) / n
    shell = np.ceil((d**-3.0 - y[0]) / (y[-1] - y[0]) * n).astype(int) - 1
    counts = np.bincount(shell[(shell >= 0) & (shell < n)], minlength=n)
    few = counts < mu * (counts[0] + counts[1]) / 2
    both = np.flatnonzero(few[:-1] & few[1:])
    j = int(both[0]) if len(both) else n - 2
    return float(edges[j + 1] ** (-1 / 3)), out_of_order(counts, rising=False)


def out_of_order(values: Any, *, rising: bool) -> float:
    """Share of the pairs of a sequence that do not rise (or fall) strictly."""
    i, j = np.triu_indices(len(values), 1)
    wrong = values[i] >= values[j] if rising else values[i] <= values[j]
    return float(wrong.mean())


def statistics_per_image(z: F, first: int, last: int, columns: Sequence[F], **settings: Any) -> list[SpotStatistics]:
    """Statistics of each image of a scan.

    Parameters
    ----------
    z
        (n,) centroids along the scan, array index.
    first, last
        Images (array index, half open).
    columns
        d, intensity and variance, as for `spot_statistics`.
    """
    order = np.argsort(z, kind="stable")
    edges = np.searchsorted(z[order], np.arange(first, last + 1))
    return [spot_statistics(*(c[order[a:b]] for c in columns), **settings) for a, b in pairwise(edges)]
