"""Whether indices count from a wrong origin: the mark of a beam centre that is off by whole spots."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

F = NDArray[np.float64]

MODULI = (2, 3, 4, 5, 7)
"""Multiples of a cell that are thought of; 6 shows as 2 or 3."""

SOME = 500
"""Indices that tell most classes apart before all are counted."""


@frozen(eq=False)
class OffsetClass:
    """All indices obey v . h = remainder (mod modulus), with a remainder other than 0.

    A lattice cannot do that, whose origin is one of its points: the indices are those of a centred
    (or smaller) cell, counted from a point beside the beam.
    """

    v: NDArray[np.int64]
    modulus: int
    remainder: int


def offset_classes(hkl: NDArray[np.int32], share: float = 0.95) -> list[OffsetClass]:
    """The classes that at least ``share`` of the indices (n, 3) belong to; none where all is well."""
    hkl = np.asarray(hkl, dtype=np.int64)
    some = hkl[:: max(1, len(hkl) // SOME)]
    out = []
    for modulus in MODULI:
        for v in product(range(modulus), repeat=3):
            if math.gcd(modulus, *v) > 1:
                continue
            first = np.bincount((some @ np.array(v)) % modulus, minlength=modulus)
            remainder = int(np.argmax(first))
            if remainder == 0 or first[remainder] < (share - 0.1) * len(some):
                continue
            if ((hkl @ np.array(v)) % modulus == remainder).mean() >= share:
                out.append(OffsetClass(np.array(v), modulus, remainder))
    return out


def shift_for_offset(found: list[OffsetClass], a_matrix: F, derivatives: F, moved: F) -> tuple[F, NDArray[np.int64]]:
    """Shift of the detector in its plane that brings the origin to the nearest right point.

    Parameters
    ----------
    a_matrix : (3, 3) setting matrix
    derivatives : (n, 3, 3) of `shift_derivatives`
    moved : (3,) mm, how far the detector stands from where its header has it: of all right points that
        is taken which leaves it nearest to there

    Returns
    -------
    shift : (3,) mm, along fast, slow, normal
    offset : (3,) to be added to all indices
    """
    best: tuple[float, F, NDArray[np.int64]] | None = None
    for offset, plane in plane_shifts(a_matrix, derivatives, 3):
        if any((offset @ c.v + c.remainder) % c.modulus != 0 for c in found):
            continue
        size = float(np.linalg.norm(moved[:2] + plane))
        if best is None or size < best[0]:
            best = size, np.append(plane, 0.0), offset
    return (np.zeros(3), np.zeros(3, np.int64)) if best is None else (best[1], best[2])


def plane_shifts(a_matrix: F, derivatives: F, reach: int) -> Iterator[tuple[NDArray[np.int64], F]]:
    """Offsets of indices up to ``reach`` that a shift of the detector in its plane can make.

    Parameters
    ----------
    a_matrix : (3, 3) setting matrix
    derivatives : (n, 3, 3) of `shift_derivatives`

    Yields
    ------
    offset : (3,)
    shift : (2,) mm along fast and slow
    """
    mean = derivatives[:, :, :2].mean(axis=0)
    for t in product(range(-reach, reach + 1), repeat=3):
        offset = np.array(t)
        wanted = a_matrix @ offset
        plane = np.linalg.lstsq(mean, wanted, rcond=None)[0]
        if any(t) and np.linalg.norm(mean @ plane - wanted) <= 0.3 * np.linalg.norm(wanted):
            yield offset, plane
