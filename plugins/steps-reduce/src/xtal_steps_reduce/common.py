"""What the steps share: checks of the input, and the tables of statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gemmi
import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.models import Crystal, ExperimentList
from xtal.physics.merging import COLUMNS, ShellStatistics, resolution_limit, shell_row, summary_rows
from xtal.table import ReflectionTable

if TYPE_CHECKING:
    from xtal.run import Context


def crystals_of(experiments: ExperimentList) -> list[Crystal]:
    """The crystal of each experiment.

    Raises
    ------
    DataError
        If one has none.
    """
    if not experiments:
        raise DataError("The experiment list is empty.", advice="Give the files of the integrate step.")
    found = []
    for k, experiment in enumerate(experiments):
        if experiment.crystal is None:
            raise DataError(f"Experiment {k} has no crystal.", advice="Run index and integrate first.")
        found.append(experiment.crystal)
    return found


def median_cell(crystals: list[Crystal]) -> gemmi.UnitCell:
    """Median of each parameter."""
    return gemmi.UnitCell(*np.median([c.cell.parameters for c in crystals], axis=0))


def cell_text(cell: gemmi.UnitCell) -> str:
    """The six parameters of a cell."""
    return " ".join(f"{p:.2f}" for p in cell.parameters)


def unlike_cells(crystals: list[Crystal]) -> str:
    """Which crystal is not on the axes of the first, cells alike to 5 % and 2 degrees; "" where all are."""
    first = np.array(crystals[0].cell.parameters)
    for k, crystal in enumerate(crystals[1:], 1):
        this = np.array(crystal.cell.parameters)
        alike = np.all(np.abs(this[:3] / first[:3] - 1) < 0.05) and np.all(np.abs(this[3:] - first[3:]) < 2)
        if not alike or crystal.space_group.centring_type() != crystals[0].space_group.centring_type():
            cells = f"{cell_text(crystals[0].cell)} and {cell_text(crystal.cell)}"
            return f"The cells of experiments 0 and {k} differ: {cells}."
    return ""


def common_space_group(crystals: list[Crystal]) -> gemmi.SpaceGroup:
    """The space group of all crystals.

    Raises
    ------
    DataError
        If they differ.
    """
    names = [c.space_group.xhm() for c in crystals]
    if len(set(names)) > 1:
        raise DataError(
            f"The experiments are in different space groups: {', '.join(sorted(set(names)))}.",
            advice="Run symmetry on all of them together, or with space_group=.",
        )
    return crystals[0].space_group


def image_numbers(table: ReflectionTable) -> NDArray[np.int64]:
    """(n,) number, from 1, of the image in which each reflection's centre lies."""
    position = table["xyzobs.px.value" if "xyzobs.px.value" in table else "xyzcal.px"]
    return np.floor(position[:, 2]).astype(np.int64) + 1


def excluded(table: ReflectionTable, ranges: tuple[str, ...], n_experiments: int) -> NDArray[np.bool_]:
    """(n,) reflections on images that ``experiment:first:last`` leaves out, limits included.

    Raises
    ------
    OptionError
        If a range is not of that form.
    """
    out = np.zeros(len(table), dtype=bool)
    for text in ranges:
        parts = text.split(":")
        if len(parts) != 3 or not all(p.strip().isdigit() for p in parts) or int(parts[0]) >= n_experiments:
            raise OptionError(
                f"exclude_images={text} is not of the form experiment:first:last.",
                advice=f"Experiments count from 0 to {n_experiments - 1}, for example exclude_images=0:150:200.",
            )
        which, first, last = (int(p) for p in parts)
        z = image_numbers(table)
        out |= (np.asarray(table["id"]) == which) & (z >= first) & (z <= last)
    return out


def report_statistics(context: Context, shells: list[ShellStatistics], overall: ShellStatistics) -> float | None:
    """Print both tables and the suggested limit, which is returned (angstrom) or None."""
    context.table(
        "Merging statistics by resolution (the last line: all; * above zero at p = 0.01)",
        COLUMNS,
        [shell_row(s) for s in [*shells, overall]],
    )
    filled = [s for s in shells if s.n_unique]
    context.table("Summary", ["", "Overall", "Low", "High"], summary_rows(overall, filled[0], filled[-1]))
    limit = resolution_limit(shells)
    if limit is not None and limit > overall.d_min + 0.005:
        context.print(f"CC1/2 falls to 0.3 at {limit:.2f} Å; to cut the data there, scale with d_min={limit:.2f}.")
        return limit
    return None
