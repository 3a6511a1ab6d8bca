"""Merged MTZ files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray


class Column(Protocol):
    """A column: label, type letter of the format, (n,) values with NaN where absent."""

    @property
    def label(self) -> str: ...

    @property
    def type(self) -> str: ...

    @property
    def values(self) -> NDArray[np.float64]: ...


@frozen
class MtzNames:
    """Names in the header."""

    project: str = "AUTOMATIC"
    crystal: str = "XTAL"
    dataset: str = "NATIVE"


def write_merged_mtz(
    path: Path,
    hkl: NDArray[np.int32],
    columns: Sequence[Column],
    cell: gemmi.UnitCell,
    group: gemmi.SpaceGroup,
    *,
    wavelength: float,
    names: MtzNames | None = None,
    title: str = "Merged by xtal",
    history: Sequence[str] = (),
) -> None:
    """Write unique reflections and their columns.

    Parameters
    ----------
    hkl : (n, 3) in CCP4's asymmetric unit, sorted
    columns : each with n values
    wavelength : angstrom
    history : lines of up to 80 characters
    """
    names = names or MtzNames()
    mtz = gemmi.Mtz(with_base=True)
    mtz.title, mtz.spacegroup, mtz.history = title, group, [line[:80] for line in history]
    mtz.set_cell_for_all(cell)
    dataset = mtz.add_dataset(names.dataset)
    dataset.project_name, dataset.crystal_name, dataset.wavelength = names.project, names.crystal, wavelength
    for column in columns:
        mtz.add_column(column.label, column.type)
    mtz.set_data(np.column_stack([hkl, *(c.values for c in columns)]).astype(np.float32))
    mtz.sort_order = [1, 2, 3, 0, 0]
    mtz.write_to_file(str(path))
