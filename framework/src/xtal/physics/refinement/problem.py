"""The least-squares problem: which parameters move which reflections, residuals and normal equations.

Reflections that share all their parameters (one experiment, one rigid part of the detector, one
window of the smoothers) are treated together as whole arrays, a chunk at a time, so that the
Jacobian exists for a chunk only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Experiment, ExperimentList, Goniometer, Group
from xtal.physics.refinement.parameters import (
    BeamParameters,
    CellParameters,
    DetectorParameters,
    GoniometerParameters,
    OrientationParameters,
    Parameters,
)
from xtal.physics.refinement.settings import RefinementSettings
from xtal.physics.refinement.smoother import Smoother

Array = NDArray[np.float64]
CHUNK = 8192


@define(eq=False)
class Observations:
    """Centroids to be met, row by row.

    Attributes
    ----------
    experiment, panel : (n,)
    hkl : (n, 3) float
    sign : (n,) +1 where the reflection enters the sphere, -1 where it leaves it
    xyz : (n, 3) mm, mm, radian
    z : (n,) array index at which a varying crystal is evaluated
    weight : (n, 3) 1 / variance
    """

    experiment: NDArray[np.int64]
    panel: NDArray[np.int64]
    hkl: Array
    sign: Array
    xyz: Array
    z: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.hkl)

    def select(self, rows: NDArray[Any]) -> Observations:
        parts = (self.experiment, self.panel, self.hkl, self.sign, self.xyz, self.z, self.weight)
        return Observations(*(p[rows] for p in parts))


@define(eq=False)
class Block:
    """Rows that share all parameters, ready for evaluation."""

    rows: NDArray[np.int64]
    parts: Parts
    detector: DetectorParameters
    orientation_weights: Array
    cell_weights: Array
    orientation_first: int
    cell_first: int


@define(eq=False)
class Parts:
    """The parameterised models of one experiment."""

    experiment: Experiment
    beam: BeamParameters
    goniometer: GoniometerParameters | None
    orientation: OrientationParameters
    cell: CellParameters
    detectors: list[DetectorParameters]
    panel_part: NDArray[np.int64]


@define(eq=False)
class Models:
    """Parameters of all models of a list of experiments; shared models share parameters.

    ``n_free`` is the vector's length; ``x`` its present value.
    """

    experiments: ExperimentList
    parts: list[Parts]
    all: list[Parameters] = field(factory=list)
    n_free: int = 0

    @classmethod
    def build(cls, experiments: ExperimentList, settings: RefinementSettings, n_intervals: list[int]) -> Models:
        """Parameterise; ``n_intervals`` of the smoothers per experiment (0: static crystal)."""
        seen: dict[tuple[str, int], Any] = {}

        def once(kind: str, model: Any, make: Any) -> Any:
            key = (kind, id(model))
            if key not in seen:
                seen[key] = make()
            return seen[key]

        parts = []
        for experiment, n in zip(experiments, n_intervals, strict=True):
            parts.append(_parts(experiment, settings, n, once))
        order = ("detector", "beam", "orientation", "cell", "goniometer")
        made = [
            p for kind in order for (k, _), v in seen.items() if k == kind for p in (v[0] if k == "detector" else [v])
        ]
        models = cls(experiments, parts, made)
        models.number()
        return models

    def number(self) -> None:
        """Give every parameterisation its place in the vector."""
        offset = 0
        for p in self.all:
            p.offset, offset = offset, offset + p.n_free
        self.n_free = offset

    @property
    def x(self) -> Array:
        return np.concatenate([p.get() for p in self.all]) if self.all else np.zeros(0)

    @x.setter
    def x(self, value: Array) -> None:
        for p in self.all:
            p.set(value)

    @property
    def stiffness(self) -> Array:
        """(n_free,) weights of staying at the start."""
        return np.concatenate([p.stiffness() for p in self.all]) if self.all else np.zeros(0)


def _parts(experiment: Experiment, settings: RefinementSettings, n: int, once: Any) -> Parts:
    crystal, detector, goniometer = experiment.crystal, experiment.detector, experiment.goniometer
    assert crystal is not None
    z0, z1 = experiment.scan.array_range if experiment.scan is not None else (0, 1)
    fix = settings.crystal_fix
    smooth_u = Smoother(z0, z1, n if settings.varying_orientation else 0)
    smooth_b = Smoother(z0, z1, n if settings.varying_cell else 0)
    beam = once("beam", experiment.beam, lambda: BeamParameters(experiment.beam, goniometer, settings.beam_fix))
    orientation = once(
        "orientation", crystal, lambda: OrientationParameters(crystal, smooth_u, "all" in fix or "orientation" in fix)
    )
    cell = once("cell", crystal, lambda: CellParameters(crystal, smooth_b, "all" in fix or "cell" in fix))
    gonio = None
    if goniometer is not None and not experiment.is_still:
        gonio = once(
            "goniometer",
            goniometer,
            lambda: GoniometerParameters(goniometer, experiment.beam, settings.goniometer_fix),
        )
    detectors, panel_part = once(
        "detector",
        detector,
        lambda: detector_parameters(detector, experiment.beam, settings.detector_fix, settings.hierarchy_level),
    )
    return Parts(experiment, beam, gonio, orientation, cell, detectors, panel_part)


def detector_parameters(
    detector: Detector, beam: Beam, fix: tuple[str, ...], level: int
) -> tuple[list[DetectorParameters], NDArray[np.int64]]:
    """Rigid parts of a detector at a level of its tree (0: as one), and the part of each panel."""
    groups = panel_groups(detector, level)
    panel_part = np.zeros(len(detector), np.int64)
    for k, panels in enumerate(groups):
        panel_part[panels] = k
    return [DetectorParameters(detector, panels, beam, fix) for panels in groups], panel_part


def panel_groups(detector: Detector, level: int) -> list[list[int]]:
    """Numbers of the panels under each node of the tree at this level."""
    if detector.root is None or level == 0:
        return [list(range(len(detector)))]
    return [leaves(node) for node in nodes_at(detector.root, level)]


def nodes_at(root: Group, level: int) -> list[Group | int]:
    """Nodes (groups, or panels that end earlier) at a level below the root that hold panels."""
    nodes: list[Group | int] = [root]
    for _ in range(level):
        nodes = [child for node in nodes for child in ([node] if isinstance(node, int) else node.children)]
    return [node for node in nodes if leaves(node)]


def leaves(node: Group | int) -> list[int]:
    """Panels under a node."""
    return [node] if isinstance(node, int) else [p for child in node.children for p in leaves(child)]


def blocks_of(models: Models, obs: Observations) -> list[Block]:
    """Cut the rows into blocks of equal parameters, at most `CHUNK` rows each."""
    blocks = []
    for k, parts in enumerate(models.parts):
        mine = np.flatnonzero(obs.experiment == k)
        if len(mine) == 0:
            continue
        first_u, weights_u = parts.orientation.smoother.weights(obs.z[mine])
        first_b, weights_b = parts.cell.smoother.weights(obs.z[mine])
        part = parts.panel_part[obs.panel[mine]]
        key = (part * 100_000 + first_u) * 100_000 + first_b
        order = np.argsort(key, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            for start in range(0, len(run), CHUNK):
                r = run[start : start + CHUNK]
                blocks.append(
                    Block(
                        mine[r], parts, parts.detectors[part[r[0]]], weights_u[r], weights_b[r],
                        int(first_u[r[0]]), int(first_b[r[0]]),
                    )
                )  # fmt: skip
    return blocks


def moved_goniometer(parts: Parts) -> Goniometer:
    """The goniometer with its present setting rotation."""
    goniometer = parts.experiment.goniometer
    assert goniometer is not None and parts.goniometer is not None
    out = Goniometer(goniometer.axis_datum, goniometer.fixed_rotation, parts.goniometer.setting())
    return out


def crystal_settings(parts: Parts, z: Array) -> Array:
    """(n, 3, 3) A = U B of the present parameters at array indices z."""
    angles = parts.orientation.smoother.value(z, parts.orientation.values)
    metric = parts.cell.smoother.value(z, parts.cell.values)
    return np.array(
        [parts.orientation.u_matrix(a) @ parts.cell.b_matrix(g) for a, g in zip(angles, metric, strict=True)]
    )
