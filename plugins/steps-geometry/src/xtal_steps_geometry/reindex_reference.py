"""Which of several ways to index agrees best with reference intensities."""

from __future__ import annotations

import os
from pathlib import Path

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.files import read_experiments, read_reflections
from xtal.models import Crystal, ExperimentList
from xtal.physics.merging.intensities import integrated_intensities
from xtal.physics.symmetry import ChangeOfBasis, ambiguities, representatives
from xtal.run import Context
from xtal.table import Flag, ReflectionTable
from xtal_steps_geometry.reindex_options import ReferenceModelOptions, ReferenceOptions

F = NDArray[np.float64]
Indexed = tuple[NDArray[np.int32], F]
"""Indices (n, 3) and intensities (n,)."""
FEW = 3
MIN_PARTIALITY = 0.4


def best_by_correlation(
    context: Context, experiments: ExperimentList | None, table: ReflectionTable | None, options: ReferenceOptions
) -> ChangeOfBasis:
    """The indexing whose merged intensities correlate best with the reference's; prints the table.

    Raises
    ------
    DataError
        If the space groups differ, or nothing can be compared.
    """
    if experiments is None or table is None:
        raise OptionError("Reindexing against reference data needs an experiment list and reflections.")
    group, cell = _symmetry(experiments)
    reference, its_group = _reference(options, group)
    if its_group.number != group.number:
        raise DataError(
            f"The space group of the input, {group.xhm()}, does not match that of the reference, {its_group.xhm()}.",
            advice="Give both the same with space_group= first.",
        )
    candidates = ambiguities(cell, group)
    if not candidates:
        context.print("The lattice has no more symmetry than the space group: there is nothing to choose.")
        return ChangeOfBasis.parse("a,b,c")
    hkl, values = intensities_of(table, "input")
    scores = []
    for change in [ChangeOfBasis.parse("a,b,c"), *candidates]:
        cc, n = correlation((change.hkl(hkl)[0], values), reference, group)
        scores.append((cc, n, change))
    rows = [[f"{c}{' (no reindex)' if k == 0 else ''}", f"{cc:.4f}", str(n)] for k, (cc, n, c) in enumerate(scores)]
    context.table("Indexings against the reference", ["Reindex op", "CC to reference", "reflections"], rows)
    if max(n for _, n, _ in scores) < FEW:
        raise DataError("Input and reference have too few reflections in common to compare.")
    return max(scores, key=lambda s: s[0])[2]


def _symmetry(experiments: ExperimentList) -> tuple[gemmi.SpaceGroup, gemmi.UnitCell]:
    """Common space group, and the median cell."""
    crystals: list[Crystal] = [e.crystal for e in experiments if e.crystal is not None]
    groups = sorted({c.space_group.xhm() for c in crystals})
    if len(groups) != 1:
        raise DataError(
            f"The experiments have {'no crystal' if not groups else 'different space groups: ' + ', '.join(groups)}."
        )
    return crystals[0].space_group, gemmi.UnitCell(*np.median([c.cell.parameters for c in crystals], axis=0))


def _reference(options: ReferenceOptions, group: gemmi.SpaceGroup) -> tuple[Indexed, gemmi.SpaceGroup]:
    if options.file is not None:
        return read_reference(_existing(options.file), options.reference_model)
    if options.experiments is None:
        raise OptionError("reference.reflections= needs reference.experiments=, the experiment list that goes with it.")
    experiments = read_experiments(_existing(options.experiments))
    table = read_reflections(_existing(options.reflections or ""))
    return intensities_of(table, "reference"), _symmetry(experiments)[0]


def _existing(path: str) -> Path:
    found = Path(os.path.expanduser(path))
    if not found.is_file():
        raise DataError(f"The reference {path} does not exist.", advice="Check its name.")
    return found


def intensities_of(table: ReflectionTable, whose: str) -> Indexed:
    """Integrated intensities, or the raw sums of spots where nothing is integrated.

    Raises
    ------
    DataError
        If none is left.
    """
    if "flags" not in table or not np.any(table.has_flags(Flag.INTEGRATED, any_of=True)):
        if "intensity.sum.value" not in table or "miller_index" not in table:
            raise DataError(f"The {whose} reflections have no intensities.", advice="Give indexed or integrated ones.")
        hkl = np.asarray(table["miller_index"])
        rows = np.any(hkl != 0, axis=1)
        if not rows.any():
            raise DataError(f"The {whose} reflections are not indexed.", advice="Run index first.")
        return hkl[rows].astype(np.int32), np.asarray(table["intensity.sum.value"])[rows]
    found = integrated_intensities(table, min_partiality=MIN_PARTIALITY)
    return found.hkl, found.value


