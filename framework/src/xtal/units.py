"""Small constants of the field."""

from __future__ import annotations

import math

DEG = math.pi / 180.0
"""Radians per degree."""

HC_KEV_ANGSTROM = 12.39842
"""Photon energy (keV) times wavelength (angstrom)."""

ELECTRON_WAVELENGTH_MAX = 0.05
"""Beams of a wavelength (angstrom) up to this are taken for electrons."""
