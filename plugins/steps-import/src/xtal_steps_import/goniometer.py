"""The user's goniometer in place of the headers'."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from xtal.errors import OptionError
from xtal.models import Detector, Goniometer
from xtal_steps_import.options import GoniometerGeometry


def change_goniometer(goniometer: Goniometer, options: GoniometerGeometry) -> tuple[Goniometer, list[str]]:
    """A goniometer after the user's wishes, and what was changed.

    Raises
    ------
    OptionError
        If the options contradict one another or the goniometer.
    """
    said: list[str] = []
    if options.axis is not None and options.axes is not None:
        raise OptionError("Both geometry.goniometer.axis and axes are given.", advice="Leave one out.")
    several = (options.axes, options.angles, options.names, options.scan_axis)
    if options.axis is not None:
        goniometer = Goniometer(_vectors(options.axis, "axis")[0])
        said.append("rotation axis")
    elif options.axes is not None and len(options.axes) == 3 and options.scan_axis in (None, 0):
        goniometer = Goniometer(_vectors(options.axes, "axes")[0])
        said.append("rotation axis")
    elif any(value is not None for value in several):
        goniometer = _several(goniometer, options)
        said.append(f"goniometer of {len(options.axes or ()) // 3 or len(goniometer.names)} axes")
    goniometer, more = _rotations(goniometer, options)
    said += more
    if options.invert_rotation_axis:
        goniometer, told = invert(goniometer)
        said.append(told)
    return goniometer, said


def invert(goniometer: Goniometer) -> tuple[Goniometer, str]:
    """The goniometer turning the other way round; one that was inverted before stays as it is."""
    if goniometer.is_inverted:
        return goniometer, "rotation axis, inverted before and left as it is"
    return goniometer.inverted(), "rotation axis inverted"


def _vectors(values: tuple[float, ...], name: str) -> np.ndarray:
    if not values or len(values) % 3:
        raise OptionError(f"geometry.goniometer.{name} needs three numbers for each axis, not {len(values)} in all.")
    vectors = np.array(values, dtype=float).reshape(-1, 3)
    length = np.linalg.norm(vectors, axis=1)
    if not np.all(length > 0):
        raise OptionError(
            f"An axis of geometry.goniometer.{name} has no length.", advice="Give for example axis=-1,0,0."
        )
    return np.asarray(vectors / length[:, None])


def _several(old: Goniometer, options: GoniometerGeometry) -> Goniometer:
    """A goniometer of several axes; what is not given stays as the images have it."""
    if options.axes is not None:
        axes = _vectors(options.axes, "axes")
    elif old.axes is not None:
        axes = old.axes
    else:
        raise OptionError("The images' goniometer has one axis.", advice="Give geometry.goniometer.axes= too.")
    same = old.axes is not None and len(old.axes) == len(axes)
    angles = options.angles if options.angles is not None else (old.angles_deg if same else None)
    scan_axis = options.scan_axis if options.scan_axis is not None else (old.scan_axis if same else None)
    if angles is None or scan_axis is None:
        raise OptionError(
            f"A goniometer of {len(axes)} axes needs the angle of each and which of them turns.",
            advice="Give geometry.goniometer.angles= and geometry.goniometer.scan_axis= (0 is the crystal's).",
        )
    names = list(options.names or (old.names if same else [f"axis_{k}" for k in range(len(axes))]))
    if len(angles) != len(axes) or len(names) != len(axes) or not 0 <= scan_axis < len(axes):
        raise OptionError(
            f"There are {len(axes)} axes, {len(angles)} angles and {len(names)} names, and axis {scan_axis} turns.",
            advice="Give as many of each; axes are numbered from 0.",
        )
    return Goniometer.from_axes(axes, angles, names, int(scan_axis))


def _rotations(goniometer: Goniometer, options: GoniometerGeometry) -> tuple[Goniometer, list[str]]:
    said = []
    for name in ("fixed_rotation", "setting_rotation"):
        value = getattr(options, name)
        if value is None:
            continue
        matrix = np.array(value, dtype=float).reshape(3, 3)
        if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-4) or np.linalg.det(matrix) < 0:
            raise OptionError(f"geometry.goniometer.{name} is no rotation: its rows are not a right-handed frame.")
        if goniometer.axes is not None:
            raise OptionError(
                f"geometry.goniometer.{name} follows from the {len(goniometer.axes)} axes of the goniometer.",
                advice="Give angles=, or axis= for a goniometer of one axis.",
            )
        goniometer = deepcopy(goniometer)
        setattr(goniometer, name, matrix)
        said.append(name.replace("_", " "))
    return goniometer, said


def axis_in_words(goniometer: Goniometer, detector: Detector) -> str:
    """The rotation axis in the laboratory's frame (DIALS, imgCIF) and in the detector's, as XDS has it."""
    panel = detector[0]
    frame = np.array([panel.fast_axis, panel.slow_axis, panel.normal])
    lab, own = (", ".join(f"{x:.4f}" for x in v + 0.0) for v in (goniometer.axis, frame @ goniometer.axis))
    return f"({lab}) in the laboratory (DIALS); ({own}) along fast, slow and their normal (XDS)"
