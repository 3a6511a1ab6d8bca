"""Goniometer and scan."""

from __future__ import annotations

from xtal.errors import DataError
from xtal.files import notes
from xtal.models import Goniometer
from xtal_format_cbf_imgcif.axes import Axes, Axis


def goniometer_of(axes: Axes) -> tuple[Goniometer, tuple[float, float]] | None:
    """The goniometer and the oscillation (start, width in degrees); None where nothing turns the sample.

    A scan in the negative sense about an axis is one in the positive sense about its opposite.

    Raises
    ------
    DataError
        If two axes turn at a time.
    """
    chain = _chain(axes)
    if not chain:
        return None
    turning = [k for k, axis in enumerate(chain) if axis.increment != 0]
    if len(turning) > 1:
        names = " and ".join(chain[k].name for k in turning)
        raise DataError(f"The axes {names} turn together in {axes.path}; a scan has one axis.")
    scan_axis = turning[0] if turning else 0
    vectors = [axis.vector for axis in chain]
    angles = [axis.setting for axis in chain]
    width = chain[scan_axis].increment
    if width < 0:
        vectors[scan_axis], angles[scan_axis], width = -vectors[scan_axis], -angles[scan_axis], -width
    for k, axis in enumerate(chain):
        which = "rotation axis" if k == scan_axis else "axis of the goniometer"
        notes.read(which, axis.vector, f"_axis {axis.name}, at {axis.setting:g} degrees")
    notes.read("width of an image", chain[scan_axis].increment, "_diffrn_scan_axis.angle_increment")
    goniometer = Goniometer.from_axes(vectors, angles, [axis.name for axis in chain], scan_axis)
    return goniometer, (angles[scan_axis], width)


def _chain(axes: Axes) -> list[Axis]:
    """Rotation axes from the crystal to the base; of several chains the one that turns, else the longest."""
    chains = []
    for axis in axes:
        if axis.equipment == "goniometer":
            chain = [a for a in axes.chain(axis.name) if a.equipment == "goniometer" and a.type == "rotation"]
            if any(not a.vector.any() for a in chain):
                raise DataError(f"An axis of the goniometer in the header of {axes.path} has no direction.")
            chains.append(chain)
    return max(chains, key=lambda chain: (any(a.increment for a in chain), len(chain)), default=[])
