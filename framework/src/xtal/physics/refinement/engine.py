"""Refinement of the models of a table's experiments: the order of operations."""

from __future__ import annotations

import copy

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed
from xtal.models import ExperimentList
from xtal.physics.prediction import predict_reflections
from xtal.physics.refinement.gradients import residuals
from xtal.physics.refinement.minimise import Minimum, covariance, minimise
from xtal.physics.refinement.outliers import calibrated_variance, centred, find_outliers, scan_blocks
from xtal.physics.refinement.problem import Models, blocks_of
from xtal.physics.refinement.selection import Selection, select
from xtal.physics.refinement.settings import Cycle, RefinementResult, RefinementSettings
from xtal.physics.refinement.update import write_models
from xtal.table import Flag, ReflectionTable
from xtal.units import DEG

Array = NDArray[np.float64]

DEFAULT_INTERVAL_DEG = 18.0
"""Width of the intervals over which a crystal varies, where the data do not say otherwise."""

SETTLED = 0.99
"""Share of an rmsd that a minimisation leaves where there is no more to be gained."""


def refine(experiments: ExperimentList, table: ReflectionTable, settings: RefinementSettings) -> RefinementResult:
    """Refine beam, detector, goniometer and crystals against the observed centroids.

    Parameters
    ----------
    experiments
        Rotation scans or stills, with crystals. Experiments that hold the same model share it.
    table
        Rows with ``miller_index``, ``id``, ``panel``, ``xyzobs.px.value`` and ``.variance``;
        rows with id -1 or index 0 0 0 are carried along.
    settings
        Choices.

    Returns
    -------
    RefinementResult
        New models and a new table.

    Raises
    ------
    AlgorithmFailed
        Too few reflections, or a fit that diverges.
    """
    experiments = copy.deepcopy(experiments)
    table = table.copy()
    warnings: list[str] = []
    selection = select(table, experiments, settings)
    if len(selection.rows) < settings.min_reflections:
        raise AlgorithmFailed(
            f"Only {len(selection.rows)} indexed reflections can be used in refinement "
            f"({settings.min_reflections} are needed).",
            advice="Find more spots, or check the indexing.",
        )
    seen = np.bincount(selection.obs.experiment, minlength=len(experiments))
    settings = reduced(settings, seen, experiments, warnings)
    run = _Run(experiments, selection, settings)
    for cycle in range(max(settings.macrocycles, settings.most_macrocycles)):
        if cycle >= settings.macrocycles and run.settled():
            break
        run.cycle("static", [0] * len(experiments), first=cycle == 0)
    if settings.scan_varying:
        split_crystals(experiments)
        intervals = [intervals_for(run, k) for k in range(len(experiments))]
        for _ in range(settings.macrocycles):
            run.cycle("scan-varying", intervals, first=False)
    write_flags(table, selection, run.used, run.outlier)
    predict_reflections(table, experiments)
    rmsd, n_used = rmsd_by_experiment(table, experiments)
    return RefinementResult(
        experiments=experiments, table=table, rmsd=rmsd, n_used=n_used, history=run.history, warnings=warnings
    )


class _Run:
    """Selection, weights, outliers and minimisation, one macrocycle after another."""

    def __init__(self, experiments: ExperimentList, selection: Selection, settings: RefinementSettings) -> None:
        self.experiments, self.selection, self.settings = experiments, selection, settings
        self.history: list[Cycle] = []
        self.used = np.zeros(len(selection.rows), bool)
        self.outlier = np.zeros(len(selection.rows), bool)
        ids = selection.obs.experiment
        self.blocks = scan_blocks(ids, selection.obs.xyz[:, 2] / DEG)

    def cycle(self, name: str, n_intervals: list[int], first: bool) -> None:
        """Judge outliers and weights against the present models, minimise, write the models."""
        selection, settings = self.selection, self.settings
        models = Models.build(self.experiments, settings, n_intervals)
        before = residuals(models, selection.obs, blocks_of(models, selection.obs))
        self._judge(before / selection.scale, first)
        obs = selection.obs.select(self.used)
        obs = evolve(obs, weight=self.weights()[self.used])
        minimum = minimise(models, obs, settings.max_iterations)
        after = residuals(models, obs, blocks_of(models, obs))
        self._check(minimum, models, after)
        spread = None if models.n_free == 0 else covariance(minimum, models.n_free)
        write_models(models, spread, settings.hierarchy_level)
        self.history.append(
            Cycle(
                name=name,
                n_reflections=len(obs),
                n_outliers=int(self.outlier.sum()),
                n_parameters=models.n_free,
                n_iterations=minimum.n_iterations,
                rmsd_before=rms(before[self.used]),
                rmsd_after=rms(after),
                chi2=minimum.chi2 / max(1, minimum.n_equations - models.n_free),
                reason=minimum.reason,
            )
        )

    def settled(self) -> bool:
        """Whether the last minimisation hardly lowered an rmsd: outliers and weights then stay as they are too."""
        last = self.history[-1]
        return all(after > SETTLED * before for before, after in zip(last.rmsd_before, last.rmsd_after, strict=True))

    def _judge(self, residual: Array, first: bool) -> None:
        """Outliers and variances (px, px, images) from residuals in those units."""
        finite = np.all(np.isfinite(residual), axis=1)
        trend_free = centred(residual, self.blocks) if first else residual
        stated = np.maximum(self.selection.variance, 1e-8)
        self.variance = stated
        calibrated = stated.copy()
        if finite.any():
            calibrated[finite] = calibrated_variance(trend_free[finite], stated[finite])
        if self.settings.weights == "calibrated":
            self.variance = calibrated
        algorithm, probability = self.settings.outlier_algorithm, self.settings.outlier_probability
        self.outlier = find_outliers(algorithm, trend_free, calibrated, self.blocks, probability)
        self.outlier &= finite
        self.used = finite & ~self.outlier

    def weights(self) -> Array:
        weight = 1.0 / np.maximum(self.variance * self.selection.scale**2, 1e-18)
        weight[:, 2] *= self.selection.phi_weight
        return np.asarray(weight)

    def _check(self, minimum: Minimum, models: Models, after: Array) -> None:
        if not np.isfinite(minimum.chi2) or np.mean(np.isnan(after[:, 0])) > 0.2:
            raise AlgorithmFailed(
                "Refinement diverged: many reflections can no longer be predicted.",
                advice="Check the indexing and the beam centre, or hold models fixed (detector.fix=all).",
            )


