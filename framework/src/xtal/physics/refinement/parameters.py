"""Parameters of each model, composed into its state with exact derivatives.

Rotations start from the state at construction and are in mrad, shifts in mm, elements of the
reciprocal metric in 1e-5/angstrom^2 (Waterman et al. 2016). `values` holds all parameters of a
model, `free` marks those that move; `offset` is the place of the first free one in the vector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import Beam, Crystal, Detector, Goniometer, rotation_matrix
from xtal.models.beam import unit
from xtal.physics.refinement.metric import metric_constraints
from xtal.physics.refinement.smoother import Smoother

Array = NDArray[np.float64]

MRAD = 1e-3
METRIC = 1e-5


def cross_matrix(v: Array) -> Array:
    """(3, 3) K with K u = v x u."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


class Parameters:
    """Values of one model's parameters and which of them are free.

    Attributes
    ----------
    values : (n_samples, k); static models have one sample
    free : (k,) bool
    offset : place of its first free parameter in the whole vector; samples follow one another
    trust : (k,) how far the parameters may well be from the start; infinite unless an instrument vouches for it
    """

    names: tuple[str, ...]

    def __init__(self, values: ArrayLike, free: ArrayLike, trust: ArrayLike = np.inf) -> None:
        self.values = np.atleast_2d(np.asarray(values, dtype=float))
        self.free = np.asarray(free, dtype=bool)
        self.trust = np.broadcast_to(np.asarray(trust, dtype=float), self.free.shape)
        self.offset = 0

    @property
    def n_free(self) -> int:
        return int(self.free.sum()) * len(self.values)

    def get(self) -> Array:
        return self.values[:, self.free].ravel()

    def set(self, x: Array) -> None:
        """Take the free values from the whole vector."""
        part = x[self.offset : self.offset + self.n_free]
        self.values[:, self.free] = part.reshape(len(self.values), -1)

    def columns(self, sample: int = 0) -> NDArray[np.int64]:
        """(n free per sample,) places in the whole vector."""
        k = int(self.free.sum())
        return self.offset + sample * k + np.arange(k)

    def stiffness(self) -> Array:
        """(n_free,) weights of staying at the start, 1 / trust^2."""
        return np.tile(1.0 / self.trust[self.free] ** 2, len(self.values))


class BeamParameters(Parameters):
    """Mu1 about an axis in the plane of beam and spindle, Mu2 about that plane's normal, nu (1/angstrom)."""

    names = ("Mu1", "Mu2", "nu")

    def __init__(self, beam: Beam, goniometer: Goniometer | None, fix: tuple[str, ...]) -> None:
        self.model = beam
        s0 = beam.s0
        self.start, self.start_polarization = unit(s0), beam.polarization_normal.copy()
        if goniometer is not None:
            self.dir2 = unit(np.cross(s0, goniometer.axis))
            self.dir1 = unit(np.cross(self.dir2, s0))
        else:
            self.dir1 = unit(np.cross(s0, np.eye(3)[np.argmin(np.abs(s0))]))
            self.dir2 = unit(np.cross(s0, self.dir1))
        fixed = [name in fix or "all" in fix for name in ("in_spindle_plane", "out_spindle_plane", "wavelength")]
        trust = np.inf if beam.is_electron else (2.0, 2.0, np.inf)
        super().__init__([0.0, 0.0, float(np.linalg.norm(s0))], ~np.array(fixed), trust)

    def rotation(self) -> Array:
        """(3, 3) from the first direction to the present one."""
        mu1, mu2, _ = self.values[0]
        return rotation_matrix(self.dir2, mu2 * MRAD) @ rotation_matrix(self.dir1, mu1 * MRAD)

    def s0(self) -> Array:
        return np.asarray(self.values[0, 2] * self.rotation() @ self.start)

    def derivatives(self) -> Array:
        """(3, n free) ds0 by the free parameters."""
        mu1, mu2, nu = self.values[0]
        outer, inner = rotation_matrix(self.dir2, mu2 * MRAD), rotation_matrix(self.dir1, mu1 * MRAD)
        by_mu1 = nu * MRAD * outer @ np.cross(self.dir1, inner @ self.start)
        direction = outer @ inner @ self.start
        by_mu2 = nu * MRAD * np.cross(self.dir2, direction)
        return np.column_stack([by_mu1, by_mu2, direction])[:, self.free]


