"""A change of basis: how axes, indices, coordinates, crystals and space groups go over to new axes.

New axes are sums of the old ones, (a', b', c') = (a, b, c) P. Miller indices, as rows, transform alike, h' = h P;
coordinates the other way round, x' = P^-1 x (International Tables A, 1.5). The same change is written on axes
("a-b,a+b,c"), on indices ("h-k,h+k,l", the same coefficients) or on coordinates ("x/2-y/2,x/2+y/2,z").
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

import gemmi
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.models import Crystal
from xtal.models.space_groups import UNIT, Operations, find_group

F = NDArray[np.float64]
Row = tuple[Fraction, Fraction, Fraction]
MAX_SUM = 60
"""Characters of a sum of axes; longer ones are none."""
_TERM = re.compile(r"([+-]?)(?:(\d+(?:\.\d+)?)(?:/(\d+))?\*?)?([a-z])(?:/(\d+))?")
_LETTERS = ("abc", "hkl", "xyz")


@frozen
class ChangeOfBasis:
    """A change of basis P, exact.

    Attributes
    ----------
    rows : the rows of P as fractions; column j says what the new axis j is of the old ones
    """

    rows: tuple[Row, Row, Row]

    @classmethod
    def from_matrix(cls, basis: Any, max_denominator: int = 24) -> ChangeOfBasis:
        """From P (3, 3), its elements rounded to fractions.

        Raises
        ------
        OptionError
            If P is singular.
        """
        a, b, c = (tuple(Fraction(float(x)).limit_denominator(max_denominator) for x in row) for row in basis)
        change = cls((a, b, c))  # type: ignore[arg-type]  # each row has three elements
        if _determinant(change.rows) == 0:
            raise OptionError(f"The change of basis {change} is not invertible: its axes lie in a plane.")
        return change

    @classmethod
    def parse(cls, text: str) -> ChangeOfBasis:
        """From "a-b,a+b,c", "h-k,h+k,l" or "x/2-y/2,x/2+y/2,z".

        Raises
        ------
        OptionError
            If the text is none of these, or its axes lie in a plane.
        """
        parts = text.lower().replace(" ", "").split(",")
        letters = next((s for s in _LETTERS if set(re.findall("[a-z]", text.lower())) <= set(s)), "")
        if len(parts) != 3 or not letters:
            raise OptionError(
                f"{text!r} is no change of basis.",
                advice="Write three sums of a, b and c, for example b,c,a or a-b,a+b,c.",
            )
        new = [_parse_sum(part, letters, text) for part in parts]
        # each part says a new axis, a column of P; on coordinates it is a row of the inverse
        rows = new if letters == "xyz" else list(map(list, zip(*new, strict=True)))
        if _determinant(rows) == 0:
            raise OptionError(f"The change of basis {text!r} is not invertible: its axes lie in a plane.")
        a, b, c = (tuple(row) for row in rows)
        change = cls((a, b, c))
        return change.inverse() if letters == "xyz" else change

    @property
    def basis(self) -> F:
        """(3, 3) P."""
        return np.array([[float(x) for x in row] for row in self.rows])

    @property
    def is_identity(self) -> bool:
        return all(x == (i == j) for i, row in enumerate(self.rows) for j, x in enumerate(row))

    def inverse(self) -> ChangeOfBasis:
        """The change back to the old axes."""
        (a, b, c), (d, e, f), (g, h, i) = self.rows
        det = _determinant(self.rows)
        adjugate = (
            (e * i - f * h, c * h - b * i, b * f - c * e),
            (f * g - d * i, a * i - c * g, c * d - a * f),
            (d * h - e * g, b * g - a * h, a * e - b * d),
        )
        x, y, z = (tuple(v / det for v in row) for row in adjugate)
        return ChangeOfBasis((x, y, z))  # type: ignore[arg-type]  # each row has three elements

    def then(self, other: ChangeOfBasis) -> ChangeOfBasis:
        """This change and after it another one."""
        a, b, c = (
            tuple(sum((p * other.rows[k][j] for k, p in enumerate(row)), Fraction(0)) for j in range(3))
            for row in self.rows
        )
        return ChangeOfBasis((a, b, c))  # type: ignore[arg-type]  # each row has three elements

    def __str__(self) -> str:
        return self.on("abc")

    def on(self, letters: str) -> str:
        """The change in words of "abc", "hkl" or "xyz"."""
        rows = self.inverse().rows if letters == "xyz" else tuple(zip(*self.rows, strict=True))
        return ",".join(_sum_text(row, letters) for row in rows)

    def hkl(self, hkl: Any) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Indices on the new axes.

        Parameters
        ----------
        hkl : (n, 3) integers

        Returns
        -------
        hkl : (n, 3) int32; 0 0 0 where the new ones are not whole
        whole : (n,) whether they are
        """
        common = math.lcm(*(x.denominator for row in self.rows for x in row))
        matrix = np.array([[int(x * common) for x in row] for row in self.rows], dtype=np.int64)
        product = np.asarray(hkl, dtype=np.int64) @ matrix
        whole = np.all(product % common == 0, axis=1)
        return np.where(whole[:, None], product // common, 0).astype(np.int32), whole

    def cell(self, cell: gemmi.UnitCell) -> gemmi.UnitCell:
        """The cell on the new axes."""
        return Crystal.from_gemmi(cell, "P 1").change_basis(self.basis).cell

    def crystal(self, crystal: Crystal) -> Crystal:
        """The crystal on the new axes, scan points too, its space group in the new setting.

        A setting without a name in the tables is written as a Hall symbol with its change of axes.

        Raises
        ------
        OptionError
            If the symmetry does not hold on the new axes (of a supercell).
        """
        new = crystal.change_basis(self.basis)
        new.hall = self.hall(crystal.hall)
        return new

    def hall(self, hall: str) -> str:
        """Hall symbol of a space group on the new axes.

        Raises
        ------
        OptionError
            If the symmetry does not hold on the new axes.
        """
        if self.is_identity:
            return hall
        operations = _transformed(gemmi.symops_from_hall(hall), self)
        if operations is None:
            raise OptionError(
                f"The symmetry {hall.strip()!r} does not hold on the axes {self}.",
                advice="Give space_group=P1, or another one that does.",
            )
        found = find_group(operations)
        if found is not None:
            return str(found.hall)
        plain, _, earlier = hall.partition("(")
        change = ChangeOfBasis.parse(earlier.rstrip(" )")).then(self) if earlier else self
        return f"{plain.rstrip()} ({change.on('xyz')})"


def _determinant(rows: Any) -> Fraction:
    (a, b, c), (d, e, f), (g, h, i) = rows
    return Fraction(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g))


