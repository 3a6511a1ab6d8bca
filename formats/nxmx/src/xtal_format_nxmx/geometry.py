"""Models of NXmx files."""

from __future__ import annotations

import warnings
from contextlib import suppress
from typing import Any

import h5py
import numpy as np
from attrs import define
from numpy.typing import NDArray

from xtal.errors import DataError, ImageWarning
from xtal.files import notes
from xtal.models import Beam, Detector, Goniometer, Panel, Scan
from xtal.physics.detectors import beam_of, set_sensor
from xtal.words import counted
from xtal_format_nxmx.bitshuffle import decoder
from xtal_format_nxmx.chunks import NeverWritten, read_by_library
from xtal_format_nxmx.links import member, telling_damage
from xtal_format_nxmx.tree import TO_LAB, Axis, axis_of, chain, children, length_mm, number, numbers_of, text, total

UNEVEN = 0.1
"""Part of the width by which steps may differ before that is told."""

_WEIGHTS = ("incident_wavelength_weights", "incident_wavelength_weight")
MATERIALS = {"si": "Si", "silicon": "Si", "cdte": "CdTe", "cadmium telluride": "CdTe", "gaas": "GaAs"}


@define
class Parts:
    """The groups of an entry that matter."""

    entry: Any
    instrument: Any
    detector: Any
    sample: Any
    beam: Any


def parts_of_entry(entry: Any) -> Parts:
    """Find instrument, detector, sample and beam by their classes."""
    first = lambda group, kind: None if group is None else next(children(group, kind), None)
    instrument, sample = first(entry, "NXinstrument"), first(entry, "NXsample")
    return Parts(
        entry,
        instrument,
        first(instrument, "NXdetector"),
        sample,
        first(instrument, "NXbeam") or first(sample, "NXbeam"),
    )


def beam_model(parts: Parts) -> Beam:
    """Wavelength in angstrom (a spectrum is averaged by its weights); electrons where the source says so."""
    wavelength = float("nan")
    dataset = None if parts.beam is None else member(parts.beam, "incident_wavelength")
    if dataset is not None:
        values = numbers_of(dataset)
        weights = next((w for n in _WEIGHTS if (w := numbers_of(member(parts.beam, n))).size), np.empty(0))
        if weights.size and weights.size == values.size and weights.sum() > 0:
            wavelength = float(np.average(values, weights=weights))
        elif values.size:
            wavelength = float(values[0])
        unit = text(dataset.attrs.get("units")).lower()
        wavelength *= {"nm": 10.0, "m": 1e10, "pm": 0.01}.get(unit, 1.0)
    beam = beam_of(wavelength)
    source = next(children(parts.entry, "NXsource"), None) or (
        next(children(parts.instrument, "NXsource"), None) if parts.instrument is not None else None
    )
    if source is not None and "electron" in text(member(source, "probe")).lower():
        beam.probe, beam.polarization_fraction = "electron", 0.5
    notes.assumed_polarisation(beam.polarization_fraction)
    return beam


def detector_model(parts: Parts, beam: Beam, shape: tuple[int, int], limit: float) -> tuple[Detector, list[Any]]:
    """Panels of the modules, and the (slow, fast) slices of the frame that they are.

    Parameters
    ----------
    shape
        (slow, fast) of a frame.
    limit
        Highest value that is a count.
    """
    modules = list(children(parts.detector, "NXdetector_module"))
    if not modules:
        raise DataError(f"{parts.entry.file.filename} does not say where the modules of its detector are.")
    low = max(number(parts.detector, "underload_value", default=0.0), 0.0)
    high = number(parts.detector, "saturation_value", default=limit + 1.0)
    panels, slices = [], []
    for module in modules:
        panel, part = _panel(parts, module, shape)
        panel.trusted_range = (low, min(high - 1.0, limit))
        panels.append(panel)
        slices.append(part)
    detector = Detector(panels)
    if len(panels) == 1:
        _repair_position(parts, panels[0])
    material = MATERIALS.get(text(member(parts.detector, "sensor_material")).lower(), "")
    set_sensor(detector, beam, material, length_mm(parts.detector, "sensor_thickness", default=0.0))
    return detector, slices


def _panel(parts: Parts, module: Any, shape: tuple[int, int]) -> tuple[Panel, Any]:
    directions = [member(module, f"{name}_pixel_direction") for name in ("fast", "slow")]
    if not all(isinstance(one, h5py.Dataset) for one in directions):
        raise DataError(f"The detector module {module.name} of {module.file.filename} has no pixel directions.")
    fast, slow = map(axis_of, directions)
    frame = total(chain(directions[0]))
    size, origin = _extent(module, shape)
    offset = np.append(fast.offset, 1.0)
    corner = TO_LAB @ (frame @ offset)[:3]
    unit = lambda v: v / np.linalg.norm(v)
    panel = Panel(
        unit(TO_LAB @ frame[:3, :3] @ fast.vector),
        unit(TO_LAB @ frame[:3, :3] @ slow.vector),
        corner,
        (size[1], size[0]),
        (abs(fast.values[0]), abs(slow.values[0])),
        name=module.name,
        raw_image_offset=(origin[1], origin[0]),
    )
    return panel, np.s_[origin[0] : origin[0] + size[0], origin[1] : origin[1] + size[1]]


