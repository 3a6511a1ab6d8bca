"""What is simulated: crystal, beam, detector and scan of a preset.

The physics, all Gaussian unless said otherwise:

* intensities after Wilson (1949), with systematic absences and an anomalous signal (`intensities`);
* every ray of the beam has its own direction, wavelength and starting point in the crystal, every mosaic
  block its own orientation; all move the rotation angle and the spot to first order (`crossings`);
* expected photons carry Lorentz, polarisation, sensor efficiency, a slowly changing beam and crystal volume,
  radiation decay, and absorption by an oddly shaped crystal; the orientation drifts slowly (`crossings`);
* the rocking curve is integrated over each image, the footprint over each pixel, and photons are absorbed at
  exponentially distributed depths of the sensor (`kernels`);
* background is radially symmetric but for polarisation; gaps, marked bad, dead and hot pixels, and the shadow
  of a beamstop are there (`detector`); counts are Poisson; headers are a little wrong (`cbf`, `nxmx`).
"""

from __future__ import annotations

import math
from typing import Any

import gemmi
import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from xtal.errors import OptionError
from xtal.units import DEG

Array = NDArray[np.float64]

SPINDLE = np.array([1.0, 0.0, 0.0])
FAST = np.array([1.0, 0.0, 0.0])
SLOW = np.array([0.0, -1.0, 0.0])
POLARISATION_NORMAL = np.array([0.0, 1.0, 0.0])
POLARISATION_FRACTION = 0.999


