"""The goniometer: a chain of rotation axes, one of which turns during a scan."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from xtal.models.beam import unit, vector
from xtal.units import DEG

INVERTED = "xtal_inverted"
"""Key in ``extra`` (and so in files) of a goniometer that turns against what its images say."""


def rotation_matrix(axis: Any, angle: float) -> NDArray[np.float64]:
    """Right-handed rotation by ``angle`` (radian) about ``axis`` (Rodrigues).

    Returns
    -------
    (3, 3) float64
    """
    x, y, z = unit(axis)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


@define(eq=False)
class Goniometer:
    """Axis, fixed rotation F and setting rotation S:  r(phi) = S R(axis_datum, phi) F A h.

    Attributes
    ----------
    axis_datum : (3,) unit vector, the scan axis before S acts
    fixed_rotation, setting_rotation : (3, 3) F and S
    axes : (n, 3) all axes from the crystal to the base, or None for a single axis
    angles_deg : (n,) angles of those axes, degrees; that of the scan axis is not applied
    names : names of the axes
    scan_axis : index of the axis that turns
    setting_at_scan_points : (n_images + 1, 3, 3), where S drifts during the scan
    """

    axis_datum: NDArray[np.float64] = field(default=(1.0, 0.0, 0.0), converter=unit)
    fixed_rotation: NDArray[np.float64] = field(factory=lambda: np.eye(3), converter=vector)
    setting_rotation: NDArray[np.float64] = field(factory=lambda: np.eye(3), converter=vector)
    axes: NDArray[np.float64] | None = None
    angles_deg: NDArray[np.float64] | None = None
    names: list[str] = field(factory=list)
    scan_axis: int = 0
    setting_at_scan_points: NDArray[np.float64] | None = None
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def from_axes(cls, axes: Any, angles_deg: Any, names: list[str], scan_axis: int) -> Goniometer:
        """Multi-axis goniometer, axes from the crystal to the base (design of dxtbx).

        F is the product of the axes inside the scan axis, S that of the axes outside it,
        each with the outermost axis leftmost.
        """
        axes, angles_deg = np.array(axes, dtype=float), np.array(angles_deg, dtype=float)
        fixed, setting = np.eye(3), np.eye(3)
        for k, (axis, angle) in enumerate(zip(axes, angles_deg, strict=True)):
            if k < scan_axis:
                fixed = rotation_matrix(axis, angle * DEG) @ fixed
            elif k > scan_axis:
                setting = rotation_matrix(axis, angle * DEG) @ setting
        return cls(axes[scan_axis], fixed, setting, axes, angles_deg, list(names), scan_axis)

    @property
    def axis(self) -> NDArray[np.float64]:
        """(3,) the scan axis in the laboratory, S axis_datum."""
        return self.setting_rotation @ self.axis_datum

    @property
    def is_inverted(self) -> bool:
        """Whether the scan axis was inverted against what the images say."""
        return bool(self.extra.get(INVERTED))

    def inverted(self) -> Goniometer:
        """The goniometer turning the other way round; axes that stand still stay as they are."""
        axes = None if self.axes is None else self.axes.copy()
        if axes is not None:
            axes[self.scan_axis] *= -1.0
        extra = {key: value for key, value in self.extra.items() if key != INVERTED}
        if not self.is_inverted:
            extra[INVERTED] = True
        return evolve(self, axis_datum=-self.axis_datum + 0.0, axes=axes, extra=extra)
