"""The user's geometry in place of the headers'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xtal.errors import DataError, OptionError
from xtal.models import Beam, Detector, Goniometer, Panel
from xtal.physics.detectors import beam_of, set_sensor
from xtal.run.formats import lacking
from xtal_steps_import.options import BeamGeometry, DetectorGeometry, Geometry, GoniometerGeometry


def change_beam(beam: Beam, options: BeamGeometry) -> list[str]:
    """Change a beam; returns what was changed."""
    said = []
    if options.wavelength is not None:
        was_electron = beam.is_electron
        beam.wavelength = options.wavelength
        if beam.is_electron != was_electron or not np.isfinite(beam.polarization_fraction):
            usual = beam_of(options.wavelength)
            beam.probe, beam.polarization_fraction = usual.probe, usual.polarization_fraction
        said.append(f"wavelength {options.wavelength:g} Å")
    if options.direction is not None:
        direction = np.array(options.direction)
        if not np.linalg.norm(direction) > 0:
            raise OptionError("geometry.beam.direction has no length.")
        beam.direction = direction / np.linalg.norm(direction)
        said.append(f"direction {_vector(beam.direction)}")
    if options.polarization_fraction is not None:
        beam.polarization_fraction = options.polarization_fraction
        said.append(f"polarisation {options.polarization_fraction:g}")
    if options.polarization_normal is not None:
        beam.polarization_normal = np.array(options.polarization_normal)
        said.append(f"polarisation normal {_vector(beam.polarization_normal)}")
    return said


def change_detector(detector: Detector, beam: Beam, options: DetectorGeometry, *, new_wavelength: bool) -> list[str]:
    """Change a detector; returns what was changed."""
    said = _change_panels(detector, options)
    sensor = options.panel.thickness is not None or options.panel.material is not None
    if new_wavelength or sensor:
        for panel in detector:
            keep = panel.parallax or sensor or not np.isfinite(panel.mu)
            if keep or panel.mu > 0 or beam.is_electron:
                set_sensor(Detector([panel]), beam, panel.material, panel.thickness)
    if options.panel.parallax_correction is not None:
        for panel in detector:
            panel.parallax = options.panel.parallax_correction
    if options.distance is not None:
        _set_distance(detector, options.distance)
        said.append(f"distance {options.distance:g} mm")
    said += _change_beam_centre(detector, beam, options)
    return said


def _change_panels(detector: Detector, options: DetectorGeometry) -> list[str]:
    said = []
    for name in ("pixel_size", "gain", "pedestal", "trusted_range", "thickness", "material"):
        value = getattr(options.panel, name)
        if value is not None:
            for panel in detector:
                setattr(panel, name, value)
            said.append(f"{name.replace('_', ' ')} {value}")
    return said


def _set_distance(detector: Detector, distance: float) -> None:
    """Move all panels along the normal of the first one."""
    first = detector[0]
    known = np.isfinite(first.origin)
    old = float(np.where(known, first.origin, 0.0) @ first.normal)
    for panel in detector:
        lost = ~np.isfinite(panel.origin) & (np.abs(first.normal) > 0.5)
        panel.origin = np.where(lost, 0.0, panel.origin) + (distance - old) * first.normal


def _change_beam_centre(detector: Detector, beam: Beam, options: DetectorGeometry) -> list[str]:
    given = options.fast_slow_beam_centre, options.slow_fast_beam_centre, options.mosflm_beam_centre
    if sum(value is not None for value in given) > 1:
        raise OptionError("Only one of the beam centres can be set.", advice="Leave the others out.")
    fast_slow, slow_fast, mosflm = given
    if mosflm is not None:
        pixel = detector[0].pixel_size
        fast_slow = mosflm[1] / pixel[0], mosflm[0] / pixel[1]
    elif slow_fast is not None:
        fast_slow = (slow_fast[1], slow_fast[0], *slow_fast[2:])
    if fast_slow is None:
        return []
    if len(fast_slow) not in (2, 3):
        raise OptionError("A beam centre needs two numbers, and with several panels the panel's number as the third.")
    if len(fast_slow) == 2 and len(detector) > 1:
        raise OptionError(
            "The detector has several panels.", advice="Give the panel's number as the third value of the beam centre."
        )
    index = int(fast_slow[2]) if len(fast_slow) == 3 else 0
    if not 0 <= index < len(detector):
        raise OptionError(f"The detector has no panel {index}: it has {len(detector)}.")
    _set_beam_centre(detector, index, beam, fast_slow[:2])
    return [f"beam centre {fast_slow[0]:g}, {fast_slow[1]:g} px (fast, slow)"]


def _set_beam_centre(detector: Detector, index: int, beam: Beam, centre: Sequence[float]) -> None:
    """Shift all panels alike so that the beam meets one of them at this pixel."""
    panel = detector[index]
    ray = -beam.direction
    known = np.where(np.isfinite(panel.origin), panel.origin, 0.0)
    point = ray * (known @ panel.normal) / (ray @ panel.normal)
    x, y = centre[0] * panel.pixel_size[0], centre[1] * panel.pixel_size[1]
    shift = point - x * panel.fast_axis - y * panel.slow_axis - known
    for one in detector:
        one.origin = np.where(np.isfinite(one.origin), one.origin, 0.0) + shift


def change_goniometer(goniometer: Goniometer, options: GoniometerGeometry) -> tuple[Goniometer, list[str]]:
    """A goniometer after the user's wishes, and what was changed."""
    said = []
    if options.axis is not None:
        if not np.linalg.norm(options.axis) > 0:
            raise OptionError("geometry.goniometer.axis has no length.")
        goniometer = Goniometer(np.array(options.axis))
        said.append(f"rotation axis {_vector(goniometer.axis)}")
    if options.invert_rotation_axis:
        goniometer.axis_datum = -goniometer.axis_datum + 0.0
        if goniometer.axes is not None:
            goniometer.axes[goniometer.scan_axis] = goniometer.axis_datum
        said.append(f"rotation axis inverted to {_vector(goniometer.axis)}")
    return goniometer, said


def beam_centre(detector: Detector, beam: Beam) -> tuple[int, tuple[float, float]] | None:
    """Panel and pixel (fast, slow) that the beam meets, None where it misses all panels."""
    index, xy = detector.intersect(beam.s0[None])
    if index[0] < 0:
        return None
    panel: Panel = detector[int(index[0])]
    return int(index[0]), (float(xy[0, 0] / panel.pixel_size[0]), float(xy[0, 1] / panel.pixel_size[1]))


def check_complete(path: str, beam: Beam, detector: Detector) -> None:
    """Refuse models with numbers that neither the header nor the user gave.

    Raises
    ------
    DataError
        Naming the image, what is missing and the option that supplies it.
    """
    missing = lacking(beam, detector)
    if missing:
        what = " and ".join(name for name, _ in missing)
        options = " ".join(option for _, option in missing)
        raise DataError(f"The header of {path} has no {what}.", advice=f"Give {options}")


def any_change(options: Geometry) -> bool:
    """Whether the user gave any geometry."""
    return options != Geometry()


def _vector(v: np.ndarray) -> str:
    return ", ".join(f"{x:.4f}" for x in v)
