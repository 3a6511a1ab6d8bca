"""What the headers of the families say of beam, detector and rotation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel, Scan, rotation_matrix
from xtal.physics.detectors import beam_of, flat_panel

Models = tuple[Beam, Detector, Goniometer | None, Scan | None]
NAN = float("nan")
X = np.array([1.0, 0.0, 0.0])
UNLIMITED = 2.0**31 - 3


@frozen
class Values:
    """Header of a file as fabio gives it, the image's (slow, fast) shape, and the type of its pixels."""

    header: Mapping[str, Any]
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    path: str

    def number(self, key: str, index: int = 0, factor: float = 1.0) -> float:
        """A number of a key (the one at ``index`` where it has several), NaN where it is not there."""
        value = self.header.get(key)
        words = [] if value is None else str(value).replace(",", " ").split()
        try:
            found = float(words[index]) * factor
        except (ValueError, IndexError):
            return NAN
        if math.isfinite(found):
            notes.read(key, value, key)
        return found if math.isfinite(found) else NAN

    def positive(self, key: str, index: int = 0, factor: float = 1.0) -> float:
        """The same, NaN where it is not above 0."""
        found = self.number(key, index, factor)
        return found if found > 0 else NAN

    @property
    def size(self) -> tuple[int, int]:
        return self.shape[1], self.shape[0]

    def all_values(self) -> tuple[float, float]:
        """Trusted range where the header has no saturation."""
        if self.dtype.kind == "f":
            top = float(np.finfo(np.float32).max)
            return -top, top
        return _to(min(float(np.iinfo(self.dtype).max) - 1.0, UNLIMITED), "what pixels of this type can hold")


def _unpolarised(beam: Beam) -> Beam:
    notes.assumed("polarisation", 0.5, "a laboratory source")
    return evolve(beam, polarization_fraction=0.5)


def _as_usual(beam: Beam) -> Beam:
    """The polarisation that `beam_of` gives is no header's."""
    notes.assumed_polarisation(beam.polarization_fraction)
    return beam


def _to(top: float, why: str) -> tuple[float, float]:
    """A trusted range that is not from the header."""
    notes.assumed("trusted range", (0.0, top), why)
    return 0.0, top


def _single_axis(start: float, width: float, exposure: float, axis: NDArray[np.float64]) -> tuple[Goniometer, Scan]:
    """A rotation to negative angles is one about the opposite axis."""
    if width < 0:
        start, width, axis = -start, -width, -axis + 0.0
    time = np.array([exposure if exposure > 0 else 0.0])
    return Goniometer(axis), Scan((1, 1), (start, float(f"{width:.6g}")), time, np.zeros(1))


def _swing(panel: Panel, axis: NDArray[np.float64], degrees: float) -> None:
    """Turn a panel about an axis through the sample."""
    if degrees and math.isfinite(degrees):
        turn = rotation_matrix(axis, math.radians(degrees))
        panel.fast_axis, panel.slow_axis = turn @ panel.fast_axis, turn @ panel.slow_axis
        if np.isfinite(panel.origin).all():
            panel.origin = turn @ panel.origin


def unknown(values: Values) -> Models:
    """Nothing in the header: all is asked for at import."""
    panel = flat_panel(NAN, (NAN, NAN), values.size, (NAN, NAN), trusted_range=values.all_values())
    return _as_usual(beam_of(NAN)), Detector([panel]), None, None


