"""Predictions of stills with exact derivatives.

A lattice point q is turned on to the Ewald sphere in the plane of q and the beam (Sauter et al.
2014, Acta Cryst. D70, 3299). With u the beam's direction, nu = |s0| and p the unit vector of q
across u, the turned vector is r = -a u + b p, a = q^2 / (2 nu), b^2 = q^2 - a^2. The third residual
is the angle delta-psi between the two, which a perfect model makes zero.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Array = NDArray[np.float64]


@frozen(eq=False)
class StillRays:
    """Vectors (3, n) and lengths (n,) of the module's description; ``angle`` is delta-psi, radian."""

    q: Array
    u: Array
    nu: float
    p: Array
    along: Array
    w: Array
    a: Array
    b: Array
    angle: Array
    ok: NDArray[np.bool_]

    @classmethod
    def of(cls, q: Array, s0: Array) -> StillRays:
        """Rays of lattice points q (3, n) in the beam s0 (3,), laboratory."""
        nu = float(np.linalg.norm(s0))
        u = s0 / nu
        along = u @ q
        across = q - u[:, None] * along
        w = np.linalg.norm(across, axis=0)
        q2 = np.sum(q * q, axis=0)
        a = q2 / (2 * nu)
        ok = (w > 1e-12) & (q2 > a * a)
        p = across / np.where(ok, w, 1.0)
        b = np.sqrt(np.maximum(q2 - a * a, 0.0))
        return cls(q, u, nu, p, along, w, a, b, np.arctan2(w, along) - np.arctan2(b, -a), ok)

    @property
    def s1(self) -> Array:
        """(3, n) diffracted beam."""
        return np.asarray(self.nu * self.u[:, None] - self.a * self.u[:, None] + self.b * self.p)

    def by_q(self, ray: Array) -> Array:
        """(3, n) covector by change of q of what has the covector ``ray`` by change of s1."""
        on_u, on_p = self.u @ ray, np.sum(self.p * ray, axis=0)
        radial = -on_u / self.nu + on_p * (1 - self.a / self.nu) / self.b
        across = ray - self.p * on_p - self.u[:, None] * on_u
        return np.asarray(radial * self.q + (self.b / self.w) * across)

    def angle_by_q(self) -> Array:
        """(3, n) covector of delta-psi by change of q."""
        q2 = self.w**2 + self.along**2
        turned = self.b / self.nu - self.a * (1 - self.a / self.nu) / self.b
        return np.asarray((self.along * self.p - self.w * self.u[:, None] - turned * self.q) / q2)

    def by_beam(self, ds0: Array) -> tuple[Array, Array]:
        """Changes of s1 (3, n) and delta-psi (n,) by a change ds0 (3,) of the beam."""
        dnu = float(self.u @ ds0)
        du = (ds0 - dnu * self.u) / self.nu
        da = -self.a * dnu / self.nu
        db = -self.a * da / self.b
        on_p = du @ self.p
        u, du_ = self.u[:, None], du[:, None]
        dp = -on_p * u - (self.along / self.w) * (du_ - self.p * on_p)
        ds1 = ds0[:, None] - da * u - self.a * du_ + db * self.p + self.b * dp
        q2 = self.w**2 + self.along**2
        return ds1, -on_p - (self.b * da - self.a * db) / q2
