"""Refined parameters written into models, with standard uncertainties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Detector, Group
from xtal.physics.refinement.parameters import DetectorParameters
from xtal.physics.refinement.problem import Models, Parts, crystal_settings, nodes_at

Array = NDArray[np.float64]


def write_models(models: Models, covariance: Array | None, hierarchy_level: int) -> None:
    """Set every model of ``models.experiments`` to its present parameters.

    A varying crystal gets ``A_at_scan_points`` at the boundaries of the images; its static A
    is that of the mean parameters, so that the two belong together.
    """
    for parts in models.parts:
        experiment = parts.experiment
        _write_crystal(parts, covariance)
        if parts.goniometer is not None and experiment.goniometer is not None and parts.goniometer.n_free:
            experiment.goniometer.setting_rotation = parts.goniometer.setting()
    done: set[int] = set()
    for parts in models.parts:
        beam, detector = parts.experiment.beam, parts.experiment.detector
        if id(beam) not in done and parts.beam.n_free:
            beam.s0 = parts.beam.s0()
            beam.polarization_normal = parts.beam.rotation() @ parts.beam.start_polarization
        if id(detector) not in done:
            _write_detector(detector, parts.detectors, hierarchy_level)
        done |= {id(beam), id(detector)}


def _write_crystal(parts: Parts, covariance: Array | None) -> None:
    crystal, scan = parts.experiment.crystal, parts.experiment.scan
    assert crystal is not None
    varying = parts.orientation.smoother.n_intervals or parts.cell.smoother.n_intervals
    if varying and scan is not None:
        z0, z1 = scan.array_range
        z = np.arange(z0, z1 + 1, dtype=float)
        crystal.A_at_scan_points = crystal_settings(parts, z)
        angles = parts.orientation.smoother.value(z, parts.orientation.values).mean(axis=0)
        metric = parts.cell.smoother.value(z, parts.cell.values).mean(axis=0)
    else:
        crystal.A_at_scan_points = None
        angles, metric = parts.orientation.values[0], parts.cell.values[0]
    crystal.A = parts.orientation.u_matrix(angles) @ parts.cell.b_matrix(metric)
    crystal.B_covariance = b_covariance(parts, covariance)
    crystal.B_covariance_at_scan_points = None


def b_covariance(parts: Parts, covariance: Array | None) -> Array | None:
    """(9, 9) covariance of the elements of B (row major) averaged over the scan."""
    cell = parts.cell
    if covariance is None or cell.n_free == 0:
        return None
    scan = parts.experiment.scan
    z = np.linspace(*(scan.array_range if scan is not None else (0, 1)), 50)
    first, weights = cell.smoother.weights(z)
    k = cell.values.shape[1]
    mean = np.zeros((k, cell.n_free))
    for f, w in zip(first, weights, strict=True):
        for i, weight in enumerate(w):
            mean[:, (f + i) * k : (f + i + 1) * k] += weight / len(z) * np.eye(k)
    places = cell.offset + np.arange(cell.n_free)
    of_mean = mean @ covariance[np.ix_(places, places)] @ mean.T
    middle = cell.smoother.value(z, cell.values).mean(axis=0)
    derivative = np.zeros((9, k))
    for place, d in zip((0, 3, 4, 6, 7, 8), cell.b_elements(middle[None])[1], strict=True):
        derivative[place] = d[:, 0]
    return np.asarray(derivative @ of_mean @ derivative.T)


def _write_detector(detector: Detector, moves: list[DetectorParameters], level: int) -> None:
    """Move panels, and the frames of the groups above them, as their rigid parts moved."""
    if not any(m.n_free for m in moves):
        return
    for move in moves:
        for p in move.panels:
            panel = detector[p]
            d = move.moved(move.start[p])
            panel.fast_axis, panel.slow_axis, panel.origin = d[:, 0], d[:, 1], d[:, 2]
    if detector.root is not None:
        for node, move in zip(nodes_at(detector.root, level), moves, strict=True):
            if isinstance(node, Group):
                _move_group(node, move)


def _move_group(group: Group, move: DetectorParameters) -> None:
    d = move.moved(np.column_stack([group.fast_axis, group.slow_axis, group.origin]))
    group.fast_axis, group.slow_axis, group.origin = d[:, 0], d[:, 1], d[:, 2]
    for child in group.children:
        if isinstance(child, Group):
            _move_group(child, move)
