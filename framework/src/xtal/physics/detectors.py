"""What several detector formats share: beams and flat panels from header values, sensors, gaps between modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.models import Beam, Detector, Panel
from xtal.physics.attenuation import LONGEST_WAVELENGTH, attenuation
from xtal.units import ELECTRON_WAVELENGTH_MAX

Rectangle = tuple[int, int, int, int]

PILATUS_MODULE = ((487, 195), (7, 17))
"""Size and gap (fast, slow) in pixels of the modules of a Pilatus."""

EIGER_MODULES = (((1030, 514), (10, 37)), ((1028, 512), (12, 38)))
"""The same of an Eiger and an Eiger2."""


def beam_of(wavelength: float, *, flux: float = 0.0, transmission: float = 1.0) -> Beam:
    """A beam along the laboratory's z axis.

    X-rays are polarised as at a synchrotron (fraction 0.999, normal along y); a wavelength
    of up to 0.05 angstrom means electrons, which are unpolarised.
    """
    electrons = wavelength <= ELECTRON_WAVELENGTH_MAX
    return Beam(
        wavelength,
        polarization_fraction=0.5 if electrons else 0.999,
        flux=flux,
        transmission=transmission,
        probe="electron" if electrons else "x-ray",
    )


def flat_panel(
    distance: float,
    beam_centre: tuple[float, float],
    image_size: tuple[int, int],
    pixel_size: tuple[float, float],
    **more: Any,
) -> Panel:
    """A panel across the beam, fast along +x and slow along -y.

    Parameters
    ----------
    distance
        From the sample, mm.
    beam_centre
        (fast, slow), mm from the outer corner of the first pixel.
    image_size, pixel_size
        (fast, slow) in pixels and mm.
    more
        Further fields of `xtal.models.Panel`.
    """
    fast, slow = np.array([1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0])
    origin = np.array([-beam_centre[0], beam_centre[1], -distance])
    return Panel(fast, slow, origin, image_size, pixel_size, **more)


def set_sensor(detector: Detector, beam: Beam, material: str, thickness: float) -> None:
    """Say what the sensor of all panels is made of (thickness in mm).

    With X-rays the attenuation is looked up and positions are corrected for parallax;
    electrons are stopped at the surface, so neither is meant for them. A wavelength that is not
    tabulated is a slip of the header, for the user to set right.
    """
    known = material in ("Si", "CdTe", "GaAs")
    for panel in detector:
        panel.material, panel.thickness = material, thickness
        if known and not beam.is_electron and beam.wavelength <= LONGEST_WAVELENGTH:
            panel.mu = attenuation(material, beam.wavelength)
            panel.parallax = True
        else:
            panel.mu, panel.parallax = 0.0, False


def _gaps_along(length: int, module: int, gap: int) -> list[tuple[int, int]] | None:
    """Half-open gaps between modules along one direction; None if modules do not fill the length."""
    n, rest = divmod(length + gap, module + gap)
    if rest or n < 1:
        return None
    return [((k + 1) * module + k * gap, (k + 1) * (module + gap)) for k in range(n - 1)]


def module_gaps(image_size: tuple[int, int], module: tuple[int, int], gap: tuple[int, int]) -> list[Rectangle] | None:
    """Rectangles between the modules of a tiled detector, the outer edge not among them.

    Parameters
    ----------
    image_size, module, gap
        (fast, slow) in pixels; a detector turned by 90 degrees is recognised.

    Returns
    -------
    list of (fast0, slow0, fast1, slow1), half open, or None if modules do not fill the image
    """
    width, height = image_size
    for (mf, ms), (gf, gs) in ((module, gap), (module[::-1], gap[::-1])):
        fast, slow = _gaps_along(width, mf, gf), _gaps_along(height, ms, gs)
        if fast is not None and slow is not None:
            return [(a, 0, b, height) for a, b in fast] + [(0, a, width, b) for a, b in slow]
    return None


def eiger_gaps(image_size: tuple[int, int]) -> list[Rectangle]:
    """`module_gaps` of whichever Eiger has this size; none where no Eiger has it."""
    for module, gap in EIGER_MODULES:
        found = module_gaps(image_size, module, gap)
        if found is not None:
            return found
    return []


def rectangle_mask(panel: Panel) -> NDArray[np.bool_]:
    """(slow, fast) mask, False in the untrusted rectangles of the panel."""
    fast, slow = panel.image_size
    mask = np.ones((slow, fast), dtype=bool)
    for f0, s0, f1, s1 in panel.mask:
        mask[max(s0, 0) : max(s1, 0), max(f0, 0) : max(f1, 0)] = False
    return mask
