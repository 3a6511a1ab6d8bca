"""Batches of an unmerged MTZ file: numbers, and one header per image.

The headers are in the Cambridge frame: rotation axis along +Z, the beam as near to +X as
that allows.
"""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.models import Experiment, ExperimentList, rotation_matrix
from xtal.models.crystal import b_matrix, cell_of
from xtal.units import DEG

F = NDArray[np.float64]


def batch_offsets(experiments: ExperimentList) -> list[int]:
    """What to add to the image numbers of each experiment so that no two share a batch.

    An experiment whose images neither overlap nor touch those before it keeps its numbers;
    others begin at the next number that ends in 01.
    """
    offsets: list[int] = []
    taken: list[tuple[int, int]] = []
    for experiment in experiments:
        first, last = experiment.scan.image_range if experiment.scan is not None else (1, 1)
        offset = 1 if first == 0 else 0
        if any(first + offset <= b + 1 and last + offset >= a - 1 for a, b in taken):
            top = max(b for _, b in taken)
            start = top + 2 if top % 100 == 99 else top - top % 100 + 101
            offset = start - first
        offsets.append(offset)
        taken.append((first + offset, last + offset))
    return offsets


def cambridge_rotation(experiment: Experiment) -> F:
    """Rotation R from the laboratory to the Cambridge frame."""
    z = experiment.goniometer.axis if experiment.goniometer is not None else np.array([1.0, 0.0, 0.0])
    beam = experiment.beam.s0 / np.linalg.norm(experiment.beam.s0)
    x = beam - (beam @ z) * z
    x /= np.linalg.norm(x)
    return np.array([x, np.cross(z, x), z])


def batch_headers(experiment: Experiment, offset: int, dataset: int, static: bool) -> list[gemmi.Mtz.Batch]:
    """The headers of all images of an experiment."""
    first, last = experiment.scan.image_range if experiment.scan is not None else (1, 1)
    turn = cambridge_rotation(experiment)
    return [_header(experiment, number, number + offset, dataset, turn, static) for number in range(first, last + 1)]


def _header(experiment: Experiment, image: int, number: int, dataset: int, turn: F, static: bool) -> gemmi.Mtz.Batch:
    """Header of one image; the numbers are positions in the format's arrays (CCP4's mtzlib)."""
    batch = gemmi.Mtz.Batch()
    batch.number, batch.title, batch.axes = number, f"Batch {number}", ["AXIS"]
    for at, value in {12: 1, 14: 2, 15: 1, 17: 1, 19: 1, 20: dataset}.items():
        batch.ints[at] = value
    scan, panel = experiment.scan, experiment.detector[0]
    start, width = scan.oscillation_deg if scan is not None else (0.0, 0.0)
    phi = start + width * (image - (scan.image_range[0] if scan is not None else image))
    u, cell = _orientation(experiment, image, phi + width / 2, static)
    source = turn @ (experiment.beam.s0 / np.linalg.norm(experiment.beam.s0))
    ideal = np.zeros(3)
    ideal[int(np.argmin(-source))] = -1.0
    axis = [0.0, 0.0, 1.0]
    fields = {0: cell.parameters, 6: (turn @ u).T.ravel(), 36: (phi, phi + width), 38: axis, 43: (1.0,), 47: (width,)}
    fields |= {59: axis, 80: ideal, 83: -source, 86: (experiment.beam.wavelength,), 111: (panel.distance,)}
    fields |= {21: (experiment.crystal.mosaicity_deg or 0.0,)} if experiment.crystal is not None else {}
    fields |= {114: (float(panel.image_size[0]),), 116: (float(panel.image_size[1]),)}
    for at, values in fields.items():
        for k, value in enumerate(values):
            batch.floats[at + k] = float(value)
    return batch


def _orientation(experiment: Experiment, image: int, phi_deg: float, static: bool) -> tuple[F, gemmi.UnitCell]:
    """U (laboratory, zero scan angle, on the axes of Mosflm's B) and cell at the middle of an image."""
    crystal, gonio, scan = experiment.crystal, experiment.goniometer, experiment.scan
    assert crystal is not None
    a_matrix, setting = crystal.A, np.eye(3)
    k = image - scan.image_range[0] if scan is not None else 0
    if crystal.A_at_scan_points is not None and not static:
        a_matrix = 0.5 * (crystal.A_at_scan_points[k] + crystal.A_at_scan_points[k + 1])
    lab = a_matrix
    if gonio is not None:
        setting = gonio.setting_rotation
        if gonio.setting_at_scan_points is not None and not static:
            setting = 0.5 * (gonio.setting_at_scan_points[k] + gonio.setting_at_scan_points[k + 1])
        lab = setting @ rotation_matrix(gonio.axis_datum, phi_deg * DEG) @ gonio.fixed_rotation @ a_matrix
        lab = rotation_matrix(gonio.axis, -phi_deg * DEG) @ lab
    cell = cell_of(a_matrix)
    return lab @ np.linalg.inv(_mosflm_b(cell)), cell


def _mosflm_b(cell: gemmi.UnitCell) -> F:
    """B with a* along x and b* in the xy plane."""
    b = b_matrix(cell)
    upper = np.linalg.cholesky(b.T @ b).T
    return np.asarray(upper)
