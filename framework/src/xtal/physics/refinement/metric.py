"""Constraints of symmetry on the reciprocal metric."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def metric_constraints(operations: gemmi.GroupOps) -> NDArray[np.float64]:
    """(6, k) E with G* = E p: the metric in terms of its k independent elements.

    G* (a*a*, b*b*, c*c*, a*b*, a*c*, b*c*) of a lattice with rotations W (Miller rows become h W)
    obeys G* = W G* W^T. The independent elements are the first that do not depend on those
    before them, so that columns of E hold 1 and simple fractions.
    """
    equations = []
    for op in operations.sym_ops:
        w = np.array(op.rot) // gemmi.Op.DEN
        action = np.zeros((6, 6))
        for j, (p, q) in enumerate(PAIRS):
            basis = np.zeros((3, 3))
            basis[p, q] = basis[q, p] = 1.0
            image = w @ basis @ w.T
            action[:, j] = [image[r] for r in PAIRS]
        equations.append(action - np.eye(6))
    return null_basis(np.concatenate(equations))


def null_basis(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, k) solutions of ``matrix`` x = 0, the first possible unknowns being the free ones."""
    # Elimination from the last unknown backwards leaves the earliest ones free.
    m = matrix[:, ::-1].copy()
    n = m.shape[1]
    pivots: list[int] = []
    for column in range(n):
        row = len(pivots)
        if row == len(m):
            break
        best = row + int(np.argmax(np.abs(m[row:, column])))
        if abs(m[best, column]) < 1e-9:
            continue
        m[[row, best]] = m[[best, row]]
        m[row] /= m[row, column]
        for other in range(len(m)):
            if other != row:
                m[other] -= m[other, column] * m[row]
        pivots.append(column)
    free = [c for c in range(n) if c not in pivots]
    out = np.zeros((n, len(free)))
    for k, column in enumerate(free):
        out[column, k] = 1.0
        out[pivots, k] = -m[: len(pivots), column]
    return np.ascontiguousarray(out[::-1, ::-1])
