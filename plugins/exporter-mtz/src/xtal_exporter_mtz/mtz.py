"""Export to MTZ."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.mtz import MtzNames, write_merged_mtz
from xtal.models import ExperimentList
from xtal.physics.merging import integrated_intensities, merge, merged_columns, scaled_intensities
from xtal.physics.merging.intensities import correction_factor, partiality_of
from xtal.physics.symmetry import pack, unpack
from xtal.table import Flag, ReflectionTable
from xtal.units import DEG
from xtal_exporter_mtz.batches import batch_headers, batch_offsets
from xtal_exporter_mtz.options import MtzOptions

F = NDArray[np.float64]


@define
class _Column:
    label: str
    type: str
    values: F


class MtzExport:
    """`xtal.hooks.protocols.ExportFormat` for MTZ."""

    def __init__(self, options: MtzOptions | None = None) -> None:
        self.options = options or MtzOptions()

    def export(self, experiments: ExperimentList, table: ReflectionTable, path: Path) -> None:
        """Write the file.

        Raises
        ------
        DataError
            If the space groups of the experiments differ, or no reflection is left.
        """
        group, cell = _common(experiments, self.options.best_unit_cell)
        (self._merged if self.options.merged else self._unmerged)(experiments, table, path, group, cell)

    def _merged(
        self, experiments: ExperimentList, table: ReflectionTable, path: Path, group: gemmi.SpaceGroup,
        cell: gemmi.UnitCell,
    ) -> None:  # fmt: skip
        options = self.options
        data = scaled_intensities(table, min_partiality=options.partiality_threshold, d_min=options.d_min)
        merged = merge(data.hkl, data.value, data.variance, group)
        names = MtzNames(options.project_name, options.crystal_name)
        wavelength = float(np.mean([e.beam.wavelength for e in experiments]))
        columns = merged_columns(merged, cell, group)
        write_merged_mtz(path, merged.hkl, columns, cell, group, wavelength=wavelength, names=names)

    def _unmerged(
        self, experiments: ExperimentList, table: ReflectionTable, path: Path, group: gemmi.SpaceGroup,
        cell: gemmi.UnitCell,
    ) -> None:  # fmt: skip
        options = self.options
        rows, columns = self._intensities(table)
        offsets = batch_offsets(experiments)
        batch = _batches(experiments, table, rows, offsets)
        columns += _geometry(experiments, table, rows)
        mtz = gemmi.Mtz(with_base=True)
        mtz.title, mtz.spacegroup, mtz.history = "From xtal", group, ["From xtal: unmerged observations"]
        wavelengths = [e.beam.wavelength for e in experiments]
        for k, wavelength in enumerate(_distinct(wavelengths)):
            dataset = mtz.add_dataset("FROMXTAL")
            dataset.project_name, dataset.crystal_name = options.project_name, options.crystal_name
            dataset.wavelength = wavelength
            for experiment, offset in zip(experiments, offsets, strict=True):
                if abs(experiment.beam.wavelength - wavelength) <= 1e-4:
                    for header in batch_headers(experiment, offset, k + 1, options.force_static_model):
                        mtz.batches.append(header)
        mtz.set_cell_for_all(cell)
        for label, kind in [("M/ISYM", "Y"), ("BATCH", "B"), *((c.label, c.type) for c in columns)]:
            mtz.add_column(label, kind)
        hkl, isym = _to_asu(np.asarray(table["miller_index"])[rows], group)
        data = np.column_stack([hkl, isym, batch, *(c.values for c in columns)]).astype(np.float32)
        mtz.set_data(data[np.lexsort(data[:, 4::-1].T)])
        mtz.sort_order = [1, 2, 3, 4, 5]
        mtz.write_to_file(str(path))

    def _intensities(self, table: ReflectionTable) -> tuple[NDArray[np.int64], list[_Column]]:
        """Rows to write and their intensity columns."""
        options, choice = self.options, self.options.intensity
        scaled = "intensity.scale.value" in table and "inverse_scale_factor" in table
        if choice == "auto":
            choice = "scale" if scaled else "profile+sum" if "intensity.prf.value" in table else "sum"
        if choice == "scale":
            data = scaled_intensities(table, min_partiality=options.partiality_threshold, d_min=options.d_min)
            data = data.select(data.value / np.sqrt(data.variance) > options.min_isigi)
            g = np.asarray(table["inverse_scale_factor"])[data.rows]
            g_variance = np.zeros(len(data))
            if "inverse_scale_factor_variance" in table:
                g_variance = np.asarray(table["inverse_scale_factor_variance"])[data.rows]
            columns = [*_pair("I", "SIGI", data.value, data.variance), _Column("SCALEUSED", "R", g),
                       _Column("SIGSCALEUSED", "R", np.sqrt(np.maximum(g_variance, 0)))]  # fmt: skip
            return data.rows, columns
        kinds = choice.split("+")
        flags = {"profile": Flag.INTEGRATED_PRF, "sum": Flag.INTEGRATED_SUM}
        good = np.ones(len(table), dtype=bool)
        for kind in kinds:
            good &= table.has_flags(flags[kind])
        if options.d_min:
            good &= np.asarray(table["d"]) > options.d_min
        parts = {}
        for kind in kinds:
            data = integrated_intensities(
                table, "profile" if kind == "profile" else "sum",
                min_partiality=options.partiality_threshold, min_i_over_sigma=options.min_isigi,
            )  # fmt: skip
            value, variance = np.full(len(table), np.nan), np.full(len(table), np.nan)
            value[data.rows], variance[data.rows] = data.value, data.variance
            good &= np.isfinite(value)
            parts[kind] = (value, variance)
        rows = np.flatnonzero(good)
        if not len(rows):
            raise DataError("No reflection is left to export.", advice="Loosen d_min or partiality_threshold.")
        columns = []
        for kind in kinds:
            label = "IPR" if kind == "profile" and len(kinds) > 1 else "I"
            value, variance = parts[kind]
            columns += _pair(label, f"SIG{label}", value[rows], variance[rows])
        return rows, columns


def _to_asu(hkl: NDArray[np.int32], group: gemmi.SpaceGroup) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Indices in CCP4's asymmetric unit and the number of the symmetry operation of each (odd: no inversion)."""
    keys, inverse = np.unique(pack(hkl), return_inverse=True)
    asu, operations = gemmi.ReciprocalAsu(group), group.operations()
    moved = [asu.to_asu(h, operations) for h in unpack(keys).tolist()]
    return np.array([m[0] for m in moved], dtype=np.int32)[inverse], np.array([m[1] for m in moved])[inverse]


