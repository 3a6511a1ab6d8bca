"""The crystal: its setting matrix and space group, static or varying over the scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gemmi
import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models.beam import vector
from xtal.models.space_groups import space_group_of, space_group_of_hall

FLATTEST = 1e-3
"""Volume of a cell over the product of its edges, below which its angles are those of no crystal."""


def unit_cell_of(values: Sequence[float]) -> gemmi.UnitCell:
    """Unit cell of six numbers, angstrom and degree.

    Raises
    ------
    ValueError
        If an edge has no length, or the three angles do not enclose a volume.
    """
    cell = gemmi.UnitCell(*values)
    possible = min(values) > 0 and max(values[3:]) < 180
    if not possible or not cell.volume / np.prod(values[:3]) > FLATTEST:
        raise ValueError(f"{' '.join(f'{v:g}' for v in values)} is no unit cell")
    return cell


def b_matrix(cell: Any) -> NDArray[np.float64]:
    """(3, 3) orthogonalisation matrix of reciprocal space in the PDB convention, 1/angstrom.

    Lower triangular; columns are a*, b*, c* with c* along z. ``cell`` is six numbers
    (angstrom, degree) or a `gemmi.UnitCell`.
    """
    cell = cell if isinstance(cell, gemmi.UnitCell) else gemmi.UnitCell(*cell)
    return np.array(cell.frac.mat.tolist()).T


def cell_of(a_matrix: NDArray[np.float64]) -> gemmi.UnitCell:
    """Unit cell of a setting matrix A (columns a*, b*, c* in 1/angstrom)."""
    a, b, c = np.linalg.inv(a_matrix)
    la, lb, lc = (float(np.linalg.norm(v)) for v in (a, b, c))
    angle = lambda u, v, n: float(np.degrees(np.arccos(np.clip(u @ v / n, -1.0, 1.0))))
    return gemmi.UnitCell(la, lb, lc, angle(b, c, lb * lc), angle(a, c, la * lc), angle(a, b, la * lb))


@define(eq=False)
class Crystal:
    """A lattice in its orientation: reciprocal vector of index h is A h.

    Attributes
    ----------
    A : (3, 3) float64, 1/angstrom, columns a*, b*, c* at zero rotation of the goniometer
    hall : Hall symbol of the space group
    A_at_scan_points : (n_images + 1, 3, 3), at the boundaries of the images, or None
    B_covariance : (9, 9) covariance of the elements of B, row major, or None
    B_covariance_at_scan_points : (n, 9, 9) or None
    mosaicity_deg : degrees or None
    """

    A: NDArray[np.float64] = field(converter=vector)
    hall: str = " P 1"
    A_at_scan_points: NDArray[np.float64] | None = None
    B_covariance: NDArray[np.float64] | None = None
    B_covariance_at_scan_points: NDArray[np.float64] | None = None
    mosaicity_deg: float | None = None
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def from_gemmi(cls, cell: gemmi.UnitCell, space_group: gemmi.SpaceGroup | str, orientation: Any = None) -> Crystal:
        """A crystal from gemmi's cell and space group.

        Parameters
        ----------
        orientation
            U, (3, 3) or `gemmi.Mat33`: turns gemmi's Cartesian frame of the cell (a along x,
            b in the xy plane) into the laboratory; None leaves the crystal in that frame.

        Raises
        ------
        ValueError
            If the space group is unknown, or U is no rotation.
        """
        u = np.eye(3) if orientation is None else np.array(getattr(orientation, "tolist", lambda: orientation)())
        if u.shape != (3, 3) or not np.allclose(u @ u.T, np.eye(3), atol=1e-6) or np.linalg.det(u) < 0:
            raise ValueError("the orientation is not a rotation matrix")
        return cls(u @ b_matrix(cell), str(space_group_of(space_group).hall))

    def to_gemmi(self) -> tuple[gemmi.UnitCell, gemmi.SpaceGroup, gemmi.Mat33]:
        """Cell, space group and orientation U, as `from_gemmi` takes them."""
        return self.cell, self.space_group, gemmi.Mat33(self.U.tolist())

    @property
    def space_group(self) -> gemmi.SpaceGroup:
        """Space group with a name in the tables.

        Raises
        ------
        DataError
            If the Hall symbol describes a setting that has none.
        """
        try:
            return space_group_of_hall(self.hall)
        except ValueError:
            raise DataError(
                f"The crystal's space group, Hall symbol {self.hall.strip()!r}, is not in the tables.",
                advice="Give it a tabulated one: xtal run reindex with space_group= and change_of_basis_op=.",
            ) from None

    @space_group.setter
    def space_group(self, value: str | gemmi.SpaceGroup) -> None:
        self.hall = str(space_group_of(value).hall)

    @property
    def cell(self) -> gemmi.UnitCell:
        return cell_of(self.A)

    @property
    def B(self) -> NDArray[np.float64]:
        return b_matrix(self.cell)

    @property
    def U(self) -> NDArray[np.float64]:
        return self.A @ np.linalg.inv(self.B)

    def change_basis(self, basis: NDArray[np.float64]) -> Crystal:
        """The same lattice on new axes.

        Parameters
        ----------
        basis : (3, 3)
            P with (a', b', c') = (a, b, c) P. Miller indices (rows) become h P.

        Returns
        -------
        Crystal
            Scan points are carried along; covariances are dropped; the Hall symbol is
            left to the caller, who knows the group of the new setting.
        """
        inverse_t = np.linalg.inv(np.asarray(basis, dtype=float)).T
        points = None if self.A_at_scan_points is None else self.A_at_scan_points @ inverse_t
        return Crystal(self.A @ inverse_t, self.hall, points, mosaicity_deg=self.mosaicity_deg)
