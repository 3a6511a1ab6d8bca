"""The truth behind the images: what was expected of every crossing, and the merged intensities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict, define, field

from xtal.files.atomic import writing
from xtal_steps_simulate.crossings import Crossings
from xtal_steps_simulate.detector import NODE_WEIGHTS, attenuation
from xtal_steps_simulate.intensities import Integers, Intensities
from xtal_steps_simulate.model import FAST, POLARISATION_FRACTION, POLARISATION_NORMAL, SLOW, SPINDLE, Array, Model


@define(eq=False)
class Tally:
    """Sums over images for every crossing; images must be added in order for the last bit to be the same."""

    n: int
    share: Array = field(init=False)
    share_z: Array = field(init=False)
    good: Array = field(init=False)
    drawn: Array = field(init=False)
    information: Array = field(init=False)
    images: Integers = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name in ("share", "share_z", "good", "drawn", "information"):
            setattr(self, name, np.zeros(self.n))
        self.images = np.zeros(self.n, dtype=np.int64)

    def add(self, frame: int, rows: Integers, out: Array) -> None:
        """Add what `kernels.draw_spots` noted of one image; rows are distinct."""
        self.share[rows] += out[:, 0]
        self.share_z[rows] += out[:, 0] * (frame + 0.5)
        self.good[rows] += out[:, 1]
        self.drawn[rows] += out[:, 2]
        self.information[rows] += out[:, 3]
        self.images[rows] += out[:, 0] > 0


def truth_columns(model: Model, crossings: Crossings, tally: Tally, bg: Array) -> dict[str, Any]:
    """Columns of ``truth.npz``, one row per crossing."""
    mean_depth = crossings.depth @ NODE_WEIGHTS
    xyz = crossings.xyz.copy()
    xyz[:, :2] += crossings.shift * mean_depth[:, None]
    expected = crossings.photons * tally.share
    c = crossings.covariance
    fixed = c[:, :2, :2] - c[:, :2, 2:] * c[:, 2:, :2] / c[:, 2:, 2:]
    pixel = np.clip(np.floor(xyz[:, :2]).astype(int), 0, np.array(model.image_size) - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        centroid = np.where(tally.share > 0, tally.share_z / tally.share, xyz[:, 2])
        limit = np.where(tally.information > 0, expected / np.sqrt(tally.information), np.inf)
        good_fraction = np.where(expected > 0, tally.good / expected, 0.0)
    return {
        "hkl": crossings.hkl.astype(np.int32),
        "lattice": np.zeros(len(crossings), dtype=np.int8),
        "entering": crossings.entering,
        "xyz_px": xyz,
        "s1": crossings.s1,
        "zeta": crossings.zeta,
        "d": crossings.d,
        "full_counts": crossings.photons,
        "expected_counts": expected,
        "expected_good": tally.good,
        "drawn_good": tally.drawn.astype(np.int64),
        "sigma_limit": limit,
        "good_fraction": good_fraction,
        "partiality": tally.share,
        "n_images": tally.images,
        "z_centroid": centroid,
        "sigma_frame": np.sqrt(c[:, 2, 2]),
        "sigma_px": np.sqrt(fixed[:, [0, 1], [0, 1]]),
        "background": bg[pixel[:, 1], pixel[:, 0]],
        "lorentz": crossings.lorentz,
        "polarisation": crossings.polarisation,
        "efficiency": crossings.efficiency,
        "scale": crossings.scale,
        "merged_index": crossings.unique.astype(np.int32),
        "is_plus": crossings.plus,
    }


def describe(model: Model, images: str) -> dict[str, Any]:
    """Content of ``truth.json``."""
    return {
        "name": model.name,
        "program": "xtal simulate",
        "preset": asdict(model),
        "images": images,
        "n_images": model.n_images,
        "space_group": model.group.xhm(),
        "cell": list(model.unit_cell),
        "B": model.b_matrix.tolist(),
        "U": [model.u_matrix.tolist()],
        "A": [(model.u_matrix @ model.b_matrix).tolist()],
        "beam": {
            "s0": model.s0.tolist(),
            "wavelength": model.wavelength,
            "polarisation_normal": POLARISATION_NORMAL.tolist(),
            "polarisation_fraction": POLARISATION_FRACTION,
        },
        "spindle": SPINDLE.tolist(),
        "scan": {"start_deg": model.start, "width_deg": model.width, "n_images": model.n_images},
        "detector": {
            "origin_mm": model.origin.tolist(),
            "fast": FAST.tolist(),
            "slow": SLOW.tolist(),
            "pixel_mm": model.pixel,
            "size_px": list(model.image_size),
            "sensor_mm": model.sensor,
            "mu_per_mm": attenuation(model),
        },
        "drift": {
            "misset_deg": model.misset_table().tolist(),
            "scale": model.scale_table().tolist(),
            "decay_b": model.decay_table().tolist(),
        },
    }


def write_truth(
    directory: Path, meta: dict[str, Any], columns: dict[str, Any], intensities: Intensities, status: Any
) -> None:
    """Write ``truth.npz`` and ``truth.json``, the latter last: where it is, the data set is whole."""
    merged: dict[str, Any] = {
        "merged_hkl": intensities.hkl.astype(np.int32),
        "merged_i_plus": intensities.plus,
        "merged_i_minus": intensities.minus,
        "merged_centric": intensities.centric,
    }
    with writing(directory / "truth.npz") as path, open(path, "wb") as stream:
        np.savez_compressed(stream, **columns, **merged, pixel_status=status)
    with writing(directory / "truth.json") as path:
        path.write_text(json.dumps(meta, indent=1))