def _pair(label: str, sigma_label: str, value: F, variance: F) -> list[_Column]:
    return [_Column(label, "J", value), _Column(sigma_label, "Q", np.sqrt(variance))]


def _common(experiments: ExperimentList, best: tuple[float, ...] | None) -> tuple[gemmi.SpaceGroup, gemmi.UnitCell]:
    """Space group and cell of all crystals."""
    crystals = [e.crystal for e in experiments if e.crystal is not None]
    if not crystals or len(crystals) != len(experiments):
        raise DataError("An experiment has no crystal.", advice="Export the files of integrate, scale or later.")
    names = {c.space_group.xhm() for c in crystals}
    if len(names) > 1:
        raise DataError(f"The space groups differ: {', '.join(sorted(names))}.", advice="Run symmetry on all together.")
    cell = best or np.median([c.cell.parameters for c in crystals], axis=0)
    return crystals[0].space_group, gemmi.UnitCell(*cell)


def _distinct(wavelengths: list[float]) -> list[float]:
    """Wavelengths that differ by more than 1e-4 angstrom, in order of appearance."""
    found: list[float] = []
    for wavelength in wavelengths:
        if all(abs(wavelength - w) > 1e-4 for w in found):
            found.append(wavelength)
    return found


def _batches(experiments: ExperimentList, table: ReflectionTable, rows: NDArray[np.int64], offsets: list[int]) -> F:
    """(n,) batch of each observation: the image of its centre, within the scan."""
    position = table["xyzobs.px.value" if "xyzobs.px.value" in table else "xyzcal.px"]
    image = np.floor(np.asarray(position)[rows, 2]) + 1
    owner = np.asarray(table["id"])[rows]
    batch = np.zeros(len(rows))
    for k, (experiment, offset) in enumerate(zip(experiments, offsets, strict=True)):
        first, last = experiment.scan.image_range if experiment.scan is not None else (1, 1)
        batch[owner == k] = np.clip(image[owner == k], first, last) + offset
    return batch


def _geometry(experiments: ExperimentList, table: ReflectionTable, rows: NDArray[np.int64]) -> list[_Column]:
    """Columns that tell where and how a reflection was recorded."""
    columns = []
    if "background.sum.value" in table and "background.sum.variance" in table:
        columns.append(_Column("BG", "R", np.asarray(table["background.sum.value"])[rows]))
        variance = np.asarray(table["background.sum.variance"])[rows]
        columns.append(_Column("SIGBG", "R", np.sqrt(np.maximum(variance, 0))))
    position, owner = np.asarray(table["xyzcal.px"])[rows], np.asarray(table["id"])[rows]
    angle = position[:, 2].copy()
    for k, experiment in enumerate(experiments):
        if experiment.scan is not None:
            angle[owner == k] = experiment.scan.phi(angle[owner == k]) / DEG
    columns.append(_Column("FRACTIONCALC", "R", partiality_of(table)[rows]))
    columns += [_Column("XDET", "R", position[:, 0]), _Column("YDET", "R", position[:, 1]), _Column("ROT", "R", angle)]
    lp = np.asarray(table["lp"], dtype=float) if "lp" in table else np.ones(len(table))
    columns += [_Column("LP", "R", lp[rows]), _Column("QE", "R", (lp / correction_factor(table))[rows])]
    return columns
