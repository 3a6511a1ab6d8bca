"""A polynomial of the scan as the logarithm of the scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy import sparse

from xtal.models import Experiment
from xtal.table import ReflectionTable
from xtal_scaling_template.options import TemplateOptions

F = NDArray[np.float64]


class TemplateScaling:
    """g = exp(sum of p_k P_k(z)), so that it is positive (`xtal.hooks.protocols.ScalingModel`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options
        self.n_parameters = options.degree + 1
        self.names = [f"legendre_{k}" for k in range(self.n_parameters)]

    def prepare(self, experiment: Experiment, table: ReflectionTable) -> None:
        """The polynomials at the observations, the scan mapped to -1 to 1."""
        name = "xyzobs.px.value" if "xyzobs.px.value" in table else "xyzcal.px"
        z = np.asarray(table[name])[:, 2]
        first, last = experiment.scan.array_range if experiment.scan is not None else (0, 1)
        x = np.clip(2 * (z - first) / (last - first) - 1, -1.0, 1.0)
        self.terms = legendre.legvander(x, self.options.degree)

    def initial(self) -> F:
        """(p,) zeros: a scale of 1."""
        return np.zeros(self.n_parameters)

    def scales_and_jacobian(self, parameters: F, rows: NDArray[np.int64]) -> tuple[F, Any]:
        """Scales of these rows and their derivatives."""
        terms = self.terms[rows]
        scales = np.exp(terms @ parameters)
        return scales, sparse.csr_matrix(terms * scales[:, None])

    def restraints(self, parameters: F) -> tuple[F, Any]:
        """Every parameter but the overall one is drawn to 0."""
        weight = 1 / self.options.restraint
        jacobian = sparse.csr_matrix(np.eye(self.n_parameters)[1:] * weight)
        return np.asarray(parameters[1:] * weight), jacobian

    def to_json(self, parameters: F, esds: F) -> dict[str, Any]:
        """What is stored in the experiment list."""
        return {
            "__id__": "template",
            "is_scaled": True,
            "parameters": [float(p) for p in parameters],
            "est_standard_devs": [float(e) for e in esds],
            "configuration_parameters": {"degree": self.options.degree, "restraint": self.options.restraint},
        }
