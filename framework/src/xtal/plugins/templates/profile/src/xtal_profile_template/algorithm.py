"""Reflections as Gaussians in pixels and images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from xtal.errors import AlgorithmFailed
from xtal.hooks.protocols import HeldBoxes, ProfileEstimate, ProfileFit
from xtal.models import Experiment
from xtal.table import MaskBit, ReflectionTable
from xtal_profile_template.options import TemplateOptions

F = NDArray[np.float64]


def distances(bbox: NDArray[np.int32], centre: F) -> tuple[F, F, F]:
    """z, y, x of a box's voxels from the reflection, shaped to be combined to (nz, ny, nx)."""
    z, y, x = (np.arange(bbox[2 * k], bbox[2 * k + 1]) + 0.5 - centre[k] for k in (2, 1, 0))
    return z[:, None, None], y[:, None], x


def moments(counts: F, bbox: NDArray[np.int32], centre: F, zeta: float) -> tuple[float, float]:
    """Second moments on the detector (pixels squared) and along the scan (images squared, at zeta 1).

    A voxel is as wide as its distance to the next: 1/12 of the moments is its own.
    """
    z, y, x = distances(bbox, centre)
    total = max(float(counts.sum()), 1.0)
    on_detector = float((counts * (x * x + y * y)).sum() / total / 2) - 1 / 12
    return on_detector, (float((counts * z * z).sum() / total) - 1 / 12) * zeta**2


def widths(found: list[tuple[float, float]]) -> tuple[float, float]:
    """Standard deviations from the moments of many spots, within reason."""
    on_detector, along_scan = np.sqrt(np.maximum(np.mean(found, axis=0), (0.2**2, 0.02**2)))
    return float(on_detector), float(along_scan)


def sizes(experiment: Experiment) -> tuple[float, float]:
    """The widths of an experiment, on the detector (pixels) and along the scan (images, for zeta 1)."""
    profile = experiment.profile or {}
    if profile.get("__id__") != "template":
        raise AlgorithmFailed(
            "The experiment has no profile of the model template.", advice="Integrate with create_profile_model=True."
        )
    return float(profile["sigma_px"]), float(profile["sigma_z"])