class GoniometerParameters(Parameters):
    """Gamma1, Gamma2: the setting rotation about axes in and normal to the plane of beam and spindle."""

    names = ("Gamma1", "Gamma2")

    def __init__(self, goniometer: Goniometer, beam: Beam, fix: tuple[str, ...]) -> None:
        self.model = goniometer
        self.start = goniometer.setting_rotation.copy()
        self.dir2 = unit(np.cross(goniometer.axis, beam.s0))
        self.dir1 = unit(np.cross(self.dir2, goniometer.axis))
        fixed = [name in fix or "all" in fix for name in ("in_beam_plane", "out_beam_plane")]
        super().__init__([0.0, 0.0], ~np.array(fixed))

    def setting(self) -> Array:
        g1, g2 = self.values[0] * MRAD
        return np.asarray(rotation_matrix(self.dir2, g2) @ rotation_matrix(self.dir1, g1) @ self.start)

    def derivatives(self) -> Array:
        """(n free, 3, 3) dS S^-1, skew matrices."""
        outer = rotation_matrix(self.dir2, self.values[0, 1] * MRAD)
        spins = np.array([cross_matrix(outer @ self.dir1), cross_matrix(self.dir2)])
        return np.asarray(spins[self.free] * MRAD)


class OrientationParameters(Parameters):
    """Phi1, Phi2, Phi3 about x, y, z: U = Rz Ry Rx U0, at each sample of a smoother."""

    names = ("Phi1", "Phi2", "Phi3")

    def __init__(self, crystal: Crystal, smoother: Smoother, fixed: bool) -> None:
        self.model, self.smoother = crystal, smoother
        self.start = crystal.U
        super().__init__(np.zeros((smoother.n_samples, 3)), np.full(3, not fixed))

    def u_matrix(self, angles: Array) -> Array:
        """(3, 3) U for three angles in mrad."""
        x, y, z = (rotation_matrix(np.eye(3)[i], angles[i] * MRAD) for i in range(3))
        return np.asarray(z @ y @ x @ self.start)


class CellParameters(Parameters):
    """Independent elements of the reciprocal metric under the space group, at each sample."""

    def __init__(self, crystal: Crystal, smoother: Smoother, fixed: bool) -> None:
        self.model, self.smoother = crystal, smoother
        self.expand = metric_constraints(crystal.space_group.operations())
        g = metric_of(crystal.B) / METRIC
        start = np.linalg.lstsq(self.expand, g, rcond=None)[0]
        self.names = tuple(f"g_param_{i}" for i in range(len(start)))
        super().__init__(np.tile(start, (smoother.n_samples, 1)), np.full(len(start), not fixed))

    def b_elements(self, values: Array) -> tuple[list[Array], list[Array]]:
        """Elements ax ay by az bz cz of B and their derivatives.

        Parameters
        ----------
        values : (n, k) independent parameters

        Returns
        -------
        elements : six arrays (n,)
        derivatives : six arrays (k, n)
        """
        g = list(METRIC * self.expand @ values.T)
        return b_from_metric(g, list(METRIC * self.expand[:, :, None]))

    def b_matrix(self, values: Array) -> Array:
        ax, ay, by, az, bz, cz = (float(e[0]) for e in self.b_elements(values[None])[0])
        return np.array([[ax, 0, 0], [ay, by, 0], [az, bz, cz]])


def metric_of(b_matrix: Array) -> Array:
    """(6,) a*a* b*b* c*c* a*b* a*c* b*c* of a B (or A) matrix."""
    g = b_matrix.T @ b_matrix
    return np.array([g[0, 0], g[1, 1], g[2, 2], g[0, 1], g[0, 2], g[1, 2]])


