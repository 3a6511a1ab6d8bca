"""Reflection tables from INTEGRATE.HKL and SPOT.XDS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Experiment, ExperimentList
from xtal.physics.corrections import lorentz_polarization, quantum_efficiency
from xtal.physics.kabsch import zeta
from xtal.physics.rays import map_to_reciprocal
from xtal.physics.resolution import d_of_hkl
from xtal.table import Flag, ReflectionTable
from xtal_steps_tables.xds_files import Geometry, data_rows
from xtal_steps_tables.xds_models import ORIGIN, to_laboratory

F = NDArray[np.float64]
VECTORS = ("s1", "xyzcal.mm", "xyzcal.px", "xyzobs.px.value", "xyzobs.mm.value", "rlp")
NUMBERS = (
    "intensity.sum.value", "intensity.sum.variance", "intensity.prf.value", "intensity.prf.variance", "lp",
    "profile.correlation",
)  # fmt: skip


def reindex_matrix(experiment: Experiment, geometry: Geometry) -> NDArray[np.int64]:
    """(3, 3) whole P with h' = h P from XDS's indices to those of the experiment's crystal.

    Raises
    ------
    DataError
        If the crystals are not the same lattice.
    """
    if experiment.crystal is None or geometry.real_axes is None:
        raise DataError("INTEGRATE.HKL needs a crystal, and the models have none.", advice="Give another xds_file=.")
    theirs = np.linalg.inv(geometry.real_axes @ to_laboratory(geometry).T)
    exact = np.linalg.inv(experiment.crystal.A) @ theirs
    whole = np.rint(exact)
    if np.abs(exact - whole).max() > 0.2 or abs(np.linalg.det(whole)) < 0.5:
        raise DataError(
            "The crystal of INTEGRATE.HKL is not that of the models: their axes are no whole sums of one another.",
            advice="Give xds_file=INTEGRATE.HKL.",
        )
    return whole.T.astype(np.int64)


def table_of_integrate_hkl(path: Path, experiment: Experiment, geometry: Geometry) -> ReflectionTable:
    """Integrated reflections with positions in our pixels.

    I of XDS is corrected for Lorentz factor (RLP) and partiality (PEAK), which is undone; sigma is freed of the
    variance model in the header first, V0 = V / a - b I^2 (where that is positive).
    """
    rows = data_rows(path, (20, 21))
    n = len(rows)
    value, sigma, rlp = rows[:, 3], rows[:, 4], rows[:, 8]
    peak, correlation = rows[:, 9] / 100, rows[:, 10] / 100
    back = peak / np.where(rlp > 0, rlp, np.inf)
    variance = (sigma * back) ** 2
    if geometry.variance_model is not None and geometry.variance_model[0] > 0:
        a, b = geometry.variance_model
        freed = variance / a - b * (value * back) ** 2
        variance = np.where(freed > 0, freed, variance)
    panel = rows[:, 20].astype(np.int64) - 1 if rows.shape[1] == 21 else np.zeros(n, np.int64)
    if n and not 0 <= panel.min() <= panel.max() < len(experiment.detector):
        raise DataError(
            f"{path} names segment {int(panel.max()) + 1} of a detector that has {len(experiment.detector)}."
        )
    seen = np.any(rows[:, 12:15] != 0, axis=1)
    calculated = _to_pixels(rows[:, 5:8], panel, experiment, geometry)
    observed = np.where(seen[:, None], _to_pixels(rows[:, 12:15], panel, experiment, geometry), calculated)
    flags = np.full(n, int(Flag.INTEGRATED | Flag.PREDICTED | Flag.INDEXED), np.uint64)
    flags |= np.where(seen, np.uint64(Flag.STRONG), np.uint64(Flag.NOT_SUITABLE_FOR_REFINEMENT))
    hkl = rows[:, :3].astype(np.int64) @ reindex_matrix(experiment, geometry)
    table = ReflectionTable(
        {
            "id": np.zeros(n, np.int32),
            "panel": panel.astype(np.uint64),
            "flags": flags,
            "miller_index": hkl.astype(np.int32),
            "xyzcal.px": calculated,
            "xyzobs.px.value": observed,
            "intensity.cor.value": value,
            "intensity.cor.variance": sigma**2,
            "intensity.prf.value": value * back,
            "intensity.prf.variance": variance,
            "intensity.sum.value": value * back,
            "intensity.sum.variance": variance.copy(),
            "partiality": peak,
            "profile.correlation": correlation,
            "batch": (np.floor(rows[:, 7]) + geometry.start_frame).astype(np.int32),
        },
        {0: experiment.identifier},
    )
    _add_geometry(table, experiment)
    return table


def _to_pixels(xyz: F, panel: NDArray[np.int64], experiment: Experiment, geometry: Geometry) -> F:
    """Positions of XDS (pixels from 1, images from the first of its scan) as ours, on their panel."""
    offsets = np.array([p.raw_image_offset for p in experiment.detector], dtype=float)
    return np.column_stack([xyz[:, :2] - ORIGIN - offsets[panel], xyz[:, 2] + geometry.start_frame - 1])


def _add_geometry(table: ReflectionTable, experiment: Experiment) -> None:
    """Millimetres, angles, rays and corrections that follow from the positions."""
    assert experiment.crystal is not None and experiment.goniometer is not None
    calculated = ReflectionTable({"id": table["id"], "panel": table["panel"], "xyzobs.px.value": table["xyzcal.px"]})
    map_to_reciprocal(calculated, ExperimentList([experiment]))
    table["xyzcal.mm"], table["s1"] = calculated["xyzobs.mm.value"], calculated["s1"]
    map_to_reciprocal_keeping(table, experiment)
    table["d"] = d_of_hkl(table["miller_index"], experiment.crystal.A)
    table["zeta"] = zeta(table["s1"], experiment.beam.s0, experiment.goniometer.axis)
    table["lp"] = lorentz_polarization(experiment, table["s1"])
    efficiency = quantum_efficiency(experiment, table["s1"], np.asarray(table["panel"]).astype(np.int64))
    if efficiency is not None:
        table["qe"] = efficiency


def map_to_reciprocal_keeping(table: ReflectionTable, experiment: Experiment) -> None:
    """Add ``xyzobs.mm.value`` and ``rlp`` of the observed positions; ``s1`` stays that of the calculated ones."""
    observed = ReflectionTable({name: table[name] for name in ("id", "panel", "xyzobs.px.value")})
    map_to_reciprocal(observed, ExperimentList([experiment]))
    table["xyzobs.mm.value"], table["rlp"] = observed["xyzobs.mm.value"], observed["rlp"]


def table_of_spot_xds(
    path: Path, experiment: Experiment, geometry: Geometry, *, remove_invalid: bool
) -> ReflectionTable:
    """Strong spots: x y z intensity, then the segment where there are several, then the index if there is one."""
    rows = data_rows(path, (4, 5, 7, 8))
    n, width = rows.shape
    panel = rows[:, 4].astype(np.int64) - 1 if width in (5, 8) else np.zeros(n, np.int64)
    if n and not 0 <= panel.min() <= panel.max() < len(experiment.detector):
        raise DataError(
            f"{path} names segment {int(panel.max()) + 1} of a detector that has {len(experiment.detector)}."
        )
    table = ReflectionTable(
        {
            "id": np.zeros(n, np.int32),
            "panel": panel.astype(np.uint64),
            "flags": np.full(n, int(Flag.STRONG), np.uint64),
            "xyzobs.px.value": _to_pixels(rows[:, :3], panel, experiment, geometry),
            "intensity.sum.value": rows[:, 3].copy(),
        },
        {0: experiment.identifier},
    )
    if width >= 7:
        table["miller_index"] = rows[:, -3:].astype(np.int32)
        if remove_invalid:
            table = table.select(np.any(table["miller_index"] != 0, axis=1))
    return table


def add_standard_columns(table: ReflectionTable) -> None:
    """The columns that DIALS gives every new table: zeros, centroid variances of 1."""
    n = len(table)
    columns: dict[str, NDArray[Any]] = {name: np.zeros((n, 3)) for name in VECTORS}
    columns |= {name: np.zeros(n) for name in NUMBERS}
    columns |= {name: np.ones((n, 3)) for name in ("xyzobs.px.variance", "xyzobs.mm.variance")}
    columns |= {
        "flags": np.zeros(n, np.uint64),
        "miller_index": np.zeros((n, 3), np.int32),
        "entering": np.zeros(n, bool),
    }
    for name, column in columns.items():
        if name not in table:
            table[name] = column
