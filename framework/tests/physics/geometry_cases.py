"""Experiments and perfect spots that the geometry's tests share."""

from __future__ import annotations

from typing import Any

import gemmi
import numpy as np

from xtal.models import Beam, Crystal, Detector, Experiment, Goniometer, Group, Panel, Scan, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.prediction import predict_all
from xtal.table import Flag, ReflectionTable


def flat_detector(n_panels: int = 1, distance: float = 150.0) -> Detector:
    """A square of 172 mm in one or 2 x 2 slightly tilted panels."""
    if n_panels == 1:
        tilt = rotation_matrix([1, 2, 3], 0.02)
        fast, slow = tilt @ [1, 0, 0], tilt @ [0, -1, 0]
        return Detector([Panel(fast, slow, [-86.0, 84.0, -distance], (1000, 1000), (0.172, 0.172))])
    panels = []
    for k in range(4):
        tilt = rotation_matrix([1, k, 2 - k], 0.01 * (k + 1))
        x, y = (-88.0 if k % 2 == 0 else 2.0), (88.0 if k < 2 else -2.0)
        panels.append(Panel(tilt @ [1, 0, 0], tilt @ [0, -1, 0], [x, y, -distance - k], (500, 500), (0.172, 0.172)))
    root = Group(children=[Group(name="top", children=[0, 1]), Group(name="bottom", children=[2, 3])])
    return Detector(panels, root)


def rotation_experiment(
    cell: Any = (40, 55, 70, 90, 90, 90), group: str = "P 21 21 21", n_panels: int = 1, width: float = 0.5, n: int = 120
) -> Experiment:
    """A scan with setting and fixed rotations that are not the identity."""
    b = b_matrix(gemmi.UnitCell(*cell))
    crystal = Crystal(rotation_matrix([0.3, -0.5, 0.8], 1.1) @ b)
    crystal.space_group = group
    goniometer = Goniometer([1, 0, 0.02], rotation_matrix([0, 1, 1], 0.3), rotation_matrix([0.2, 1, 0.1], 0.05))
    beam = Beam(0.98, [0.004, -0.003, 1.0])
    return Experiment(beam, flat_detector(n_panels), goniometer, Scan((1, n), (10.0, width)), crystal)


def perfect_spots(experiment: Experiment, d_min: float = 3.0, noise: float = 0.0, seed: int = 1) -> ReflectionTable:
    """Predicted reflections as if observed, with noise in pixels and images."""
    table = predict_all(experiment, d_min)
    z0, z1 = experiment.scan.array_range
    z = table["xyzcal.px"][:, 2]
    table = table.select((z > z0 + 0.5) & (z < z1 - 0.5))
    rng = np.random.default_rng(seed)
    n = len(table)
    table["xyzobs.px.value"] = table["xyzcal.px"] + noise * rng.normal(size=(n, 3))
    table["xyzobs.px.variance"] = np.full((n, 3), max(noise, 0.1) ** 2)
    table["flags"] = np.full(n, int(Flag.INDEXED | Flag.STRONG), np.uint64)
    return table