def b_from_metric(g: list[Array], dg: list[Array]) -> tuple[list[Array], list[Array]]:
    """Lower triangular B from the metric, with derivatives carried along (forward mode).

    Parameters
    ----------
    g : six arrays (n,)
    dg : six arrays (k, 1), derivatives of g by k parameters

    Raises
    ------
    AlgorithmFailed
        If the metric is not positive.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        cz = np.sqrt(g[2])
        bz, az = g[5] / cz, g[4] / cz
        by = np.sqrt(g[1] - bz * bz)
        ay = (g[3] - az * bz) / by
        ax = np.sqrt(g[0] - ay * ay - az * az)
        dcz = dg[2] / (2 * cz)
        dbz, daz = (dg[5] - bz * dcz) / cz, (dg[4] - az * dcz) / cz
        dby = (dg[1] - 2 * bz * dbz) / (2 * by)
        day = (dg[3] - daz * bz - az * dbz - ay * dby) / by
        dax = (dg[0] - 2 * ay * day - 2 * az * daz) / (2 * ax)
    if not (np.all(np.isfinite(ax)) and np.all(np.isfinite(ay))):
        raise AlgorithmFailed(
            "The refined cell is no cell any more: refinement diverged.",
            advice="Check the indexing, fix the cell (crystal.fix=cell) or refine fewer parameters.",
        )
    return [ax, ay, by, az, bz, cz], [dax, day, dby, daz, dbz, dcz]


class DetectorParameters(Parameters):
    """Dist, Shift1, Shift2 (mm), Tau1, Tau2, Tau3 (mrad) of panels that move as one.

    With f, s, n the axes of the reference panel (that nearest to the beam) at the start, a point x0
    goes to Dist n + T (x0 - Dist0 n + Shift1 f + Shift2 s), T = R(s, Tau3) R(f, Tau2) R(n, Tau1):
    rotations are about the foot of the normal from the sample. Behind electron lenses they stand for distortions, so
    that nothing vouches for them there.
    """

    names = ("Dist", "Shift1", "Shift2", "Tau1", "Tau2", "Tau3")

    def __init__(self, detector: Detector, panels: list[int], beam: Beam, fix: tuple[str, ...]) -> None:
        self.model, self.panels = detector, panels
        self.start = {p: detector[p].d_matrix for p in panels}
        middle = [detector[p].lab(np.array(detector[p].image_size) * detector[p].pixel_size / 2) for p in panels]
        away = [np.arccos(np.clip(unit(m) @ unit(beam.s0), -1, 1)) for m in middle]
        reference = detector[panels[int(np.argmin(away))]]
        self.axes = np.array([reference.fast_axis, reference.slow_axis, reference.normal])
        self.distance = reference.directed_distance
        fixed = np.zeros(6, bool)
        groups = {"position": (0, 1, 2), "orientation": (3, 4, 5), "distance": (0,), "tilt": (4, 5)}
        for name, places in groups.items():
            if name in fix or "all" in fix:
                fixed[list(places)] = True
        trust = np.inf if beam.is_electron else (1.0, 1.0, 1.0, 5.0, 5.0, 5.0)
        super().__init__([self.distance, 0, 0, 0, 0, 0], ~fixed, trust)

    def _rotations(self) -> tuple[Array, Array, Array]:
        f, s, n = self.axes
        t1, t2, t3 = self.values[0, 3:] * MRAD
        return rotation_matrix(s, t3), rotation_matrix(f, t2), rotation_matrix(n, t1)

    def moved(self, frame: Array) -> Array:
        """(3, 3) columns fast, slow, origin after the motion of a frame given at the start."""
        r3, r2, r1 = self._rotations()
        return self._carry(r3 @ r2 @ r1, frame)

    def _carry(self, turn: Array, frame: Array) -> Array:
        f, s, n = self.axes
        dist, shift1, shift2 = self.values[0, :3]
        arm = frame[:, 2] - self.distance * n + shift1 * f + shift2 * s
        return np.column_stack([turn @ frame[:, :2], dist * n + turn @ arm])

    def derivatives(self, panel: int) -> tuple[Array, Array]:
        """d matrix (3, 3) of a panel and its derivatives (n free, 3, 3)."""
        f, s, n = self.axes
        r3, r2, r1 = self._rotations()
        turn = r3 @ r2 @ r1
        d = self._carry(turn, self.start[panel])
        out = np.zeros((6, 3, 3))
        out[0, :, 2], out[1, :, 2], out[2, :, 2] = n, turn @ f, turn @ s
        about_foot = d - self.values[0, 0] * np.outer(n, [0, 0, 1])
        spins = (r3 @ r2 @ n, r3 @ f, s)
        out[3:] = [MRAD * cross_matrix(spin) @ about_foot for spin in spins]
        return d, out[self.free]
