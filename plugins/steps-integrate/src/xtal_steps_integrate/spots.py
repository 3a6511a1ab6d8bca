"""Strong spots: which prediction each of them is, and their pixels where the table has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.physics.integration import Gatherer
from xtal.run.images import FrameReader
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes

Ints = NDArray[np.int64]

MOST = 4000
"""Spots whose pixels are read again at most."""


def usable_spots(table: ReflectionTable) -> Ints:
    """Rows that are indexed and that refinement did not find bad."""
    good = (np.asarray(table["id"]) >= 0) & np.any(np.asarray(table["miller_index"]) != 0, axis=1)
    good &= table.has_flags(Flag.INDEXED) & ~table.has_flags(Flag.BAD_FOR_REFINEMENT, any_of=True)
    return np.flatnonzero(good)


def match_spots(spots: ReflectionTable, predicted: ReflectionTable, largest: float = 5.0) -> tuple[Ints, Ints]:
    """Pairs of rows of the same index, crossing, panel and experiment, nearest in z.

    Parameters
    ----------
    largest
        Farthest distance in pixels (x, y) and frames that a pair may have.

    Returns
    -------
    spot, prediction : (m,) rows of the tables
    """
    keys = [
        np.column_stack([t["id"], t["panel"], t["entering"], t["miller_index"]]).astype(np.int64)
        for t in (spots, predicted)
    ]
    _, code = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    code = code.reshape(-1)
    mine, theirs = code[: len(spots)], code[len(spots) :]
    z = np.asarray(predicted["xyzcal.px"])[:, 2]
    order = np.lexsort((z, theirs))
    low = np.searchsorted(theirs[order], mine, side="left")
    high = np.searchsorted(theirs[order], mine, side="right")
    seen = np.asarray(spots["xyzobs.px.value"])
    best, distance = np.full(len(spots), -1), np.full(len(spots), np.inf)
    for step in range(int((high - low).max(initial=0))):
        rows = np.flatnonzero(low + step < high)
        row = order[low[rows] + step]
        off = np.abs(np.asarray(predicted["xyzcal.px"])[row] - seen[rows]).max(axis=1)
        closer = off < distance[rows]
        best[rows[closer]], distance[rows[closer]] = row[closer], off[closer]
    pair = np.flatnonzero(distance <= largest)
    # Two spots on one prediction: the nearer one.
    pair = pair[np.lexsort((distance[pair], best[pair]))]
    pair = pair[np.concatenate([[True], np.diff(best[pair]) != 0])] if len(pair) else pair
    return np.sort(pair), best[np.sort(pair)]


def spot_table(spots: ReflectionTable, predicted: ReflectionTable, pairs: tuple[Ints, Ints]) -> ReflectionTable:
    """Predictions of matched spots, with the shoebox of each spot."""
    table = ReflectionTable(n_rows=len(pairs[0]))
    for name in ("id", "panel", "s1", "xyzcal.px", "xyzcal.mm", "zeta"):
        table[name] = np.asarray(predicted[name])[pairs[1]]
    boxes = spots["shoebox"]
    table["shoebox"] = boxes.select(pairs[0])
    return table


def reread_shoeboxes(experiment: Experiment, reader: FrameReader, spots: ReflectionTable) -> tuple[Ints, Shoeboxes]:
    """Pixels of spots that the table does not hold: of at most `MOST` in a few short runs of frames.

    A voxel belongs to the spot where it exceeds the median of its box by three standard deviations.

    Returns
    -------
    rows : (m,) of ``spots``; boxes : of these rows
    """
    assert experiment.scan is not None
    first, last = experiment.scan.array_range
    centre = np.asarray(spots["xyzobs.px.value"])
    if "bbox" in spots:
        bbox = np.array(spots["bbox"], dtype=np.int32)
    else:
        c = np.floor(centre).astype(np.int32)
        half = np.array([5, 5, 2])
        bbox = np.stack([c - half, c + half + 1], axis=2).reshape(-1, 6).astype(np.int32)
    bbox[:, 4:] = np.clip(bbox[:, 4:], first, last)
    runs = np.unique(np.linspace(first, max(first, last - 8), 5).astype(int))
    inside = np.zeros(len(bbox), bool)
    for start in runs:
        inside |= (bbox[:, 4] >= start) & (bbox[:, 5] <= start + 8)
    if inside.sum() < 50:
        inside[:] = True
    rows = np.flatnonzero(inside & (bbox[:, 5] > bbox[:, 4]))[:MOST]
    box = np.ascontiguousarray(bbox[rows])
    layer = (box[:, 1] - box[:, 0]).astype(np.int64) * (box[:, 3] - box[:, 2])
    panel = np.asarray(spots["panel"]).astype(np.int64)[rows]
    top = [p.trusted_range[1] for p in experiment.detector]
    gatherer = Gatherer(panel, box, np.zeros(int(layer.sum()), np.uint8), top)
    static = reader.static_mask()
    frames = np.unique(np.concatenate([np.arange(b[4], b[5]) for b in box])) if len(box) else np.empty(0, int)
    for z in frames:
        images = reader.read(int(z))
        gatherer.add(int(z), images, reader.mask(int(z), images), static)
    boxes = gatherer.boxes
    boxes.background = np.zeros(len(boxes.data), np.float32)
    for i in range(len(boxes)):
        part = slice(boxes.offsets[i], boxes.offsets[i + 1])
        valid = (boxes.mask[part] & int(MaskBit.VALID)) != 0
        level = float(np.median(boxes.data[part][valid])) if valid.any() else 0.0
        strong = valid & (boxes.data[part] > level + 3 * np.sqrt(max(level, 1.0)))
        boxes.data[part] -= level
        boxes.mask[part] = np.where(strong, int(MaskBit.VALID | MaskBit.FOREGROUND), 0)
    return rows, boxes
