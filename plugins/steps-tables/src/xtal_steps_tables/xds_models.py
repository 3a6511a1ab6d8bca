"""From the geometry of XDS to an experiment in the laboratory frame.

XDS counts pixels from 1 at their centres, the laboratory frame from 0 at their corners: x_lab = x_xds - 0.5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Beam, Crystal, Detector, Experiment, Goniometer, Images, Panel, Scan
from xtal.models.space_groups import space_group_of
from xtal.physics.attenuation import attenuation
from xtal.units import DEG
from xtal_steps_tables.outputs import derived_identifier
from xtal_steps_tables.xds_files import Geometry, Segment, keywords, numbers, read_text, varying_axes

F = NDArray[np.float64]
PIXEL_ARRAYS = ("PILATUS", "EIGER")
ORIGIN = 0.5
"""XDS's coordinate of a pixel's centre less ours."""


def to_laboratory(geometry: Geometry) -> F:
    """(3, 3) turns XDS's frame so that the axis is +X and the source as near to +Z as it can be."""
    source, axis = -geometry.beam / np.linalg.norm(geometry.beam), geometry.axis / np.linalg.norm(geometry.axis)
    across = source - (source @ axis) * axis
    across /= np.linalg.norm(across)
    return np.array([axis, np.cross(across, axis), across])


def experiment_of(geometry: Geometry, xds_inp: Path) -> Experiment:
    """The experiment: geometry from the file of the models, images, mask and sensor from XDS.INP.

    Raises
    ------
    DataError
        If XDS.INP lacks what is needed, or the geometry makes no sense.
    """
    keys = keywords(read_text(xds_inp))
    if min(geometry.wavelength, *geometry.size, *geometry.pixel) <= 0 or not np.linalg.norm(geometry.axis):
        raise DataError(f"The geometry of XDS beside {xds_inp} has a wavelength, a size or an axis that is no length.")
    turn = to_laboratory(geometry)
    beam = Beam(
        geometry.wavelength,
        -turn @ geometry.beam,
        sigma_divergence=(geometry.divergence or 0.0) * DEG,
        polarization_fraction=float(numbers(keys, "FRACTION_OF_POLARIZATION", 1, xds_inp, np.array([0.5]))[0]),
    )
    normal = numbers(keys, "POLARIZATION_PLANE_NORMAL", 3, xds_inp, np.array([0.0, 1.0, 0.0]))
    beam.polarization_normal = turn @ normal / np.linalg.norm(normal)
    scan = _scan(geometry, keys, xds_inp)
    crystal = None
    if geometry.real_axes is not None:
        crystal = Crystal(np.linalg.inv(geometry.real_axes @ turn.T), mosaicity_deg=geometry.mosaicity)
        try:
            crystal.space_group = space_group_of(str(geometry.space_group))
        except ValueError as error:
            raise DataError(f"The geometry of XDS beside {xds_inp}: {error}.") from None
    template = _template(keys, xds_inp)
    return Experiment(
        beam=beam,
        detector=_detector(geometry, keys, xds_inp, turn),
        goniometer=Goniometer((1.0, 0.0, 0.0)),
        scan=scan,
        crystal=crystal,
        images=Images(template),
        identifier=derived_identifier("xds", template, scan.image_range),
    )


def _scan(geometry: Geometry, keys: dict[str, list[str]], path: Path) -> Scan:
    first, last = numbers(keys, "DATA_RANGE", 2, path).astype(int).tolist()
    if last < first or last - first > 10_000_000:
        raise DataError(f"{path} has DATA_RANGE= {first} {last}, which is no range of images.")
    start = geometry.start_angle + (first - geometry.start_frame) * geometry.width
    n = last - first + 1
    return Scan((first, last), (start, geometry.width), np.ones(n), np.arange(n, dtype=float))


def _template(keys: dict[str, list[str]], path: Path) -> str:
    """Path of the images with # for ? (of an HDF5 file: its master)."""
    words = (keys.get("NAME_TEMPLATE_OF_DATA_FRAMES") or [""])[-1].split()
    if not words:
        raise DataError(f"{path} lacks the keyword NAME_TEMPLATE_OF_DATA_FRAMES=.")
    name = words[0].replace("?", "#")
    if name.endswith("h5"):
        name = name.replace("######", "master")
    return str(path.parent.absolute() / name)