def mar345(values: Values) -> Models:
    """The plate is read in spirals: the beam is meant to meet its centre, unless CENTER says where it does."""
    pixel = values.positive("PixelLength"), values.positive("PixelHeight")
    centre = [values.positive(f"CENTER_{xy}") for xy in "XY"]
    if not np.all(np.isfinite(centre)):
        centre = [n / 2.0 for n in values.size]
        notes.assumed("beam centre", centre, "the middle of the plate: the header has no CENTER")
    panel = flat_panel(
        values.positive("Distance"),
        (centre[0] * pixel[0], centre[1] * pixel[1]),
        values.size,
        pixel,
        type="SENSOR_IMAGE_PLATE",
        trusted_range=_to(249861.0, "what the scanner can tell"),
    )
    _swing(panel, X, values.number("TwoTheta"))
    beam = _as_usual(beam_of(values.positive("Wavelength")))
    for name in ("Phi", "Omega"):
        start, end = values.number(f"Start{name}"), values.number(f"End{name}")
        if end != start and math.isfinite(end - start):
            notes.assumed("rotation axis", X, f"of {name.lower()}; the header names none")
            return beam, Detector([panel]), *_single_axis(start, end - start, values.number("TIME"), X)
    return beam, Detector([panel]), None, None


def raxis(values: Values) -> Models:
    """Rows run along the spindle's vertical: fast along +y, slow along -x; the spindle is +x.

    Raises
    ------
    DataError
        If the plate is curved.
    """
    if values.number("IP shape") == 1:
        raise DataError(f"The image plate of {values.path} is curved, which xtal does not describe.")
    pixel = values.positive("X Pixel Length"), values.positive("Y Pixel Length")
    fast, slow = np.array([0.0, 1.0, 0.0]), np.array([-1.0, 0.0, 0.0])
    x, y = values.positive("Direct beam X position"), values.positive("Direct beam Y position")
    distance = values.positive("Crystal-to-detector Distance")
    notes.assumed("directions of the plate", "fast +y, slow -x", "usual for R-AXIS")
    panel = Panel(
        fast,
        slow,
        np.array([y * pixel[1], -x * pixel[0], -distance]),
        values.size,
        pixel,
        type="SENSOR_IMAGE_PLATE",
        trusted_range=_to(1e6 - 1, "what the scanner can tell"),
    )
    _swing(panel, X, values.number("2Theta Angle"))
    beam = _unpolarised(beam_of(values.positive("Wavelength")))
    start, end = values.number("Phi Oscillation Start"), values.number("Phi Oscillation Stop")
    if not math.isfinite(end - start):
        return beam, Detector([panel]), None, None
    notes.assumed("rotation axis", X, "the spindle; the header names none")
    exposure = values.number("Exposure Time", factor=60.0)  # minutes
    return beam, Detector([panel]), *_single_axis(start, end - start, exposure, X)


def bruker(values: Values) -> Models:
    """One axis, along which detector and crystal turn; DETTYPE has pixels per cm and the depth of the phosphor."""
    per_cm = values.positive("DETTYPE", 1)
    pixel = 10.0 / per_cm
    distance = values.positive("DISTANC", 1, 10.0)
    if distance != distance:
        depth = values.number("DETTYPE", 2, 10.0)
        distance = values.positive("DISTANC", 0, 10.0) + (depth if depth > 0 else 0.0)
    x, y = values.number("CENTER", 0), values.number("CENTER", 1)
    notes.assumed("directions of the detector", "fast +x, slow -y", "the header names none")
    full = values.positive("CCDPARM", 4)
    limitless = values.number("NOVERFL") > 0 or full != full
    per_photon, per_adu = values.positive("CCDPARM", 2), values.positive("CCDPARM", 1)
    panel = flat_panel(
        distance,
        (x * pixel, y * pixel),
        values.size,
        (pixel, pixel),
        type="SENSOR_CCD",
        trusted_range=_to(UNLIMITED, "higher counts stand in a table") if limitless else (0.0, full - 1.0),
        gain=per_photon / per_adu if math.isfinite(per_photon / per_adu) else 1.0,
    )
    _swing(panel, X, values.number("ANGLES", 0))
    beam = _as_usual(beam_of(values.positive("WAVELEN")))
    start, width = values.number("START"), values.number("INCREME")
    if not width or not math.isfinite(start + width):
        return beam, Detector([panel]), None, None
    notes.assumed("rotation axis", X, "the header names none")
    return beam, Detector([panel]), *_single_axis(start, width, values.number("CUMULAT"), X)