def _extent(module: Any, shape: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size and origin (slow, fast) of a module in the frame; some writers store them (fast, slow)."""
    size, origin = (
        tuple(int(v) for v in found[-2:]) if found.size >= 2 and np.all(np.abs(found) < 1e6) else default
        for found, default in (
            (numbers_of(member(module, "data_size")), shape),
            (numbers_of(member(module, "data_origin")), (0, 0)),
        )
    )
    for s, o in ((size, origin), (size[::-1], origin[::-1])):
        if min(s) > 0 and min(o) >= 0 and s[0] + o[0] <= shape[0] and s[1] + o[1] <= shape[1]:
            return (s[0], s[1]), (o[0], o[1])
    raise DataError(f"A detector module of {module.file.filename} is larger than the image.")


def _repair_position(parts: Parts, panel: Panel) -> None:
    """Writers that leave the detector's translation to beam_center, or put it before the sample."""
    if np.allclose(panel.origin[:2], 0.0):
        centre = [number(parts.detector, f"beam_center_{xy}") for xy in "xy"]
        if np.all(np.isfinite(centre)) and any(centre):
            panel.origin -= centre[0] * panel.pixel_size[0] * panel.fast_axis
            panel.origin -= centre[1] * panel.pixel_size[1] * panel.slow_axis
    if abs(panel.normal[2]) > 1.0 - 1e-6 and panel.origin[2] > 0:
        notes.assumed("side of the detector", "behind the sample", "the file puts it in front")
        panel.origin[2] = -panel.origin[2]


def goniometer_and_scan(parts: Parts, n_frames: int) -> tuple[Goniometer | None, Scan | None]:
    """Rotation axes from the crystal to the base, and the scan of the one that turns.

    A rotation to negative angles is written as one about the opposite axis.
    """
    axes = [a for a in chain(parts.sample) if a.rotation] if parts.sample is not None else []
    if not axes:
        return None, None
    turning = [k for k, a in enumerate(axes) if a.values.size > 1 and np.ptp(a.values) > 0]
    if len(turning) > 1:
        names = ", ".join(axes[k].name for k in turning)
        raise DataError(f"{parts.entry.file.filename} turns several axes at once: {names}.")
    scan_axis = turning[0] if turning else 0
    start, width = _oscillation(parts.entry.file, axes[scan_axis], n_frames)
    vectors = np.array([TO_LAB @ a.vector for a in axes]) + 0.0
    angles = np.array([a.values[0] for a in axes])
    if width < 0:
        start, width = -start, -width
        vectors[scan_axis], angles[scan_axis] = -vectors[scan_axis] + 0.0, -angles[scan_axis]
    if len(axes) == 1:
        goniometer = Goniometer(vectors[0])
    else:
        goniometer = Goniometer.from_axes(vectors, angles, [a.name for a in axes], scan_axis)
    exposure = number(parts.detector, "frame_time", default=number(parts.detector, "count_time", default=0.0))
    times = np.full(n_frames, exposure, dtype=np.float64)
    return goniometer, Scan((1, n_frames), (start, width), times, exposure * np.arange(n_frames, dtype=np.float64))


def _oscillation(file: Any, axis: Axis, n_frames: int) -> tuple[float, float]:
    values = axis.values[:n_frames]
    start = float(values[0])
    ends = numbers_of(member(file, axis.path + "_end"))[:n_frames]
    if ends.size == values.size:
        width = tidy(float(np.median(ends - values)))
    elif values.size > 1:
        width = tidy(float(np.median(np.diff(values))))
    else:
        return start, 0.0
    if 1 < values.size < n_frames:
        raise DataError(f"{file.filename} has {counted(n_frames, 'image')}, but {values.size} angles in {axis.path}.")
    steps = np.diff(values)
    if width and steps.size and np.abs(steps - width).max() > UNEVEN * abs(width):
        text = f"the angles in {axis.path} are uneven: steps from {steps.min():g} to {steps.max():g} degrees"
        warnings.warn(f"{file.filename}: {text}; {width:g} is taken for all.", ImageWarning, stacklevel=2)
    return start, width


def tidy(value: float) -> float:
    """Without the noise of single precision: 0.10000000149 is 0.1."""
    return float(f"{value:.6g}")


def pixel_mask(detector: Any, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """(slow, fast) mask, True where the file calls a pixel good, or None."""
    for group in (detector, member(detector, "detectorSpecific")):
        found = member(group, "pixel_mask") if isinstance(group, h5py.Group) else None
        if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "iufb":
            continue
        if found.ndim not in (2, 3) or 0 in found.shape:
            continue
        if found.shape[-2:] != shape:
            notes.assumed("pixel mask", "not used", f"{found.name} has {found.shape[-2:]} pixels, images have {shape}")
            continue
        with telling_damage(found.file.filename):
            mask = np.zeros(shape, found.dtype)
            with suppress(NeverWritten):
                (decoder(found) or read_by_library)(found, 0, mask)
        good = mask == 0
        notes.read("pixel mask", f"{good.size - np.count_nonzero(good)} bad pixels", found.name)
        return good
    return None
