"""The scan: which images at which rotation angles."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from xtal.models.beam import float_pair, int_pair
from xtal.units import DEG


@define(eq=False)
class Scan:
    """A run of images of equal rotation width.

    ``z`` is the array index of the project: image number n covers [n - 1, n), so the
    scan covers [first - 1, last). phi(z) = phi0 + (z - (first - 1)) dphi.

    Attributes
    ----------
    image_range : (first, last) image numbers, inclusive
    oscillation_deg : (start of the first image, width of an image), degrees
    exposure_times, epochs : (n_images,) seconds
    """

    image_range: tuple[int, int] = field(converter=int_pair)
    oscillation_deg: tuple[float, float] = field(converter=float_pair)
    exposure_times: NDArray[np.float64] | None = None
    epochs: NDArray[np.float64] | None = None
    batch_offset: int = 0
    valid_image_ranges: dict[str, list[list[int]]] = field(factory=dict)
    properties: dict[str, list[Any]] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def n_images(self) -> int:
        return self.image_range[1] - self.image_range[0] + 1

    @property
    def array_range(self) -> tuple[int, int]:
        """(z of the start, z of the end) of the scan."""
        return self.image_range[0] - 1, self.image_range[1]

    @property
    def width(self) -> float:
        """Rotation per image, radian."""
        return self.oscillation_deg[1] * DEG

    @property
    def is_still(self) -> bool:
        return self.oscillation_deg[1] == 0.0

    def phi(self, z: Any) -> Any:
        """Rotation angle (radian) at array index z."""
        return (self.oscillation_deg[0] + (z - self.array_range[0]) * self.oscillation_deg[1]) * DEG

    def z(self, phi: Any) -> Any:
        """Array index at rotation angle phi (radian); the inverse of `phi`, without wrapping."""
        return self.array_range[0] + (phi / DEG - self.oscillation_deg[0]) / self.oscillation_deg[1]

    def cut(self, first: int, last: int) -> Scan:
        """The images numbered ``first`` to ``last`` of this scan, inclusive."""
        start, stop = first - self.image_range[0], last - self.image_range[0] + 1
        if not 0 <= start < stop <= self.n_images:
            raise ValueError(f"images {first} to {last} are not within {self.image_range}")
        part = slice(start, stop)
        return evolve(
            self,
            image_range=(first, last),
            oscillation_deg=(self.oscillation_deg[0] + start * self.oscillation_deg[1], self.oscillation_deg[1]),
            exposure_times=None if self.exposure_times is None else self.exposure_times[part],
            epochs=None if self.epochs is None else self.epochs[part],
            properties={name: values[part] for name, values in self.properties.items()},
        )