def oxford(values: Values) -> Models:
    """Oxford Diffraction: kappa goniometer, detector on the theta arm; the vertical is y."""
    up = np.array([0.0, -1.0, 0.0])
    pixel = values.positive("Real pixel size x (mm)"), values.positive("Real pixel size y (mm)")
    binning = [max(values.number(f"Binning in {xy}"), 1.0) for xy in "xy"]
    centre = [values.number(f"Beam center {xy}") for xy in "xy"]
    turn = (
        rotation_matrix(up, math.radians(values.number("Theta start in deg")))
        @ rotation_matrix(-X, math.radians(values.number("Detector tilt e2 in deg")))
        @ rotation_matrix(np.array([0.0, 0.0, 1.0]), math.radians(values.number("Detector tilt e1 in deg")))
    )
    origin = np.array(
        [
            -centre[0] * pixel[0] / binning[0],
            -centre[1] * pixel[1] / binning[1],
            -values.positive("Distance in mm"),
        ]
    )
    threshold = values.positive("Overflow threshold")
    gain = values.positive("Gain")
    panel = Panel(
        turn[:, 0],
        turn[:, 1],
        turn @ origin,
        values.size,
        pixel,
        type="SENSOR_CCD",
        trusted_range=(0.0, threshold - 1.0 if threshold > 1 else UNLIMITED),
        gain=gain if gain == gain else 1.0,
    )
    beam = _unpolarised(beam_of(values.positive("Wavelength alpha")))
    return beam, Detector([panel]), *_kappa(values, up)


def _kappa(values: Values, up: NDArray[np.float64]) -> tuple[Goniometer | None, Scan | None]:
    alpha = math.radians(values.number("Alpha angle in deg"))
    axes = np.array([up, [0.0, -math.cos(alpha), math.sin(alpha)], up])
    names = ("Phi", "Kappa", "Omega")
    starts = np.array([values.number(f"{name} start in deg") for name in names])
    ends = np.array([values.number(f"{name} end in deg") for name in names])
    if not np.isfinite([*starts, *ends, alpha]).all():
        return None, None
    turning = [k for k in range(3) if abs(ends[k] - starts[k]) > 1e-6]
    if len(turning) != 1 or names[turning[0]] == "Kappa":
        return None, None
    k = turning[0]
    sign = -1.0 if ends[k] < starts[k] else 1.0
    axes[k] *= sign
    starts[k], ends[k] = sign * starts[k], sign * ends[k]
    notes.assumed("rotation axes", "phi and omega -y, kappa tilted by alpha from them", "the makers' frame")
    scan = Scan(
        (1, 1),
        (float(f"{starts[k]:.9g}"), float(f"{ends[k] - starts[k]:.6g}")),
        np.array([max(values.number("Exposure time in sec"), 0.0)]),
        np.zeros(1),
    )
    return Goniometer.from_axes(axes + 0.0, starts, [name.upper() for name in names], k), scan


def edf(values: Values) -> Models:
    """Keys of the ESRF's convention for scattering, in SI units, where they are."""
    pixel = values.positive("PSize_1", factor=1e3), values.positive("PSize_2", factor=1e3)
    centre = values.number("Center_1") * pixel[0], values.number("Center_2") * pixel[1]
    distance = values.positive("SampleDistance", factor=1e3)
    panel = flat_panel(distance, centre, values.size, pixel, trusted_range=values.all_values())
    wavelength = values.positive("WaveLength", factor=1e10)
    if wavelength != wavelength:
        notes.assumed("wavelength", "none", "the header has no WaveLength")
    return _as_usual(beam_of(wavelength)), Detector([panel]), None, None


MODELS: dict[str, Callable[[Values], Models]] = {
    "mar345": mar345,
    "R-AXIS": raxis,
    "Bruker 86": bruker,
    "Bruker 100": bruker,
    "Oxford Diffraction": oxford,
    "EDF": edf,
    "Esperanto": unknown,
    "Gatan DM3": unknown,
}
