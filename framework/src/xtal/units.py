"""Small constants of the field."""

from __future__ import annotations

import math

DEG = math.pi / 180.0
"""Radians per degree."""

EV_ANGSTROM = 12398.419843
"""Photon energy (eV) times wavelength (angstrom)."""

ELECTRON_WAVELENGTH_MAX = 0.05
"""Beams of a wavelength (angstrom) up to this are taken for electrons."""
