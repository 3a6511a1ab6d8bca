"""The incident beam."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.units import ELECTRON_WAVELENGTH_MAX


def unit(vector: Any) -> NDArray[np.float64]:
    """Vector of length 1 along ``vector``, as a float64 array of its own."""
    v = np.array(vector, dtype=float)
    return v / np.linalg.norm(v)


def vector(value: Any) -> NDArray[np.float64]:
    """Float64 copy of a vector or matrix."""
    return np.array(value, dtype=float)


def int_pair(value: Any) -> tuple[int, int]:
    """Two integers."""
    first, second = value
    return int(first), int(second)


def float_pair(value: Any) -> tuple[float, float]:
    """Two floats."""
    first, second = value
    return float(first), float(second)


@define(eq=False)
class Beam:
    """A monochromatic beam.

    Attributes
    ----------
    direction : (3,) unit vector from the sample to the source
    wavelength : angstrom
    divergence, sigma_divergence : radian
    polarization_normal : (3,) normal of the plane of polarisation
    polarization_fraction : 0 to 1 (0.5 is unpolarised)
    flux : photons per second
    transmission : 0 to 1
    probe : "x-ray", "electron" or "neutron"
    s0_at_scan_points : (n_images + 1, 3) 1/angstrom, where the beam drifts during the scan
    extra : keys of the file that xtal does not know, kept for a round trip
    source : what the file held; what was not changed is written back as it stood there
    """

    wavelength: float
    direction: NDArray[np.float64] = field(default=(0.0, 0.0, 1.0), converter=unit)
    divergence: float = 0.0
    sigma_divergence: float = 0.0
    polarization_normal: NDArray[np.float64] = field(default=(0.0, 1.0, 0.0), converter=vector)
    polarization_fraction: float = 0.999
    flux: float = 0.0
    transmission: float = 1.0
    probe: str = "x-ray"
    s0_at_scan_points: NDArray[np.float64] | None = None
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def s0(self) -> NDArray[np.float64]:
        """(3,) incident wave vector, 1/angstrom: from the source to the sample."""
        return -self.direction / self.wavelength

    @s0.setter
    def s0(self, value: NDArray[np.float64]) -> None:
        self.direction = unit(-np.asarray(value))
        self.wavelength = 1.0 / float(np.linalg.norm(value))

    @property
    def is_electron(self) -> bool:
        """Whether electrons are meant, by the probe or (files seldom say it) by the wavelength."""
        return self.probe == "electron" or self.wavelength <= ELECTRON_WAVELENGTH_MAX
