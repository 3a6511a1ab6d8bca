"""The user's geometry in place of the headers'."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xtal.errors import DataError, OptionError
from xtal.models import Beam, Detector, Group, Panel
from xtal.physics.detectors import beam_of, set_sensor
from xtal.run.formats import lacking
from xtal_steps_import.options import (
    BeamGeometry,
    DetectorGeometry,
    GroupGeometry,
    HierarchyGeometry,
    PanelGeometry,
)


def change_beam(beam: Beam, options: BeamGeometry) -> list[str]:
    """Change a beam; returns what was changed."""
    said = []
    was_electron = beam.is_electron
    if options.wavelength is not None:
        beam.wavelength = options.wavelength
        beam.probe = beam_of(options.wavelength).probe if beam.probe != "neutron" else beam.probe
        said.append(f"wavelength {options.wavelength:g} Å")
    if options.probe is not None:
        beam.probe = options.probe
        said.append(f"probe {options.probe}")
    if beam.is_electron != was_electron or not np.isfinite(beam.polarization_fraction):
        beam.polarization_fraction = 0.5 if beam.is_electron else 0.999
    for name in ("direction", "polarization_normal"):
        value = getattr(options, name)
        if value is not None:
            length = float(np.linalg.norm(value))
            if not length > 0:
                raise OptionError(f"geometry.beam.{name} has no length.")
            setattr(beam, name, np.array(value) / length)
            said.append(f"{name.replace('polarization_', 'polarisation ')} {_vector(getattr(beam, name))}")
    if options.polarization_fraction is not None:
        beam.polarization_fraction = options.polarization_fraction
        said.append(f"polarisation {options.polarization_fraction:g}")
    for name in ("transmission", "flux"):
        value = getattr(options, name)
        if value is not None:
            setattr(beam, name, value)
            said.append(f"{name} {value:g}")
    return said


def change_detector(detector: Detector, beam: Beam, options: DetectorGeometry, *, new_wavelength: bool) -> list[str]:
    """Change a detector: panels, then the tree, the distance and the beam centre; returns what was changed."""
    said = [text for one in options.panel for text in _change_panels(detector, beam, one)]
    if new_wavelength:
        for panel in detector:
            if panel.parallax or panel.mu > 0 or not np.isfinite(panel.mu) or beam.is_electron:
                set_sensor(Detector([panel]), beam, panel.material, panel.thickness)
        for one in options.panel:
            _set_parallax(detector, one)
    said += change_hierarchy(detector, options.hierarchy)
    if options.distance is not None:
        _set_distance(detector, options.distance)
        said.append(f"distance {options.distance:g} mm")
    said += _change_beam_centre(detector, beam, options)
    return said


def _chosen(detector: Detector, options: PanelGeometry) -> list[Panel]:
    if options.id is None:
        return list(detector)
    if options.id >= len(detector):
        raise OptionError(f"The detector has no panel {options.id}: it has {len(detector)}, numbered from 0.")
    return [detector[options.id]]


def _change_panels(detector: Detector, beam: Beam, options: PanelGeometry) -> list[str]:
    said = []
    panels = _chosen(detector, options)
    which = f" of panel {options.id}" if options.id is not None and len(detector) > 1 else ""
    plain = ("name", "type", "pixel_size", "image_size", "gain", "pedestal", "trusted_range", "thickness", "material")
    for name in plain:
        value = getattr(options, name)
        if value is not None:
            for panel in panels:
                setattr(panel, name, value)
            shown = ", ".join(f"{x:g}" for x in value) if isinstance(value, tuple) else value
            said.append(f"{name.replace('_', ' ')}{which} {shown}")
    if options.thickness is not None or options.material is not None:
        for panel in panels:
            set_sensor(Detector([panel]), beam, panel.material, panel.thickness)
    _set_parallax(detector, options)
    if options.parallax_correction is not None:
        said.append(f"parallax correction{which} {options.parallax_correction}")
    frame = options.fast_axis, options.slow_axis, options.origin
    if any(value is not None for value in frame):
        axes = _axes(options.fast_axis, options.slow_axis, options.origin, "panel")
        if len(panels) > 1:
            raise OptionError("Several panels cannot have one place.", advice="Give panel.id= as well.")
        panels[0].fast_axis, panels[0].slow_axis, panels[0].origin = axes
        said.append(f"place{which}: origin {_vector(axes[2])}, fast {_vector(axes[0])}, slow {_vector(axes[1])}")
    return said


def _set_parallax(detector: Detector, options: PanelGeometry) -> None:
    if options.parallax_correction is not None:
        for panel in _chosen(detector, options):
            panel.parallax = options.parallax_correction


Vector = tuple[float, ...] | None


def _axes(fast: Vector, slow: Vector, origin: Vector, what: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A frame from what the user gave: unit axes at right angles."""
    if fast is None or slow is None or origin is None:
        raise OptionError(f"A {what} needs fast_axis, slow_axis and origin together.")
    f, s = np.array(fast, dtype=float), np.array(slow, dtype=float)
    if not np.linalg.norm(f) > 0 or not np.linalg.norm(s) > 0:
        raise OptionError(f"An axis of the {what} has no length.")
    f, s = f / np.linalg.norm(f), s / np.linalg.norm(s)
    if abs(f @ s) > 1e-3:
        raise OptionError(f"fast_axis and slow_axis of the {what} are not at right angles.")
    s = s - (f @ s) * f
    return f, s / np.linalg.norm(s), np.array(origin, dtype=float)


