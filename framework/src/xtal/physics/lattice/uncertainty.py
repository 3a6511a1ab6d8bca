"""Cell constants with their standard uncertainties."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtal.models import Crystal
from xtal.models.crystal import cell_of

F = NDArray[np.float64]


def cell_esds(crystal: Crystal) -> F | None:
    """(6,) standard uncertainties (angstrom, degrees) of the cell, from the covariance of B; None without it."""
    covariance = crystal.B_covariance
    if covariance is None:
        return None
    b = crystal.B
    step = 1e-6 * np.abs(b).max()
    derivative = np.zeros((6, 9))
    for k in range(9):
        change = np.zeros(9)
        change[k] = step
        high, low = cell_of(b + change.reshape(3, 3)), cell_of(b - change.reshape(3, 3))
        derivative[:, k] = (np.array(high.parameters) - np.array(low.parameters)) / (2 * step)
    variance = np.einsum("ij,jk,ik->i", derivative, np.asarray(covariance).reshape(9, 9), derivative)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))


def with_esd(value: float, esd: float) -> str:
    """Number with its uncertainty in the last digits, as crystallographers write it: 78.123(4); exact ones bare."""
    if not np.isfinite(esd) or esd < 1e-6:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    digits = max(0, int(-np.floor(np.log10(esd))))
    if round(esd * 10**digits) == 1:
        digits += 1
    if digits == 0:
        return f"{value:.0f}({esd:.0f})"
    return f"{value:.{digits}f}({round(esd * 10**digits):d})"


def describe_cell(crystal: Crystal) -> str:
    """The six cell constants as text, with uncertainties where they are known."""
    esds = cell_esds(crystal)
    values = np.array(crystal.cell.parameters)
    if esds is None:
        return ", ".join(f"{v:.3f}" if k < 3 else f"{v:.2f}" for k, v in enumerate(values))
    return ", ".join(with_esd(v, e) for v, e in zip(values, esds, strict=True))
