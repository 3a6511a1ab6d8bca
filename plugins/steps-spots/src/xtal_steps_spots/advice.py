"""Why spots are absurdly many or few, and what to set: looked for in the spots, one image and the models."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.models import Experiment
from xtal.physics.resolution import d_at, highest_resolution
from xtal.physics.spots import ice_rings
from xtal.words import counted

F = NDArray[np.float64]

CELL = 8
"""Pixels along the squares in which the background of an image is measured."""
FEWEST_CELLS = 30
"""Squares with counts without which nothing is said of their scatter."""
CROWDED = 500
"""Pixels of the detector for each spot of an image: with fewer the spots are absurdly many."""
FEW, FEW_PER_IMAGE = 20, 1.0
"""Spots in all and per image: with fewer indexing is unlikely to succeed."""
ICE_WIDTH = 0.004
"""Of a ring, in 1/d**2: spots within are said to lie on it."""
OFTEN = 0.5
"""Part of the images on which no reflection is seen, of stills or of a scan over more than `WIDE`."""
WIDE = 20.0
"""Degrees."""


@frozen
class Background:
    """What an image holds between its spots.

    Attributes
    ----------
    masked : fraction of pixels
    level : median over small squares of the mean, ADU
    dispersion : median over them of variance over mean, or None where too little was counted
    """

    masked: float
    level: float
    dispersion: float | None


def background_of(image: NDArray[Any], mask: NDArray[np.bool_]) -> Background:
    """Measure squares of pixels that are all good.

    Parameters
    ----------
    image, mask : (slow, fast)
    """
    rows, columns = (n // CELL for n in image.shape)
    whole = np.s_[: rows * CELL, : columns * CELL]
    good = mask[whole].reshape(rows, CELL, columns, CELL).all(axis=(1, 3))
    cells = image[whole].reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3)[good].reshape(-1, CELL * CELL)
    masked = 1.0 - float(mask.mean())
    if len(cells) == 0:
        return Background(masked, 0.0, None)
    cells = cells.astype(np.float64)
    mean, variance = cells.mean(axis=1), cells.var(axis=1, ddof=1)
    counted = mean > 4.0 / CELL**2
    enough = np.count_nonzero(counted) >= FEWEST_CELLS
    dispersion = float(np.median(variance[counted] / mean[counted])) if enough else None
    return Background(masked, float(np.median(mean)), dispersion)


def gain_advice(background: Background) -> str:
    """A sentence where the background does not scatter as counted photons do, else ""."""
    g = background.dispersion
    if g is None or 0.6 < g < 1.5:
        return ""
    return f"The background scatters {g:.2g} times as much as counted photons do: set threshold.gain={g:.2g}."


def too_many(n_spots: int, n_images: int, experiment: Experiment) -> bool:
    """Whether there are more spots than crystals give."""
    n_pixels = sum(p.image_size[0] * p.image_size[1] for p in experiment.detector)
    return n_spots > max(n_images * n_pixels / CROWDED, 100)


def too_few(n_spots: int, n_images: int) -> bool:
    """Whether indexing is unlikely to succeed."""
    return n_spots < FEW or n_spots < FEW_PER_IMAGE * n_images


def causes_of_many(
    experiment: Experiment, xyz: F, panel: Any, background: Background | None, n_hot: int, n_often: int
) -> list[str]:
    """Sentences on what may have made too many spots, the likeliest first.

    Parameters
    ----------
    experiment
        Models.
    xyz, panel : (n, 3) px and (n,) of the spots
    background
        Of one image.
    n_hot, n_often
        Pixels that are hot, and further ones that are strong on half of the images, longer than reflections.
    """
    found = [gain_advice(background)] if background else []
    spots, area = on_ice(experiment, xyz, panel)
    if spots > max(0.1, 2.5 * area):
        found.append(
            f"{100 * spots:.0f} % of the spots lie on rings of ice, which cover {100 * area:.0f} % of the detector: "
            "set ice_rings.filter=True."
        )
    if n_hot:
        found.append(
            f"{counted(n_hot, 'pixel is', 'pixels are')} strong on almost every image: set write_hot_mask=True and "
            "lookup.mask=."
        )
    if n_often:
        found.append(
            f"{counted(n_often, 'pixel is', 'pixels are')} strong on half of the images or more, as no reflection is: "
            f"set hot_fraction={OFTEN:g}, write_hot_mask=True and lookup.mask=."
        )
    if background and background.level > 100:
        found.append(f"The background is high ({background.level:.0f} ADU): check the pedestal of the detector.")
    found.append(centre_advice(experiment, xyz, panel))
    return [s for s in found if s] or ["Raise threshold.sigma_strong= or min_spot_size=."]


def outlasts_reflections(experiment: Experiment, n_images: int) -> bool:
    """Whether half of so many images are more than any reflection is seen on."""
    scan = experiment.scan
    return scan is None or experiment.is_still or n_images * abs(scan.oscillation_deg[1]) > WIDE


def causes_of_few(experiment: Experiment, xyz: F, panel: Any, background: Background | None) -> list[str]:
    """Sentences on what may have kept spots from being found; arguments as for `causes_of_many`.

    What may be set to find weaker ones is said where no cause is seen.
    """
    found = []
    if background:
        if background.masked > 0.5:
            found.append(
                f"{100 * background.masked:.0f} % of the pixels are masked: check the mask and the trusted range."
            )
        if background.level == 0 and background.dispersion is None and len(xyz) == 0:
            found.append("The images are blank, or nearly: check the shutter and the beam.")
        found.append(gain_advice(background))
        if background.level > 100:
            found.append(f"The background is high ({background.level:.0f} ADU): check the pedestal of the detector.")
    if len(xyz) >= FEW:
        found.append(centre_advice(experiment, xyz, panel))
    general = "Lower threshold.sigma_strong= or min_spot_size= to find weaker ones."
    if len(xyz) == 0:
        general = "Check the trusted range and the mask; or lower threshold.sigma_background= and sigma_strong=."
    return [s for s in found if s] or [general]


def on_ice(experiment: Experiment, xyz: F, panel: Any) -> tuple[float, float]:
    """Fractions of the spots and of the detector's area that lie on rings of hexagonal ice."""
    limit = highest_resolution(experiment.detector, experiment.beam)
    q = np.array([0.5 * (a**-2 + b**-2) for a, b in ice_rings(limit, width=ICE_WIDTH)])

    def share(number: int, xy: Any) -> F:
        s = d_at(experiment.detector[number], experiment.beam, xy) ** -2
        at = np.clip(np.searchsorted(q, s), 1, len(q) - 1) if len(q) > 1 else np.zeros(len(s), int)
        near = np.minimum(np.abs(s - q[at]), np.abs(s - q[np.maximum(at - 1, 0)]))
        return np.asarray(near < ICE_WIDTH / 2, float)

    if len(q) == 0:
        return 0.0, 0.0
    panel = np.asarray(panel, np.int64)
    numbers = range(len(experiment.detector))
    spots = np.concatenate([share(k, xyz[panel == k, :2]) for k in numbers])
    rng = np.random.default_rng(0)
    area = np.concatenate([share(k, rng.random((1000, 2)) * experiment.detector[k].image_size) for k in numbers])
    return float(spots.mean()) if len(spots) else 0.0, float(area.mean())


def centre_advice(experiment: Experiment, xyz: F, panel: Any) -> str:
    """A sentence where the spots of a single panel lie round another place than the beam, else ""."""
    if len(experiment.detector) != 1 or len(xyz) < FEW:
        return ""
    size = np.array(experiment.detector[0].image_size, float)
    place, hit = experiment.detector[0].intersect(np.asarray(experiment.beam.s0)[None])
    if not hit[0]:
        return "The beam does not hit the detector: check the geometry."
    beam = experiment.detector[0].mm_to_px(place)[0]
    middle = np.median(xyz[:, :2], axis=0)
    if np.all(np.abs(middle - beam) < 0.15 * size):
        return ""
    return (
        f"The spots lie round x, y = {middle[0]:.0f}, {middle[1]:.0f} px, the beam centre is {beam[0]:.0f}, "
        f"{beam[1]:.0f}: check it."
    )
