"""Real spherical harmonics."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]


def n_harmonics(lmax: int) -> int:
    """Harmonics of orders 1 to lmax."""
    return lmax * (lmax + 2)


def real_harmonics(directions: F, lmax: int) -> F:
    """Orthonormal real harmonics of orders l = 1 to lmax, m = -l to l in each.

    m > 0 goes with cos(m phi), m < 0 with sin(|m| phi), both without the
    Condon-Shortley sign.

    Parameters
    ----------
    directions : (n, 3) unit vectors

    Returns
    -------
    (n, lmax * (lmax + 2)) float64
    """
    x, y, z = np.asarray(directions, dtype=float).T
    across = x + 1j * y
    out = np.empty((n_harmonics(lmax), len(z)))
    power, sectoral = np.ones(len(z), dtype=complex), 1.0
    for m in range(lmax + 1):
        before, legendre = np.zeros_like(z), np.full_like(z, sectoral)
        for degree in range(m, lmax + 1):
            if degree > m:
                now = ((2 * degree - 1) * z * legendre - (degree + m - 1) * before) / (degree - m)
                before, legendre = legendre, now
            if degree > 0:
                ratio = math.factorial(degree - m) / math.factorial(degree + m)
                norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio)
                norm *= math.sqrt(2.0) if m else 1.0
                middle = degree * degree + degree - 1
                out[middle + m] = norm * legendre * power.real
                if m:
                    out[middle - m] = norm * legendre * power.imag
        power = power * across
        sectoral *= 2 * m + 1
    return np.ascontiguousarray(out.T)
