"""Two tables of spots side by side, all of them and those out of reach of the halo of DIALS 3.12."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_cdt
from scipy.spatial import cKDTree

from xtal.files import read_experiments, read_reflections
from xtal.plugins import default_plugins
from xtal.run.images import open_images
from xtal.table import ReflectionTable

NEAR = 0.05
"""Pixels (and images) within which spots of both sides are the same."""
REACH = 7
"""Pixels from a masked one up to which `dispersion_extended` of 3.12 may mark others than the definition does: 2 by
which regions are shrunk, and 5 over which the background is then taken."""
COLUMNS = ("xyzobs.px.value", "xyzobs.px.variance", "intensity.sum.value")


def off_halo(table: ReflectionTable, expt: Path) -> np.ndarray:
    """(n,) spots none of whose pixels is near one that the first image of their experiment masks."""
    good = np.ones(len(table), bool)
    bbox = table["bbox"]
    for number, experiment in enumerate(read_experiments(expt)):
        if not (table["id"] == number).any():
            continue
        with open_images(experiment, default_plugins()) as reader:
            images = reader.read(reader.z0)
            masks = reader.mask(reader.z0, images)
        for panel, mask in enumerate(masks):
            if mask.all():
                continue
            distance = distance_transform_cdt(mask, metric="chessboard")
            for row in np.flatnonzero((table["id"] == number) & (table["panel"] == panel)):
                x0, x1, y0, y1 = bbox[row, :4]
                good[row] = distance[y0:y1, x0:x1].min() > REACH
    return good


def places(table: ReflectionTable) -> np.ndarray:
    """Centroids; spots of other experiments or panels are far away."""
    return np.c_[table["xyzobs.px.value"], 1e4 * table["panel"].astype(float), 1e4 * table["id"].astype(float)]


def matched(ours: ReflectionTable, theirs: ReflectionTable) -> str:
    """How many spots are on both sides with the same pixels, and how far their figures agree."""
    if not len(ours) or not len(theirs):
        return f"{len(ours)} and {len(theirs)} spots"
    distance, at = cKDTree(places(ours)).query(places(theirs))
    same = (distance <= NEAR) & (ours["n_signal"][at] == theirs["n_signal"])
    text = f"{len(ours)} and {len(theirs)} spots; {100 * same.mean():.2f} % of theirs are ours"
    if same.any():
        pairs = [(ours[name][at[same]], theirs[name][same]) for name in COLUMNS]
        worst = max(float((np.abs(a - b) / np.maximum(np.abs(b), 1.0)).max()) for a, b in pairs)
        text += f", figures within {worst:.1g}"
    return text


def compare(ours: Path, theirs: Path, expt: Path) -> list[str]:
    """A line for all spots and one for those off the halo."""
    tables = [read_reflections(path) for path in (ours, theirs)]
    away = [table.select(off_halo(table, expt)) for table in tables]
    return [f"all: {matched(*tables)}", f"off the halo: {matched(*away)}"]
