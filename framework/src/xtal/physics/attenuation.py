"""Linear attenuation of X-rays in sensor materials.

Mass attenuation coefficients are those of Hubbell and Seltzer (NIST Standard Reference
Database 126); K edges stand twice, so that the interpolation does not cross them.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.units import EV_ANGSTROM

LONGEST_WAVELENGTH = EV_ANGSTROM / 1000.0
"""Of the least energy that is tabulated, angstrom."""

_DENSITY = {"Si": 2.33, "CdTe": 6.2, "GaAs": 5.32}
_HIGH = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)

# Energy in MeV to mass attenuation coefficient in cm2/g, up to 0.08 MeV and, for the energies of _HIGH, from there.
_LOW = {
    "Si": """
        0.001:1570 0.0015:535.5 0.0018389:309.2 0.0018389:3192 0.002:2777 0.003:978.4 0.004:452.9 0.005:245
        0.006:147 0.008:64.68 0.01:33.89 0.015:10.34 0.02:4.464 0.03:1.436 0.04:0.7012 0.05:0.4385 0.06:0.3207
        0.08:0.2228""",
    "CdTe": """
        0.001:7927 0.001003:7875 0.001006:7824 0.001006:8014 0.0015:3291 0.002:1664 0.003:614.6 0.003537:406.4
        0.003537:778.7 0.003631:730 0.003727:684 0.003727:860.1 0.004:723 0.004018:715.1 0.004018:793.4
        0.004177:722.1 0.004341:656.2 0.004341:932.8 0.004475:873.9 0.004612:813.5 0.004612:943.8 0.004773:870.2
        0.004939:799.9 0.004939:865.3 0.005:839.2 0.006:528.6 0.008:249.2 0.01:138.1 0.015:46.57 0.02:21.44
        0.026711:9.834 0.026711:29.43 0.03:21.82 0.031814:18.73 0.031814:34.92 0.04:19.3 0.05:10.67 0.06:6.542
        0.08:3.019""",
    "GaAs": """
        0.001:1917 0.00105613:1685 0.0011154:1481 0.0011154:2772 0.00112877:3180 0.0011423:3532 0.0011423:4372
        0.00121752:4130 0.0012977:3657 0.0012977:4066 0.00131034:3971 0.0013231:3879 0.0013231:5652 0.00134073:5525
        0.0013586:5415 0.0013586:6266 0.0015:5159 0.0015265:4939 0.0015265:5278 0.002:2731 0.003:970.2 0.004:453.9
        0.005:249.5 0.006:152.4 0.008:69.6 0.01:37.8 0.0103671:34.25 0.0103671:126 0.0110916:105.9 0.0118667:88.99
        0.0118667:168.5 0.015:92.2 0.02:42.58 0.03:13.97 0.04:6.262 0.05:3.365 0.06:2.042 0.08:0.9587""",
}
_REST = {
    "Si": """
        0.1835 0.1448 0.1275 0.1082 0.09614 0.08748 0.08077 0.07082 0.06361 0.05688 0.05183 0.0448 0.03678 0.0324
        0.02967 0.02788 0.02574 0.02462 0.02352 0.02338""",
    "CdTe": """
        1.671 0.6071 0.3246 0.1628 0.1147 0.09291 0.08042 0.066 0.05742 0.05043 0.04591 0.0407 0.03649 0.03525
        0.03513 0.03548 0.03687 0.03857 0.04273 0.04616""",
    "GaAs": """
        0.5598 0.2509 0.1671 0.1137 0.09371 0.08248 0.07484 0.06452 0.05751 0.05122 0.04676 0.04102 0.03538 0.03288
        0.03172 0.03121 0.03117 0.0317 0.03354 0.03543""",
}


@cache
def _table(material: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of energy (eV) and mass attenuation coefficient (cm2/g)."""
    pairs = [tuple(map(float, word.split(":"))) for word in _LOW[material].split()]
    pairs += list(zip(_HIGH, map(float, _REST[material].split()), strict=True))
    energy, coefficient = np.array(pairs).T
    return np.log(energy * 1e6), np.log(coefficient)


def attenuation(material: str, wavelength: float) -> float:
    """Linear attenuation coefficient of a sensor.

    Parameters
    ----------
    material
        "Si", "CdTe" or "GaAs".
    wavelength
        Angstrom; energies from 1 keV to 20 MeV are tabulated.

    Returns
    -------
    float
        1/mm, from log-log interpolation of the tables.

    Raises
    ------
    DataError
        If the material or the energy is not tabulated.
    """
    if material not in _DENSITY:
        raise DataError(f"The attenuation of {material!r} is not tabulated.", advice="Known: Si, CdTe, GaAs.")
    energy, coefficient = _table(material)
    wanted = np.log(EV_ANGSTROM / wavelength) if wavelength > 0 else np.nan
    if not energy[0] <= wanted <= energy[-1]:
        raise DataError(f"No X-ray attenuation is tabulated for a wavelength of {wavelength:g} Å.")
    # the last tabulated energy that is not above: at an edge that is the upper branch
    left = min(int(np.searchsorted(energy, wanted, side="right")) - 1, len(energy) - 2)
    part = (wanted - energy[left]) / (energy[left + 1] - energy[left])
    mass = np.exp(coefficient[left] + part * (coefficient[left + 1] - coefficient[left]))
    return float(0.1 * _DENSITY[material] * mass)
