"""The detector: flat panels, in a tree of groups that move together."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from xtal.models.beam import float_pair, int_pair, vector

Array = NDArray[np.float64]


@define(eq=False)
class Panel:
    """A flat rectangle of pixels. Pixel (i, j) covers [i, i+1) x [j, j+1) in (fast, slow).

    Attributes
    ----------
    fast_axis, slow_axis : (3,) unit vectors, laboratory frame
    origin : (3,) mm, laboratory position of the outer corner of pixel (0, 0)
    image_size : (fast, slow) pixels
    pixel_size : (fast, slow) mm
    trusted_range : (lowest, highest) good value, both inclusive
    thickness : of the sensor, mm
    material : "Si", "CdTe", ...
    mu : linear attenuation coefficient at the beam's wavelength, 1/mm
    parallax : whether positions are corrected for the depth of absorption
    mask : untrusted rectangles (fast0, slow0, fast1, slow1), half open
    gain : ADU per photon, as the file has it: 0 where it is not known (`adu_per_photon`); pedestal : ADU
    """

    fast_axis: Array = field(converter=vector)
    slow_axis: Array = field(converter=vector)
    origin: Array = field(converter=vector)
    image_size: tuple[int, int] = field(converter=int_pair)
    pixel_size: tuple[float, float] = field(converter=float_pair)
    trusted_range: tuple[float, float] = field(default=(0.0, 65535.0), converter=float_pair)
    name: str = "Panel"
    type: str = "SENSOR_PAD"
    thickness: float = 0.0
    material: str = ""
    mu: float = 0.0
    parallax: bool = False
    mask: list[tuple[int, int, int, int]] = field(factory=list)
    gain: float = 1.0
    pedestal: float = 0.0
    identifier: str = ""
    raw_image_offset: tuple[int, int] = (0, 0)
    extra: dict[str, Any] = field(factory=dict)

    @property
    def adu_per_photon(self) -> float:
        """What counts are divided by: the gain, or 1 where it is 0, as files write what they do not know."""
        return self.gain or 1.0

    @property
    def normal(self) -> Array:
        """(3,) fast x slow."""
        return np.cross(self.fast_axis, self.slow_axis)

    @property
    def distance(self) -> float:
        """Distance of the panel's plane from the sample, mm."""
        return abs(self.directed_distance)

    @property
    def directed_distance(self) -> float:
        """The same along the normal, mm: negative where fast x slow points to the sample."""
        return float(self.origin @ self.normal)

    @property
    def d_matrix(self) -> Array:
        """(3, 3) columns fast, slow, origin: lab point = d (x_mm, y_mm, 1)."""
        return np.column_stack([self.fast_axis, self.slow_axis, self.origin])

    def lab(self, xy_mm: Array) -> Array:
        """(..., 3) laboratory points (mm) of (..., 2) positions on the panel (mm)."""
        xy = np.asarray(xy_mm, dtype=float)
        return self.origin + xy[..., :1] * self.fast_axis + xy[..., 1:2] * self.slow_axis

    def px_to_mm(self, xy_px: Array) -> Array:
        """(..., 2) pixels to mm, corrected for parallax where the panel asks for it."""
        xy = np.asarray(xy_px, dtype=float) * np.array(self.pixel_size)
        return xy - self._parallax_shift(xy)

    def mm_to_px(self, xy_mm: Array) -> Array:
        """(..., 2) mm to pixels: the shift is evaluated at the true position (as in DIALS)."""
        xy = np.asarray(xy_mm, dtype=float)
        return (xy + self._parallax_shift(xy)) / np.array(self.pixel_size)

    def _parallax_shift(self, xy_mm: Array) -> Array:
        """Shift (mm) of the mean detected position along the ray's projection on the panel."""
        if not self.parallax or self.mu <= 0 or self.thickness <= 0:
            return np.zeros_like(xy_mm)
        s = self.lab(xy_mm)
        s /= np.linalg.norm(s, axis=-1, keepdims=True)
        normal = self.normal if self.directed_distance >= 0 else -self.normal
        path = self.thickness / (s @ normal)
        depth = 1 / self.mu - (path + 1 / self.mu) * np.exp(-self.mu * path)
        return depth[..., None] * np.stack([s @ self.fast_axis, s @ self.slow_axis], axis=-1)

    def intersect(self, s1: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Where rays from the sample meet the panel's plane.

        Parameters
        ----------
        s1 : (n, 3)

        Returns
        -------
        xy_mm : (n, 2)
        hit : (n,) whether the ray goes towards the plane and falls on the panel
        """
        v = np.asarray(s1, dtype=float) @ np.linalg.inv(self.d_matrix).T
        with np.errstate(divide="ignore", invalid="ignore"):
            xy = v[:, :2] / v[:, 2:]
        size = np.array(self.image_size) * np.array(self.pixel_size)
        return xy, (v[:, 2] > 0) & np.all((xy >= 0) & (xy < size), axis=1)

    def s1(self, xy_px: Array, wavelength: float) -> Array:
        """(n, 3) diffracted wave vectors (1/angstrom) of pixel positions (n, 2)."""
        s = self.lab(self.px_to_mm(xy_px))
        return s / (np.linalg.norm(s, axis=-1, keepdims=True) * wavelength)


@define(eq=False)
class Group:
    """A node of the tree: a frame (laboratory), and children that are groups or panel numbers."""

    fast_axis: Array = field(default=(1.0, 0.0, 0.0), converter=vector)
    slow_axis: Array = field(default=(0.0, 1.0, 0.0), converter=vector)
    origin: Array = field(default=(0.0, 0.0, 0.0), converter=vector)
    name: str = ""
    type: str = ""
    children: list[Group | int] = field(factory=list)
    extra: dict[str, Any] = field(factory=dict)


@define(eq=False)
class Detector:
    """Panels in the order of their numbers, and the tree that holds them.

    Panels carry their laboratory frames; files store them relative to their group.
    """

    panels: list[Panel]
    root: Group | None = None
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.panels)

    def __iter__(self) -> Any:
        return iter(self.panels)

    def __getitem__(self, index: int) -> Panel:
        return self.panels[index]

    def intersect(self, s1: Array) -> tuple[NDArray[np.int64], Array]:
        """Panel and position hit by each ray; of several panels the nearest one.

        Returns
        -------
        panel : (n,) int64, -1 where no panel is hit
        xy_mm : (n, 2)
        """
        s1 = np.asarray(s1, dtype=float)
        panel, xy, nearest = np.full(len(s1), -1), np.zeros((len(s1), 2)), np.zeros(len(s1))
        for k, p in enumerate(self.panels):
            xy_k, hit = p.intersect(s1)
            closeness = s1 @ np.linalg.inv(p.d_matrix)[2]
            better = hit & (closeness > nearest)
            panel[better], xy[better], nearest[better] = k, xy_k[better], closeness[better]
        return panel, xy