def change_hierarchy(detector: Detector, options: HierarchyGeometry) -> list[str]:
    """Name, make and move groups of panels; what is in a group moves with it."""
    if options == HierarchyGeometry():
        return []
    root = detector.root = detector.root or Group(children=list(range(len(detector))))
    said = _change_group(detector, root, Group(), options, "the detector")
    for one in options.group:
        place = one.id if one.id is not None else (0,)
        group, above = _group_at(root, place)
        for number in one.panel:
            if not 0 <= number < len(detector):
                raise OptionError(f"The detector has no panel {number}: it has {len(detector)}, numbered from 0.")
            _take_out(root, number)
            group.children.append(number)
        said += _change_group(detector, group, above, one, f"group {','.join(map(str, place))}")
    return said


def _group_at(root: Group, place: tuple[int, ...]) -> tuple[Group, Group]:
    """The group of a place in the tree, made where it is the next one there, and the one that holds it."""
    node = above = root
    for depth, number in enumerate(place):
        groups = [child for child in node.children if isinstance(child, Group)]
        if number == len(groups):
            groups.append(Group(node.fast_axis, node.slow_axis, node.origin))
            node.children.append(groups[-1])
        if not 0 <= number < len(groups):
            text = ",".join(map(str, place[: depth + 1]))
            raise OptionError(f"The detector has no group {text}.", advice="Groups are numbered from 0 in their order.")
        above, node = node, groups[number]
    return node, above


def _take_out(group: Group, panel: int) -> None:
    group.children = [child for child in group.children if isinstance(child, Group) or child != panel]
    for child in group.children:
        if isinstance(child, Group):
            _take_out(child, panel)


def _change_group(
    detector: Detector, group: Group, above: Group, options: HierarchyGeometry | GroupGeometry, what: str
) -> list[str]:
    """Give a group the frame of the options, which is told in that of the group above it."""
    if options.name is not None:
        group.name = options.name
    if options.fast_axis is None and options.slow_axis is None and options.origin is None:
        return []
    fast, slow, origin = _axes(options.fast_axis, options.slow_axis, options.origin, what)
    turn = _frame(above) @ np.column_stack([fast, slow, np.cross(fast, slow)]) @ _frame(group).T
    _move(detector, group, turn, above.origin + _frame(above) @ origin - turn @ group.origin)
    return [f"frame of {what}: origin {_vector(origin)}, fast {_vector(fast)}, slow {_vector(slow)}"]


def _frame(group: Group) -> np.ndarray:
    """(3, 3) axes of a group as columns: fast, slow and their normal."""
    return np.column_stack([group.fast_axis, group.slow_axis, np.cross(group.fast_axis, group.slow_axis)])


def _move(detector: Detector, node: Group | int, turn: np.ndarray, shift: np.ndarray) -> None:
    """Turn and shift a group or panel with all that is in it."""
    one = detector[node] if isinstance(node, int) else node
    one.fast_axis, one.slow_axis = turn @ one.fast_axis, turn @ one.slow_axis
    one.origin = turn @ one.origin + shift
    if isinstance(node, Group):
        for child in node.children:
            _move(detector, child, turn, shift)


def _set_distance(detector: Detector, distance: float) -> None:
    """Move all panels along the normal of the first one, which stays on its side of the sample."""
    first = detector[0]
    known = np.isfinite(first.origin)
    old = float(np.where(known, first.origin, 0.0) @ first.normal)
    change = (distance - old if old >= 0 else -distance - old) * first.normal
    for panel in detector:
        lost = ~np.isfinite(panel.origin) & (np.abs(first.normal) > 0.5)
        panel.origin = np.where(lost, 0.0, panel.origin) + change


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
            f"The detector has {len(detector)} panels.",
            advice="Give fast_slow_beam_centre=FAST,SLOW,PANEL with the panel's number, from 0.",
        )
    index = int(fast_slow[2]) if len(fast_slow) == 3 else 0
    if not 0 <= index < len(detector):
        raise OptionError(f"The detector has no panel {index}: it has {len(detector)}.")
    _set_beam_centre(detector, index, beam, fast_slow[:2])
    pixel = detector[index].pixel_size
    mm = f"{fast_slow[1] * pixel[1]:.6g}, {fast_slow[0] * pixel[0]:.6g} mm"
    return [f"beam centre {fast_slow[0]:.6g}, {fast_slow[1]:.6g} px (fast, slow; mosflm: {mm}, slow, fast)"]


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
        what = ", no ".join(name for name, _ in missing)
        options = " ".join(option for _, option in missing)
        raise DataError(f"The header of {path} has no {what}.", advice=f"Give {options}, or leave the image out.")


def _vector(v: np.ndarray) -> str:
    return ", ".join(f"{x:.4f}" for x in v)