class TemplateProfile:
    """One width on the detector and one along the scan (`xtal.hooks.protocols.ProfileModel`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def estimate(self, experiment: Experiment, spots: ReflectionTable) -> ProfileEstimate:
        """The mean moments of the spots."""
        if len(spots) < self.options.min_spots:
            raise AlgorithmFailed(
                f"The profile template needs {self.options.min_spots} strong spots and has {len(spots)}.",
                advice="Find more spots, or lower min_spots.",
            )
        boxes, found = spots["shoebox"], []
        for i in range(len(spots)):
            data, mask, _ = boxes.box(i)
            own = np.where(mask & MaskBit.FOREGROUND, data, 0.0).astype(float)
            found.append(moments(own, boxes.bbox[i], spots["xyzcal.px"][i], spots["zeta"][i]))
        on_detector, along_scan = widths(found)
        profile = {"__id__": "template", "sigma_px": on_detector, "sigma_z": along_scan}
        return ProfileEstimate(profile, len(spots), [])

    def bbox(self, experiment: Experiment, table: ReflectionTable, margin: float) -> NDArray[np.int32]:
        """(n, 6) boxes, cut at the ends of the scan."""
        (on_detector, along_scan), xyz = sizes(experiment), table["xyzcal.px"]
        assert experiment.scan is not None
        half = np.empty((len(xyz), 3))
        half[:, :2] = self.options.n_sigma * on_detector * margin
        half[:, 2] = self.options.n_sigma * along_scan / np.abs(table["zeta"])
        low, high = np.floor(xyz - half), np.ceil(xyz + half)
        first, last = experiment.scan.array_range
        low[:, 2], high[:, 2] = np.clip(low[:, 2], first, last - 1), np.clip(high[:, 2], first + 1, last)
        return np.stack([low, high], axis=2).reshape(len(xyz), 6).astype(np.int32)

    def partiality(self, experiment: Experiment, table: ReflectionTable) -> F:
        """(n,) part of the Gaussian along the scan between the ends of the box."""
        z, bbox = table["xyzcal.px"][:, 2], table["bbox"]
        sigma = sizes(experiment)[1] / np.abs(table["zeta"])
        return np.asarray(ndtr((bbox[:, 5] - z) / sigma) - ndtr((bbox[:, 4] - z) / sigma))

    def footprint(self, experiment: Experiment, table: ReflectionTable) -> NDArray[np.uint8]:
        """A disk about each reflection."""
        radius = self.options.n_sigma * sizes(experiment)[0]
        layers = [np.empty(0, dtype=np.uint8)]
        for bbox, centre in zip(table["bbox"], table["xyzcal.px"], strict=True):
            _, y, x = distances(bbox, centre)
            layers.append((x * x + y * y <= radius**2).astype(np.uint8).ravel())
        return np.concatenate(layers)

    def references(self, experiment: Experiment) -> TemplateReferences:
        """The widths, to be learned once more from integrated spots."""
        return TemplateReferences(sizes(experiment))


class TemplateReferences:
    """Widths for the whole scan (`xtal.hooks.protocols.ProfileReferences`)."""

    n_blocks = 1

    def __init__(self, sigma: tuple[float, float]) -> None:
        self.sigma = sigma

    def block_of(self, z: F) -> NDArray[np.int64]:
        """(n,) zeros: there is one block."""
        return np.zeros(len(z), dtype=np.int64)

    def learn(self, block: int, table: ReflectionTable, boxes: HeldBoxes) -> NDArray[np.bool_]:
        """The mean moments of spots of at least 100 counts."""
        used, found = np.zeros(len(table), dtype=bool), []
        for i in range(len(table)):
            data, mask, background = boxes.select(np.array([i])).box(0)
            counts = np.where(mask & MaskBit.FOREGROUND, data - background, 0.0)
            used[i] = counts.sum() >= 100
            if used[i]:
                found.append(moments(counts, boxes.bbox[i], table["xyzcal.px"][i], table["zeta"][i]))
        if found:
            self.sigma = widths(found)
        return used

    def fit(self, block: int, table: ReflectionTable, boxes: HeldBoxes, floor: float) -> ProfileFit:
        """Weighted least squares of the Gaussian, the weights from background and fit in turns."""
        n = len(table)
        fit = ProfileFit(np.zeros(n, dtype=bool), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n))
        wanted = MaskBit.VALID | MaskBit.FOREGROUND
        for i in range(n):
            data, mask, background = boxes.select(np.array([i])).box(0)
            use = ((mask & wanted) == wanted) & ((mask & MaskBit.OVERLAPPED) == 0)
            p = self._gaussian(boxes.bbox[i], table["xyzcal.px"][i], table["zeta"][i])[use]
            fit.recorded[i] = p.sum()
            fit.ok[i] = len(p) > 1 and fit.recorded[i] >= floor
            if fit.ok[i]:
                self._fit_one(fit, i, p, data[use].astype(float), background[use].astype(float))
        return fit

    def _gaussian(self, bbox: NDArray[np.int32], centre: F, zeta: float) -> F:
        """Part of the reflection in each voxel: spots may be sharper than pixels and images are."""
        on_detector, along_scan = self.sigma
        x, y, z = (
            np.diff(ndtr((np.arange(bbox[2 * k], bbox[2 * k + 1] + 1) - centre[k]) / sigma))
            for k, sigma in enumerate((on_detector, on_detector, along_scan / abs(zeta)))
        )
        return np.asarray(z[:, None, None] * y[:, None] * x)

    @staticmethod
    def _fit_one(fit: ProfileFit, i: int, p: F, data: F, background: F) -> None:
        counts = data - background
        intensity = max(counts.sum() / p.sum(), 0.0)
        for _ in range(5):
            variance = np.maximum(background + max(intensity, 0.0) * p, 1e-6)
            weight = (p * p / variance).sum()
            intensity = (p * counts / variance).sum() / weight
        fit.intensity[i], fit.variance[i] = intensity, 1 / weight
        spread = p.std() * counts.std()
        fit.correlation[i] = ((p - p.mean()) * (counts - counts.mean())).mean() / spread if spread > 0 else 0.0