def _detector(geometry: Geometry, keys: dict[str, list[str]], path: Path, turn: F) -> Detector:
    low = float(numbers(keys, "MINIMUM_VALID_PIXEL_VALUE", 1, path, np.zeros(1))[0])
    high = float(numbers(keys, "OVERLOAD", 1, path)[0])
    name = (keys.get("DETECTOR") or [""])[-1].split()
    sensor: dict[str, Any] = {}
    if "SILICON" in keys or (name and name[0].upper() in PIXEL_ARRAYS):
        given = numbers(keys, "SILICON", 1, path, np.array([-1.0]))[0]
        sensor = {
            "material": "Si",
            "mu": float(given) if given > 0 else attenuation("Si", geometry.wavelength),
            "thickness": float(numbers(keys, "SENSOR_THICKNESS", 1, path, np.zeros(1))[0]),
        }
    x, y = geometry.x_axis, geometry.y_axis
    detector_axes = np.column_stack([x, y, np.cross(x, y)])
    org, pixel = np.array(geometry.org) - ORIGIN, np.array(geometry.pixel)
    origin = turn @ (detector_axes @ np.array([*(-org * pixel), geometry.distance]))
    rectangles = [numbers({"": [text]}, "", 4, path).astype(int) for text in keys.get("UNTRUSTED_RECTANGLE", [])]
    whole = Segment((1, geometry.size[0], 1, geometry.size[1]))
    panels = []
    for k, segment in enumerate(geometry.segments if len(geometry.segments) > 1 else [whole]):
        axes = np.column_stack([segment.x_axis, segment.y_axis, np.cross(segment.x_axis, segment.y_axis)])
        x1, x2, y1, y2 = segment.pixels
        shift = -(np.array(segment.origin) - (x1 - 1, y1 - 1)) * pixel
        frame = turn @ detector_axes @ axes
        place = turn @ detector_axes @ axes @ np.array([*shift, segment.distance])
        panels.append(
            Panel(
                frame[:, 0],
                np.cross(np.cross(frame[:, 0], frame[:, 1]), frame[:, 0]),
                origin + place,
                image_size=(x2 - x1 + 1, y2 - y1 + 1),
                pixel_size=geometry.pixel,
                trusted_range=(low, high),
                name=f"Panel{k}" if len(geometry.segments) > 1 else "Panel",
                parallax=bool(sensor),
                raw_image_offset=(x1 - 1, y1 - 1),
                mask=_mask(rectangles, segment),
                **sensor,
            )
        )
    return Detector(panels)


def _mask(rectangles: list[NDArray[np.int64]], segment: Segment) -> list[tuple[int, int, int, int]]:
    """Untrusted rectangles on a segment: XDS excludes x1 < x < x2, counted from 1; ours are half open from 0."""
    x1, x2, y1, y2 = segment.pixels
    found = []
    for left, right, bottom, top in rectangles:
        a, b = max(left, x1 - 1) - (x1 - 1), min(right - 1, x2) - (x1 - 1)
        c, d = max(bottom, y1 - 1) - (y1 - 1), min(top - 1, y2) - (y1 - 1)
        if a < b and c < d:
            found.append((int(a), int(c), int(b), int(d)))
    return found


def vary_crystal(experiment: Experiment, geometry: Geometry, integrate_lp: Path) -> None:
    """Give the crystal the cell and orientation of each block of images that INTEGRATE.LP lists.

    Raises
    ------
    DataError
        If the blocks do not cover the scan.
    """
    crystal, scan = experiment.crystal, experiment.scan
    assert crystal is not None and scan is not None
    turn, (first, last) = to_laboratory(geometry), scan.image_range
    settings: dict[int, F] = {}
    for start, end, axes in varying_axes(integrate_lp):
        setting = np.asarray(np.linalg.inv(axes @ turn.T), dtype=np.float64)
        settings.update(dict.fromkeys(range(max(start, first), min(end, last) + 1), setting))
    missing = [n for n in range(first, last + 1) if n not in settings]
    if missing:
        raise DataError(f"{integrate_lp} says nothing of image {missing[0]} of the scan {first} to {last}.")
    # one setting per boundary of images: that of the block that begins there
    points = [settings[n] for n in range(first, last + 1)]
    crystal.A_at_scan_points = np.array([*points, points[-1]])
