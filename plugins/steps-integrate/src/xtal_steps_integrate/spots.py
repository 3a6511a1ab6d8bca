"""Strong spots: which prediction each of them is, and their pixels where the table has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.physics.integration import Gatherer
from xtal.run import Context
from xtal.run.images import Arrays, FrameReader
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes

Ints = NDArray[np.int64]

MOST = 4000
"""Spots whose pixels are looked at, at most."""
RUNS, RUN, SOME = 5, 8, 500
"""Runs of frames that are looked at for them, frames of each at least, and spots that they should hold together."""
ROOM = 1 << 29
"""Bytes of these frames at most: they are kept until they are integrated."""


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
    """Predictions of matched spots, with the shoebox of each spot; without those whose box is empty."""
    boxes = spots["shoebox"]
    filled = np.diff(boxes.offsets)[pairs[0]] > 0
    mine, theirs = pairs[0][filled], pairs[1][filled]
    table = ReflectionTable(n_rows=len(mine))
    for name in ("id", "panel", "s1", "xyzcal.px", "xyzcal.mm", "zeta"):
        table[name] = np.asarray(predicted[name])[theirs]
    table["shoebox"] = boxes.select(mine)
    return table


# --- where the table holds no pixels ------------------------------------------


def add_pixels(
    context: Context, groups: list[list[int]], spots: ReflectionTable
) -> tuple[ReflectionTable, dict[int, dict[int, Arrays]]]:
    """Give some of the usable spots their pixels, from a few short runs of frames.

    Returns
    -------
    spots : with the column ``shoebox``, whose boxes are empty for other spots
    ahead : the frames that were read, by the first experiment of their images, so that none is read again
    """
    usable = usable_spots(spots)
    owner, ahead = np.asarray(spots["id"])[usable], {}
    rows: list[Ints] = []
    boxes: list[Shoeboxes] = []
    for group in groups:
        experiment, mine = context.experiments[group[0]], usable[np.isin(owner, group)]
        assert experiment.scan is not None
        with context.frames(experiment) as reader:
            frame_bytes = sum(slow * fast for slow, fast in reader.shapes) * reader.dtype.itemsize
            most = min(context.memory // 8, ROOM) // len(groups) // frame_bytes
            bbox = boxes_round(spots, mine, experiment.scan.array_range)
            runs = runs_to_look_at(bbox, experiment.scan.array_range, most)
            images = {z: reader.read(z) for run in runs for z in run}
            inside = np.any([(bbox[:, 4] >= run.start) & (bbox[:, 5] <= run.stop) for run in runs], axis=0)
            inside = np.flatnonzero(inside & (bbox[:, 5] > bbox[:, 4]))[:MOST]
            panel = np.asarray(spots["panel"]).astype(np.int64)[mine[inside]]
            boxes.append(_pixels(experiment, reader, images, panel, bbox[inside]))
        rows.append(mine[inside])
        ahead[group[0]] = images
    spots = spots.copy()
    spots["shoebox"] = _among(spots, np.concatenate(rows), Shoeboxes.concatenate(boxes))
    return spots, ahead


def boxes_round(spots: ReflectionTable, rows: Ints, array_range: tuple[int, int]) -> NDArray[np.int32]:
    """(m, 6) boxes of spots within the scan: those of the table or, where it has none, of 11 pixels and 5 frames."""
    if "bbox" in spots:
        bbox = np.array(spots["bbox"], dtype=np.int32)[rows]
    else:
        c = np.floor(np.asarray(spots["xyzobs.px.value"])[rows]).astype(np.int32)
        half = np.array([5, 5, 2], np.int32)
        bbox = np.stack([c - half, c + half + 1], axis=2).reshape(-1, 6)
    bbox[:, 4:] = np.clip(bbox[:, 4:], *array_range)
    return bbox


def runs_to_look_at(bbox: NDArray[np.int32], array_range: tuple[int, int], most: int) -> list[range]:
    """Up to `RUNS` runs of frames, evenly over the scan, that hold some hundreds of the spots with these boxes.

    ``most`` is the number of frames of all runs together, but one of each run is taken at least.
    """
    first, last = array_range
    depth = int(np.median(bbox[:, 5] - bbox[:, 4])) if len(bbox) else 1
    wanted = SOME * (last - first) // (RUNS * max(len(bbox), 1))
    length = max(1, min(max(RUN, 2 * depth, wanted), most // RUNS, last - first))
    starts = np.unique(np.linspace(first, last - length, RUNS).astype(int))
    return [range(int(start), int(start) + length) for start in starts]


def _pixels(
    experiment: Experiment, reader: FrameReader, images: dict[int, Arrays], panel: Ints, bbox: NDArray[np.int32]
) -> Shoeboxes:
    """Boxes of spots, to which voxels belong that exceed the median of their box by three standard deviations."""
    layer = (bbox[:, 1] - bbox[:, 0]).astype(np.int64) * (bbox[:, 3] - bbox[:, 2])
    top = [p.trusted_range[1] for p in experiment.detector]
    gatherer = Gatherer(panel, np.ascontiguousarray(bbox), np.zeros(int(layer.sum()), np.uint8), top)
    static = reader.static_mask()
    for z, image in images.items():
        gatherer.add(z, image, reader.mask(z, image), static)
    boxes = gatherer.boxes
    boxes.background = np.zeros(len(boxes.data), np.float32)
    for i in range(len(boxes)):
        part = slice(boxes.offsets[i], boxes.offsets[i + 1])
        valid = (boxes.mask[part] & int(MaskBit.VALID)) != 0
        level = float(np.median(boxes.data[part][valid])) if valid.any() else 0.0
        strong = valid & (boxes.data[part] > level + 3 * np.sqrt(max(level, 1.0)))
        boxes.data[part] -= level
        boxes.mask[part] = np.where(strong, int(MaskBit.VALID | MaskBit.FOREGROUND), 0)
    return boxes


def _among(spots: ReflectionTable, rows: Ints, boxes: Shoeboxes) -> Shoeboxes:
    """Boxes of all spots, of which some rows have theirs and the others are empty."""
    order = np.argsort(rows)
    rows, boxes = rows[order], boxes.select(order)
    bbox, sizes = np.zeros((len(spots), 6), np.int32), np.zeros(len(spots), np.int64)
    bbox[rows], sizes[rows] = boxes.bbox, np.diff(boxes.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    panel = np.asarray(spots["panel"]).astype(np.uint32)
    return Shoeboxes(panel, bbox, offsets, boxes.data, boxes.mask, boxes.background)
