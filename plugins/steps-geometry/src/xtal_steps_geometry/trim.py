"""Scans cut to the images that show the crystal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from xtal.models import ExperimentList, Scan
from xtal.table import ReflectionTable


def trim_scans(experiments: ExperimentList, table: ReflectionTable) -> Iterator[str]:
    """Leave out images at the ends of scans on which no indexed spot stands; changes ``experiments``.

    Where a crystal fades out or leaves the beam, the images behind hold no intensities but are scaled up all the same.
    Experiments that share a scan keep sharing it.

    Yields
    ------
    A sentence for each scan that was cut.
    """
    ids, z = np.asarray(table["id"]), spot_range(table)
    scans = {id(e.scan): e.scan for e in experiments if e.scan is not None and not e.is_still}
    for scan in scans.values():
        mine = [k for k, e in enumerate(experiments) if e.scan is scan]
        rows = np.isin(ids, mine)
        if not rows.any():
            continue
        first = max(scan.image_range[0], int(z[rows, 0].min()) + 1)
        last = min(scan.image_range[1], int(z[rows, 1].max()))
        if (first, last) == scan.image_range or first > last:
            continue
        replace_scan(experiments, mine, scan, scan.cut(first, last))
        yield (
            f"No spot was indexed beyond images {first} to {last} of {scan.image_range[0]} to {scan.image_range[1]}: "
            "the rest is left out (trim_scan_to_observations=False keeps it)."
        )


def spot_range(table: ReflectionTable) -> NDArray[np.int64]:
    """(n, 2) first and past-the-end array index of the images of each spot."""
    if "bbox" in table:
        return np.asarray(table["bbox"], dtype=np.int64)[:, 4:6]
    z = np.floor(np.asarray(table["xyzobs.px.value"])[:, 2]).astype(np.int64)
    return np.stack([z, z + 1], axis=1)


def replace_scan(experiments: ExperimentList, rows: list[int], old: Scan, new: Scan) -> None:
    """Give the new scan to these experiments and cut their frame numbers; models per image are refined anew."""
    start = new.image_range[0] - old.image_range[0]
    images = {id(experiments[k].images): experiments[k].images for k in rows}
    for source in images.values():
        if source is not None and source.indices is not None:
            source.indices = source.indices[start : start + new.n_images]
    for k in rows:
        experiment = experiments[k]
        experiment.scan = new
        experiment.beam.s0_at_scan_points = None
        if experiment.crystal is not None:
            experiment.crystal.A_at_scan_points = experiment.crystal.B_covariance_at_scan_points = None
        if experiment.goniometer is not None:
            experiment.goniometer.setting_at_scan_points = None