@frozen(kw_only=True)
class Model:
    """Everything that a simulation depends on; angles in degrees, spreads are standard deviations.

    Attributes
    ----------
    unit_cell : angstrom and degree
    d_min : angstrom, reflections beyond it are left out (None: all that the detector sees are there)
    n_images, width, start : the scan, degrees
    image_size : (fast, slow) pixels; pixel, sensor, distance : mm
    module, gap : (fast, slow) pixels
    beam_centre : fraction of the image along (fast, slow)
    mosaicity : of block orientations about each axis; divergence : (horizontal, vertical)
    bandwidth : relative; crystal_size : mm, of the points where rays start
    photons : mean expected photons of a crossing on the detector
    wilson_b, decay_b : square angstrom; the latter is reached at the end of the scan
    anomalous : rms of (F+ - F-) / F
    background : photons per pixel and image where it is strongest
    scale_drift, absorption : relative amplitudes; drift : degrees
    beam_error (px), distance_error (mm) : header minus truth
    """

    name: str
    space_group: str
    unit_cell: tuple[float, ...]
    n_images: int
    width: float
    image_size: tuple[int, int]
    distance: float
    d_min: float | None = None
    start: float = 0.0
    wavelength: float = 0.9763
    pixel: float = 0.172
    sensor: float = 0.32
    module: tuple[int, int] = (487, 195)
    gap: tuple[int, int] = (7, 17)
    beam_centre: tuple[float, float] = (0.503, 0.496)
    mosaicity: float = 0.08
    divergence: tuple[float, float] = (0.02, 0.015)
    bandwidth: float = 1.5e-4
    crystal_size: float = 0.06
    photons: float = 800.0
    wilson_b: float = 18.0
    anomalous: float = 0.06
    background: float = 1.5
    scale_drift: float = 0.08
    decay_b: float = 1.5
    absorption: float = 0.03
    drift: float = 0.03
    beam_error: tuple[float, float] = (0.5, -0.4)
    distance_error: float = 0.12
    bad_pixels: int = 60
    dead_pixels: int = 10
    hot_pixels: int = 10
    seed: int = 1

    @property
    def group(self) -> gemmi.SpaceGroup:
        """The space group.

        Raises
        ------
        OptionError
            If gemmi does not know its name.
        """
        found = gemmi.find_spacegroup_by_name(self.space_group)
        if found is None:
            raise OptionError(f"Unknown space group {self.space_group!r}.", advice="Write it like P43212 or R3:H.")
        return found

    @property
    def cell(self) -> gemmi.UnitCell:
        """The unit cell."""
        return gemmi.UnitCell(*self.unit_cell)

    @property
    def b_matrix(self) -> Array:
        """(3, 3) columns a*, b*, c* (1/angstrom) before rotation; a along x, c* along z."""
        return np.array(self.cell.frac.mat.tolist()).T

    @property
    def resolution(self) -> float:
        """Angstrom, smallest spacing of simulated reflections: `d_min`, else all that the detector sees."""
        if self.d_min is not None:
            return self.d_min
        far = np.maximum(self.beam_px, np.array(self.image_size) - self.beam_px) + 10
        angle = math.atan2(math.hypot(*far) * self.pixel, self.distance)
        return self.wavelength / (2 * math.sin(angle / 2))

    @property
    def u_matrix(self) -> Array:
        """(3, 3) seeded random orientation."""
        w, x, y, z = self._unit_quaternion()
        return np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip

    def _unit_quaternion(self) -> Array:
        q = self.rng("orientation").normal(size=4)
        return q / math.sqrt(float(q @ q))

    @property
    def s0(self) -> Array:
        """(3,) incident wave vector, 1/angstrom."""
        return np.array([0.0, 0.0, -1.0 / self.wavelength])

    @property
    def beam_px(self) -> Array:
        """(2,) pixels where the direct beam meets the detector."""
        return np.array(self.beam_centre) * np.array(self.image_size)

    @property
    def origin(self) -> Array:
        """(3,) mm, laboratory position of the corner of pixel (0, 0)."""
        x, y = self.beam_px * self.pixel
        return np.array([0.0, 0.0, -self.distance]) - x * FAST - y * SLOW

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A generator of its own for each purpose, so that one option does not change the draws of another."""
        words = [byte for part in purpose for byte in str(part).encode()]
        return np.random.default_rng([self.seed, *words])

    def scan_edges(self) -> Array:
        """(n + 1,) positions of the edges of images as fractions of the scan."""
        return np.linspace(0.0, 1.0, self.n_images + 1)

    def misset_table(self) -> Array:
        """(n + 1, 3) rotation vector (degree) of the crystal's drift at the edges of images."""
        phase, turns = self.rng("drift").uniform(0, 2 * np.pi, 3), np.array([0.7, 0.5, 0.9])
        return self.drift * np.sin(2 * np.pi * turns * self.scan_edges()[:, None] + phase)

    def scale_table(self) -> Array:
        """(n + 1,) beam and illuminated volume, about 1."""
        t = self.scan_edges()
        phase = self.rng("scale").uniform(0, 2 * np.pi)
        return 1 + self.scale_drift * (np.sin(2 * np.pi * 1.3 * t + phase) + 0.5 * t - 0.25)

    def decay_table(self) -> Array:
        """(n + 1,) B factor of radiation damage, square angstrom."""
        return self.decay_b * self.scan_edges()

    def rotation_spread(self) -> float:
        """Rough standard deviation (radian) of the rocking curve of a reflection with zeta = 1."""
        return DEG * math.hypot(self.mosaicity, *self.divergence) + self.bandwidth


PRESETS: dict[str, Model] = {
    "demo": Model(
        name="demo", space_group="P 43 21 2", unit_cell=(50.3, 50.3, 37.6, 90, 90, 90), n_images=120, width=0.75,
        image_size=(487, 619), distance=95.0, seed=20,
    ),
    "small": Model(
        name="small", space_group="P 21 21 21", unit_cell=(30.4, 36.1, 43.7, 90, 90, 90), n_images=90, width=1.0,
        image_size=(487, 407), distance=95.0, seed=6,
    ),
    "pilatus_1m": Model(
        name="pilatus_1m", space_group="P 43 21 2", unit_cell=(79.1, 79.1, 38.2, 90, 90, 90), n_images=180, width=0.5,
        image_size=(981, 1043), distance=180.0, mosaicity=0.06, seed=3, bad_pixels=200, dead_pixels=20,
        hot_pixels=20,
    ),
}  # fmt: skip


def preset(name: str, **changes: Any) -> Model:
    """The preset of this name with some of its attributes changed.

    Raises
    ------
    OptionError
        If there is no such preset.
    """
    if name not in PRESETS:
        raise OptionError(f"Unknown preset {name!r}.", advice=f"Choose one of {', '.join(PRESETS)}.")
    return evolve(PRESETS[name], **changes)