def _parse_sum(part: str, letters: str, text: str) -> list[Fraction]:
    """Coefficients of three letters in a sum such as 2a-b/2."""
    found, at = [Fraction(0)] * 3, 0
    while at < len(part) < MAX_SUM:
        match = _TERM.match(part, at)
        if match is None or (at and not match[1]) or 0 in (int(match[3] or 1), int(match[5] or 1)):
            break
        sign, number, below, letter, over = match.groups()
        size = Fraction(number or 1) / int(below or 1) / int(over or 1)
        found[letters.index(letter)] += -size if sign == "-" else size
        at = match.end()
    if at < len(part) or not part:
        raise OptionError(
            f"{part!r} in the change of basis {text!r} is no sum of {', '.join(letters)}.",
            advice="For example b,c,a or a-b,a+b,c or 1/2a+1/2b,-1/2a+1/2b,c.",
        )
    return found


def _sum_text(row: Any, letters: str) -> str:
    text = ""
    for x, letter in zip(row, letters, strict=True):
        if x:
            size = "" if abs(x) == 1 else f"{abs(x)}*"
            text += ("-" if x < 0 else "+" if text else "") + size + letter
    return text


def _transformed(group: gemmi.GroupOps, change: ChangeOfBasis) -> Operations | None:
    """All operations on the new axes; None where a rotation is not whole there.

    x' = P^-1 x takes (R, t) to (P^-1 R P, P^-1 t); the old lattice's translations may become centrings.
    """
    p, inverse, den = change.basis, change.inverse().basis, gemmi.Op.DEN
    lattice = np.array(np.meshgrid(*[range(-2, 3)] * 3)).reshape(3, -1)
    shifts = np.unique(np.rint(inverse @ lattice * UNIT).astype(np.int64).T % UNIT, axis=0)
    found: Operations = {}
    for op in group:
        turned = inverse @ (np.array(op.rot) / den) @ p
        if not np.allclose(turned, np.rint(turned), atol=1e-6):
            return None
        moved = np.rint(inverse @ (np.array(op.tran) / den) * UNIT).astype(np.int64)
        translations = found.setdefault(np.rint(turned).astype(np.int64).tobytes(), set())
        translations |= set(map(tuple, ((moved + shifts) % UNIT).tolist()))
    return found