def rms(residual: Array) -> tuple[float, float, float]:
    """Root mean squares of the three columns, nan left out."""
    if len(residual) == 0:
        return (float("nan"),) * 3
    x, y, z = np.sqrt(np.nanmean(residual**2, axis=0))
    return float(x), float(y), float(z)


def reduced(
    settings: RefinementSettings, seen: NDArray[np.int64], experiments: ExperimentList, warnings: list[str]
) -> RefinementSettings:
    """Settings with parameters held fixed, outermost first, where reflections (``seen`` by each experiment) are few."""
    ladder = (
        ("scan-varying refinement is not done", {"scan_varying": False}),
        ("the detector's distance and tilts are held", {"detector_fix": (*settings.detector_fix, "distance", "tilt")}),
        ("the detector is held", {"detector_fix": ("all",)}),
        ("the beam is held", {"beam_fix": ("all",)}),
        ("the cell is held", {"crystal_fix": (*settings.crystal_fix, "cell")}),
    )
    for sentence, change in ladder:
        if enough(settings, seen, experiments):
            break
        if all(getattr(settings, key) == value for key, value in change.items()):
            continue
        settings = evolve(settings, **change)
        warnings.append(f"{seen.sum()} reflections are few for all parameters: {sentence}.")
    return settings


def enough(settings: RefinementSettings, seen: NDArray[np.int64], experiments: ExperimentList) -> bool:
    """Whether reflections suffice for the free parameters.

    Those of one scan are set against all parameters together. Several scans hold each other: there each model is
    judged by the reflections that see it, as DIALS does, each of which brings three observations.
    """
    varying = 3 if settings.scan_varying else 1
    models = Models.build(experiments, settings, [0] * len(experiments))
    crystal = {id(p) for part in models.parts for p in (part.orientation, part.cell)}
    wanted = {id(p): settings.min_per_parameter * p.n_free * (varying if id(p) in crystal else 1) for p in models.all}
    if len(experiments) == 1:
        return int(seen.sum()) >= sum(wanted.values())
    there = dict.fromkeys(wanted, 0)
    for n, part in zip(seen, models.parts, strict=True):
        for p in (part.beam, part.goniometer, part.orientation, part.cell):
            if p is not None:
                there[id(p)] += 3 * int(n)
        for d in part.detectors:
            there[id(d)] += 3 * int(n) // len(part.detectors)
    return all(there[key] >= n for key, n in wanted.items())


def split_crystals(experiments: ExperimentList) -> None:
    """Give every scan a crystal of its own: one that varies over a scan belongs to that scan."""
    seen: set[int] = set()
    for experiment in experiments:
        if id(experiment.crystal) in seen:
            experiment.crystal = copy.deepcopy(experiment.crystal)
        seen.add(id(experiment.crystal))


def intervals_for(run: _Run, k: int) -> int:
    """Intervals of the smoother of experiment k; 0 for a still."""
    experiment, settings = run.experiments[k], run.settings
    if experiment.is_still or experiment.scan is None:
        return 0
    n = int((run.selection.obs.experiment == k).sum())
    width = abs(experiment.scan.n_images * experiment.scan.oscillation_deg[1])
    wanted = width / (settings.interval_deg or DEFAULT_INTERVAL_DEG)
    affordable = n / (9 * settings.min_per_parameter)
    return max(1, int(min(wanted, affordable)))


def write_flags(
    table: ReflectionTable, selection: Selection, used: NDArray[np.bool_], outlier: NDArray[np.bool_]
) -> None:
    """Renew the flags that say what refinement did with each row."""
    everything = np.arange(len(table))
    done = Flag.USED_IN_REFINEMENT | Flag.CENTROID_OUTLIER | Flag.EXCLUDED_FOR_REFINEMENT
    table.clear_flags(everything, done)
    table.set_flags(selection.rows[used], Flag.USED_IN_REFINEMENT)
    table.set_flags(selection.rows[outlier], Flag.CENTROID_OUTLIER)
    left = np.ones(len(table), bool)
    left[selection.rows] = False
    table.set_flags(left, Flag.EXCLUDED_FOR_REFINEMENT)


def rmsd_by_experiment(table: ReflectionTable, experiments: ExperimentList) -> tuple[Array, NDArray[np.int64]]:
    """(n_experiments, 3) px, px, images (stills: degrees of delta-psi) and (n_experiments,) reflections used."""
    used = table.has_flags(Flag.USED_IN_REFINEMENT | Flag.PREDICTED)
    difference = np.asarray(table["xyzcal.px"]) - np.asarray(table["xyzobs.px.value"])
    ids = np.asarray(table["id"])
    out, n_used = np.full((len(experiments), 3), np.nan), np.zeros(len(experiments), np.int64)
    for k, experiment in enumerate(experiments):
        mine = used & (ids == k)
        n_used[k] = mine.sum()
        out[k] = rms(difference[mine])
        if experiment.is_still and n_used[k]:
            out[k, 2] = np.sqrt(np.mean(table["delpsical.rad"][mine] ** 2)) / DEG
    return out, n_used