def correlation(first: Indexed, second: Indexed, group: gemmi.SpaceGroup) -> tuple[float, int]:
    """Correlation coefficient of the merged intensities that both have, and their number."""
    a, b = (_merged(*data, group) for data in (first, second))
    _, ka, kb = np.intersect1d(a[0], b[0], return_indices=True)
    x, y = a[1][ka], b[1][kb]
    if len(x) < FEW or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0, len(x)
    return float(np.corrcoef(x, y)[0, 1]), len(x)


def _merged(hkl: NDArray[np.int32], values: F, group: gemmi.SpaceGroup) -> tuple[NDArray[np.int64], F]:
    """Keys of the unique reflections and their mean intensities, Friedel mates together."""
    keys, of_row = np.unique(representatives(hkl, group)[0], return_inverse=True)
    return keys, np.bincount(of_row, values) / np.bincount(of_row)


def read_reference(path: Path, model: ReferenceModelOptions) -> tuple[Indexed, gemmi.SpaceGroup]:
    """Intensities, or amplitudes squared, of an MTZ or mmCIF file, or those of a structure (PDB, mmCIF).

    Raises
    ------
    DataError
        If the file holds neither.
    """
    try:
        if path.suffix.lower() == ".mtz":
            return _from_mtz(gemmi.read_mtz_file(str(path)), path)
        if path.suffix.lower() in (".cif", ".mmcif"):
            blocks = gemmi.as_refln_blocks(gemmi.cif.read(str(path)))
            if blocks and blocks[0].column_labels():
                return _from_mtz(gemmi.CifToMtz().convert_block_to_mtz(blocks[0]), path)
        return from_structure(gemmi.read_structure(str(path)), model)
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(
            f"The reference {path} cannot be read: {error}.", advice="Give an MTZ, mmCIF or PDB file."
        ) from error


def _from_mtz(mtz: gemmi.Mtz, path: Path) -> tuple[Indexed, gemmi.SpaceGroup]:
    """Mean intensities first, then those of Friedel mates, then amplitudes."""
    hkl = mtz.make_miller_array()
    for kinds, power in (("J", 1), ("K", 1), ("F", 2), ("G", 2)):
        columns = mtz.columns_with_type(kinds)
        if columns:
            values = np.asarray(columns[0].array, dtype=float) ** power
            good = np.isfinite(values)
            return (np.asarray(hkl, dtype=np.int32)[good], values[good]), mtz.spacegroup
    raise DataError(f"The reference {path} holds neither intensities nor amplitudes.")


def from_structure(structure: gemmi.Structure, options: ReferenceModelOptions) -> tuple[Indexed, gemmi.SpaceGroup]:
    """Intensities that a structure gives, to 3 angstrom, with a flat bulk solvent (Jiang & Brünger 1994).

    Raises
    ------
    ValueError
        If the structure has no atoms or no space group.
    """
    group = structure.find_spacegroup()
    if not len(structure) or group is None or not structure.cell.is_crystal():
        raise ValueError("it has no atoms, no cell or no space group")
    structure.remove_hydrogens()
    d_min = 3.0
    density = gemmi.DensityCalculatorX()
    density.d_min = d_min
    density.grid.setup_from(structure)
    density.put_model_density_on_grid(structure[0])
    protein = gemmi.transform_map_to_f_phi(density.grid)
    solvent_grid = gemmi.FloatGrid()
    solvent_grid.setup_from(structure, spacing=d_min / 3)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(solvent_grid, structure[0])
    mask = gemmi.transform_map_to_f_phi(solvent_grid)
    hkl = gemmi.make_miller_array(structure.cell, group, d_min)
    s2 = structure.cell.calculate_1_d2_array(hkl)
    total = _values(protein, hkl) + options.k_sol * np.exp(-options.b_sol * s2 / 4) * _values(mask, hkl)
    return (np.asarray(hkl, dtype=np.int32), np.abs(total) ** 2), group


def _values(grid: gemmi.ReciprocalComplexGrid, hkl: NDArray[np.int32]) -> NDArray[np.complex128]:
    return np.array([grid.get_value(*map(int, h)) for h in hkl])
