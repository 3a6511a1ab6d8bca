"""The physical model: ln g = ln C(phi) + B(phi) / (2 d^2) + sum P_lm (Y_lm(s0) + Y_lm(s1)) / 2.

C and B are smooth along the scan; the harmonics are of the directions of the incident
and diffracted rays in the frame of the crystal. Absorption enters as an exponential:
the transmissions along the two paths multiply. (DIALS has 1 + sum P (Y + Y) / 2, which is
the same to first order; its files carry the coefficients in the same place.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, eye, vstack

from xtal.models import Experiment
from xtal.models.goniometer import rotation_matrix
from xtal.table import ReflectionTable
from xtal_scaling_physical.harmonics import n_harmonics, real_harmonics
from xtal_scaling_physical.options import PhysicalOptions
from xtal_scaling_physical.smoother import Smoother, automatic_intervals

F = NDArray[np.float64]
I64 = NDArray[np.int64]

AUTO_SURFACE_WEIGHT = 100.0
MIN_ABSORPTION_WIDTH_DEG = 60.0
NEIGHBOURS = 0.5
"""Prior standard deviation of the logarithm of the ratio of neighbouring scales."""


class Physical:
    """`xtal.hooks.protocols.ScalingModel` of one experiment."""

    def __init__(self, options: PhysicalOptions | None = None) -> None:
        self.options = options or PhysicalOptions()

    def prepare(self, experiment: Experiment, table: ReflectionTable) -> None:
        """Set the components up for the observations of a table.

        Parameters
        ----------
        table : columns s1 (1/angstrom), d (angstrom), xyzobs.px.value or xyzcal.px
        """
        self.experiment, options = experiment, self.options
        scan = experiment.scan
        image = abs(scan.oscillation_deg[1]) if scan is not None else 0.0
        self.width = image * (scan.n_images if scan is not None else 0)
        intervals = automatic_intervals(self.width)
        scale, decay = (a if o == "auto" else float(o) for o, a in
                        zip((options.scale_interval, options.decay_interval), intervals, strict=True))  # fmt: skip
        self.scale = Smoother.over(self.width, image, scale)
        self.decay = Smoother.over(self.width, image, decay) if options.decay_correction else None
        self.lmax = self._order()
        weight = options.surface_weight
        self.surface_weight = AUTO_SURFACE_WEIGHT if weight == "auto" else float(weight)
        position = table["xyzobs.px.value" if "xyzobs.px.value" in table else "xyzcal.px"]
        start = scan.array_range[0] if scan is not None else 0
        images = np.asarray(position[:, 2], dtype=float) - start
        self._set_design(images, np.asarray(table["d"], dtype=float), np.asarray(table["s1"], dtype=float))

    @property
    def n_scale(self) -> int:
        return self.scale.n_parameters

    @property
    def n_decay(self) -> int:
        return self.decay.n_parameters if self.decay else 0

    @property
    def n_parameters(self) -> int:
        return self.n_scale + self.n_decay + n_harmonics(self.lmax)

    @property
    def names(self) -> list[str]:
        """Component and number of each parameter."""
        sizes = (("scale", self.n_scale), ("decay", self.n_decay), ("absorption", n_harmonics(self.lmax)))
        return [f"{name} {k}" for name, size in sizes for k in range(size)]

    def _order(self) -> int:
        """Order of the harmonics, 0 without absorption."""
        wanted = self.options.absorption_correction
        if wanted == "auto":
            wanted = self.width > MIN_ABSORPTION_WIDTH_DEG and not self.experiment.beam.is_electron
        if not wanted or self.experiment.goniometer is None:
            return 0
        return 4 if self.options.lmax == "auto" else int(self.options.lmax)

    def _set_design(self, images: F, d: F, s1: F) -> None:
        """Derivatives of ln g that do not change, and the columns to which they belong."""
        self._scale_columns, self._scale_weights = self.scale.weights(images)
        columns, fixed = [self._scale_columns], []
        if self.decay:
            at, weight = self.decay.weights(images)
            columns.append(at + self.n_scale)
            fixed.append(weight / (2 * d[:, None] ** 2))
        if self.lmax:
            first = self.n_scale + self.n_decay
            surface = self._surface(images, s1)
            columns.append(np.broadcast_to(first + np.arange(surface.shape[1]), surface.shape))
            fixed.append(surface)
        self._columns = np.concatenate(columns, axis=1).astype(np.int32)
        self._fixed = np.concatenate(fixed, axis=1) if fixed else np.zeros((len(d), 0))
        self._last: tuple[I64, tuple[F, NDArray[np.int32], F]] | None = None

    def _design(self, rows: I64) -> tuple[F, NDArray[np.int32], F]:
        """Weights, columns and fixed derivatives of rows; those of the last rows are kept."""
        if self._last is None or not np.array_equal(self._last[0], rows):
            self._last = (rows.copy(), (self._scale_weights[rows], self._columns[rows], self._fixed[rows]))
        return self._last[1]

    def _surface(self, images: F, s1: F) -> F:
        """(n, harmonics) mean of the harmonics of both rays in the crystal's frame, its x to the pole."""
        gonio, scan, beam = self.experiment.goniometer, self.experiment.scan, self.experiment.beam
        assert gonio is not None and scan is not None
        phi = np.asarray(scan.phi(images + scan.array_range[0]))
        incident = np.broadcast_to(beam.direction, s1.shape)
        rays = []
        for ray in (incident, s1 / np.linalg.norm(s1, axis=1, keepdims=True)):
            at_datum = _turn(ray @ gonio.setting_rotation, gonio.axis_datum, -phi)
            x, y, z = (at_datum @ gonio.fixed_rotation).T
            rays.append(np.stack([-z, y, x], axis=1))
        return np.asarray(0.5 * (real_harmonics(rays[0], self.lmax) + real_harmonics(rays[1], self.lmax)))

    def initial(self) -> F:
        """(p,) zeros: the scales are refined as their logarithms, so that none becomes negative."""
        return np.zeros(self.n_parameters)

    def scales_and_jacobian(self, parameters: F, rows: I64) -> tuple[F, Any]:
        """Inverse scale factors g of rows and dg/dp in CSR form, columns ascending."""
        weights, columns, fixed = self._design(rows)
        part = weights * np.exp(np.clip(parameters[columns[:, : weights.shape[1]]], -20.0, 20.0))
        smooth = part.sum(axis=1)
        rest = columns[:, weights.shape[1] :]
        g = smooth * np.exp(np.clip(np.einsum("nk,nk->n", fixed, parameters[rest]), -20.0, 20.0))
        jacobian = np.empty(columns.shape)
        np.multiply(part, (g / smooth)[:, None], out=jacobian[:, : weights.shape[1]])
        np.multiply(fixed, g[:, None], out=jacobian[:, weights.shape[1] :])
        pointers = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(columns.shape[1])
        return g, csr_matrix((jacobian.ravel(), columns.ravel(), pointers), shape=(len(rows), self.n_parameters))

    def restraints(self, parameters: F) -> tuple[F, Any]:
        """Weighted residuals that draw B factors and harmonics to 0 and neighbouring scales together."""
        weight = np.zeros(self.n_parameters)
        weight[self.n_scale : self.n_scale + self.n_decay] = np.sqrt(self.options.decay_restraint)
        weight[self.n_scale + self.n_decay :] = np.sqrt(self.surface_weight)
        rows = np.flatnonzero(weight)
        plain = csr_matrix((weight[rows], (np.arange(len(rows)), rows)), shape=(len(rows), self.n_parameters))
        steps = eye(self.n_scale - 1, self.n_parameters, 1) - eye(self.n_scale - 1, self.n_parameters)
        derivative = vstack([plain, steps / NEIGHBOURS], format="csr")
        return np.asarray(derivative @ parameters), derivative

    def to_json(self, parameters: F, esds: F) -> dict[str, Any]:
        """The model as DIALS's files hold it."""
        scan, b = self.experiment.scan, self.n_scale + self.n_decay
        image_range = scan.image_range if scan is not None else (1, 1)
        start = scan.oscillation_deg[0] if scan is not None else 0.0
        configuration: dict[str, Any] = {
            "corrections": ["scale", *(["decay"] if self.decay else []), *(["absorption"] if self.lmax else [])],
            "valid_osc_range": [start, start + (scan.oscillation_deg[1] * scan.n_images if scan else 0.0)],
            "s_norm_fac": self.scale.norm,
            "scale_rot_interval": self.scale.interval_deg,
            "valid_image_range": list(image_range),
        }
        scales = np.exp(parameters[: self.n_scale])
        scale = _component(scales, scales * esds[: self.n_scale], 0, 1.0)
        out: dict[str, Any] = {"__id__": "physical", "scale": scale}
        if self.decay:
            out["decay"] = _component(parameters[self.n_scale : b], esds, self.n_scale, 0.0)
            configuration |= {"d_norm_fac": self.decay.norm, "decay_rot_interval": self.decay.interval_deg}
        if self.lmax:
            out["absorption"] = _component(parameters[b:], esds, b, 0.0)
            configuration |= {"lmax": self.lmax, "abs_surface_weight": self.surface_weight}
        return out | {"configuration_parameters": configuration}


def _component(values: F, esds: F, first: int, null: float) -> dict[str, Any]:
    return {
        "n_parameters": len(values),
        "parameters": values.tolist(),
        "null_parameter_value": null,
        "est_standard_devs": esds[first : first + len(values)].tolist(),
    }


def _turn(rays: F, axis: F, angles: F) -> F:
    """Each ray turned about an axis by its own angle (radian)."""
    cross = rotation_matrix(axis, np.pi / 2) - np.outer(axis, axis)
    along = np.outer(rays @ axis, axis)
    return np.asarray(along + np.cos(angles)[:, None] * (rays - along) + np.sin(angles)[:, None] * (rays @ cross.T))
