"""Attenuation of sensors against figures of NIST, and the edges."""

from __future__ import annotations

import pytest

from xtal.errors import DataError
from xtal.models import Beam
from xtal.physics.attenuation import LONGEST_WAVELENGTH, attenuation
from xtal.physics.detectors import set_sensor
from xtal.testing import tiny_experiment

CHECKS = {
    "Si": (1.48297, 3.96039, 4.20799, 14.84615),
    "CdTe": (18.44513, 45.51566, 48.11464, 152.40258),
    "GaAs": (31.39134, 75.92331, 80.07999, 36.50650),
}


@pytest.mark.parametrize("material", CHECKS)
def test_values_at_common_wavelengths(material: str) -> None:
    for wavelength, expected in zip((0.7, 0.9795, 1.0, 1.5418), CHECKS[material], strict=True):
        assert attenuation(material, wavelength) == pytest.approx(expected, rel=1e-5)


def test_an_edge_is_a_jump_upwards_with_energy() -> None:
    edge = 12398.419843 / 26711.0  # K edge of cadmium
    assert attenuation("CdTe", edge * 0.9999) / attenuation("CdTe", edge * 1.0001) > 2.5


@pytest.mark.parametrize(("material", "wavelength"), [("Ge", 1.0), ("Si", 50.0), ("Si", 1e-5), ("Si", float("nan"))])
def test_what_is_not_tabulated_is_refused(material: str, wavelength: float) -> None:
    with pytest.raises(DataError, match="tabulated"):
        attenuation(material, wavelength)


def test_a_header_with_an_impossible_wavelength_is_read_without_parallax() -> None:
    """The step import tells it, and takes geometry.beam.wavelength=."""
    detector = tiny_experiment().detector
    for wavelength, corrected in ((1.0, True), (LONGEST_WAVELENGTH, True), (1e6, False)):
        set_sensor(detector, Beam(wavelength), "Si", 0.3)
        assert (detector[0].parallax, detector[0].mu > 0) == (corrected, corrected)
