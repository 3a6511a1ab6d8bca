"""The step integrate: refined models and images to intensities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import evolve
from numpy.typing import NDArray

from xtal.errors import AlgorithmFailed, DataError
from xtal.hooks.protocols import BackgroundModel, ProfileEstimate, ProfileModel
from xtal.models import Experiment, ExperimentList
from xtal.physics.corrections import lorentz_polarization, quantum_efficiency
from xtal.physics.integration import expected_levels
from xtal.physics.kabsch import sources, zeta
from xtal.physics.prediction import predict_all
from xtal.physics.resolution import d_of_hkl
from xtal.run.context import Context
from xtal.run.images import Arrays, FrameReader, Masks
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.table.shoebox import box_sizes
from xtal.words import counted
from xtal_steps_integrate.cut import settle_cut
from xtal_steps_integrate.engine import BYTES_PER_VOXEL, Engine, Settings, groups_of_images
from xtal_steps_integrate.options import IntegrateOptions
from xtal_steps_integrate.report import report
from xtal_steps_integrate.spots import ROOM, add_pixels, match_spots, spot_table, usable_spots

MARGIN, WIDE_MARGIN = 2.0, 3.0
"""How far boxes reach, in radii of the foreground; the second in crowded patterns."""
CROWDED = 0.15
"""Part of all pixels in the foreground of some reflection beyond which background is scarce."""
MOST_HELD = 50_000_000
"""Voxels of all boxes that a frame is part of, up to which they are made larger."""
ASTRAY = 0.2
"""Part of the spots at their predictions below which indices and models do not belong together."""
HOPELESS = 2.0
"""Part of all pixels beyond which no reflection could be told from its neighbours."""

LOOKED_AT = 16
"""Frames on which it is looked how the background runs with the scattering angle."""
PLAIN = 1.2
"""Variance of background counts over their mean up to which a detector counts single photons."""
FEW = 10
"""Strong spots below which a profile model of an experiment's own says nothing."""


def run(context: Context) -> None:
    """Integrate all experiments that have a crystal."""
    options: IntegrateOptions = context.options
    experiments = context.experiments
    if context.options.integration.lookup.mask is not None:
        context.use_mask(context.options.integration.lookup.mask)
    _check(experiments)
    spots = context.reflections if context.has("reflections") else ReflectionTable(n_rows=0)
    profile: ProfileModel = context.plugin(options.profile)
    groups = list(groups_of_images(experiments))
    ahead: dict[int, dict[int, Arrays]] = {}
    learns = options.create_profile_model or not all(e.profile for e in experiments)
    if len(spots) and "shoebox" not in spots and learns:
        spots, ahead = add_pixels(context, groups, spots)
    predicted = _predictions(context, groups, spots, profile)
    if "shoebox" in spots:
        del spots["shoebox"]  # as large as all that is held of the frames, and of no more use
    tables = []
    for imageset, group in enumerate(groups):
        own = [predicted.pop(k) for k in group]
        table = _integrate_images(context, group, own, profile, ahead.pop(group[0], {}))
        table["imageset_id"] = np.full(len(table), imageset, np.int32)
        tables.append(table)
    table = ReflectionTable.concatenate(tables)
    if not options.output_unintegrated_reflections:
        table = table.select(table.has_flags(Flag.INTEGRATED, any_of=True))
    if len(table) == 0:
        raise AlgorithmFailed(
            "No reflection could be integrated.",
            advice="See the mask, the resolution limit and whether the models of the .expt belong to the images.",
        )
    if np.all(table["counts_per_photon"] == 1.0):
        del table["counts_per_photon"]
    table["partial_id"] = np.arange(len(table), dtype=np.uint64)
    table.identifiers = {k: e.identifier for k, e in enumerate(experiments)}
    context.write_experiments(experiments)
    context.write_reflections(table)
    report(context, table)


def _check(experiments: ExperimentList) -> None:
    for k, e in enumerate(experiments):
        if e.crystal is None:
            raise DataError(f"Experiment {k} has no crystal.", advice="Run the steps index and refine first.")
        if e.images is None:
            raise DataError(f"Experiment {k} has no images.", advice="Import them and index again.")
        if e.is_still:
            raise DataError(
                f"Experiment {k} is a still, which shows an unknown part of each reflection: integrate needs images "
                "that turn.",
                advice="Cell and orientation are in the .expt; collect a scan, or give import "
                "geometry.scan.oscillation= if the images did turn.",
            )


def _integrate_images(
    context: Context, group: list[int], tables: list[ReflectionTable], profile: ProfileModel, ahead: dict[int, Arrays]
) -> ReflectionTable:
    """Integrate the lattices that share one set of images.

    Parameters
    ----------
    tables : their predictions
    ahead : frames that were read before
    """
    options: IntegrateOptions = context.options
    reader = context.frames(context.experiments[group[0]])
    reader.ahead = ahead
    try:
        table = ReflectionTable.concatenate(tables)
        table = table.select(np.lexsort((table["xyzcal.px"][:, 0], table["xyzcal.px"][:, 2], table["bbox"][:, 4])))
        some = {k: context.experiments[k] for k in group}
        voxels = context.memory // (BYTES_PER_VOXEL * (2 * context.executor.n_workers + 1))
        fit = options.integration.profile
        settings = Settings(fit.fitting, fit.valid_foreground_threshold, int(min(max(voxels, 100_000), 6_000_000)))
        levels = _levels(context, some[group[0]], reader)
        engine = Engine(some, table, reader, profile, _background(context, some[group[0]]), settings, levels)
        with context.progress(some[group[0]].scan.n_images, "frames") as progress:  # type: ignore[union-attr]
            engine.run(context.executor, progress.advance)
    finally:
        reader.close()
    for k in group:
        _corrections(table, k, context.experiments[k])
    spoilt = int(np.count_nonzero(table["num_pixels.bad"]))
    if spoilt:
        context.print(
            f"{counted(spoilt, 'reflection holds', 'reflections hold')} pixels brighter or darker than their "
            "neighbours allow (hot or dead ones that no mask names, zingers): these are left out, the sums too."
        )
    table["counts_per_photon"] = np.full(len(table), _widen_variances(context, table))
    _settle(context, group, table, profile)
    for name in ("background.noise", "background.mean.variance", "num_pixels.bad", "split.frame", "split.sums"):
        del table[name]
    return table


def _settle(context: Context, group: list[int], table: ReflectionTable, profile: ProfileModel) -> None:
    """Make the partiality of reflections true that the ends of the scan cut, and tell what was found."""
    table["partiality.inv.variance"] = np.zeros(len(table))
    for k in group:
        found = settle_cut(table, k, context.experiments[k], profile)
        if found is not None:
            context.print(
                f"Experiment {k}: {counted(found.n_cut, 'reflection is', 'reflections are')} cut by the ends of the "
                f"scan; by whole ones nearby their angles are off by {np.degrees(found.angle):.4f}° (now known to "
                f"{np.degrees(found.doubt):.4f}°), and rocking curves {abs(found.width):.1%} "
                f"{'wider' if found.width > 0 else 'narrower'} than the profile model: partiality is corrected."
            )


def _widen_variances(context: Context, table: ReflectionTable) -> float:
    """Multiply the variances by that of sums of counts over their mean, where it is not that of single photons.

    Returns
    -------
    The factor; 1 where nothing was changed
    """
    noise = np.asarray(table["background.noise"])
    noise = noise[np.isfinite(noise) & (noise != 0)]
    if len(noise) < 30:
        return 1.0
    factor, doubt = float(np.median(noise)), float(np.std(noise) / np.sqrt(len(noise)))
    if factor < PLAIN + 3 * doubt:
        return 1.0
    for name in ("intensity.sum.variance", "intensity.prf.variance", "background.sum.variance"):
        values = np.asarray(table[name])
        table[name] = np.where(values > 0, factor * values, values)
    context.print(
        f"Sums of background counts vary {factor:.2f} times as much as single photons would (point spread, gain): "
        "all variances are multiplied by that."
    )
    return factor


def _predictions(
    context: Context, groups: list[list[int]], spots: ReflectionTable, profile: ProfileModel
) -> dict[int, ReflectionTable]:
    """Reflections of all experiments to integrate: predicted, sized, boxed."""
    tables = {k: _predicted(context, k) for group in groups for k in group}
    if not any(map(len, tables.values())):
        limits = [(name, getattr(context.options.prediction, name)) for name in ("d_min", "d_max")]
        given = " and ".join(f"{name}={value:g}" for name, value in limits if value is not None)
        raise DataError(
            f"No reflection is predicted on the images{' with ' * bool(given)}{given}.",
            advice="Change the limits of resolution, or check cell, distance and wavelength: xtal run show FILE.expt.",
        )
    matched: dict[int, Pairs | None] = {}
    found: dict[int, ProfileEstimate | None] = {}
    for k in tables:
        matched[k] = _matched(context, k, spots, tables[k])
        if context.options.create_profile_model or not context.experiments[k].profile:
            found[k] = _estimate(context, k, spots, tables[k], profile, matched[k])
    share_profiles(context, found)
    for k, table in tables.items():
        table["bbox"] = _boxes(context, k, table, profile)
        table["partiality"] = profile.partiality(context.experiments[k], table)
        pairs = matched[k]
        if pairs is not None:
            table.set_flags(pairs[1], Flag.REFERENCE_SPOT)
        tables[k] = table.select(table["partiality"] > 0.01)
    return tables


def _predicted(context: Context, k: int) -> ReflectionTable:
    """Predictions of experiment k far enough from the rotation axis."""
    options: IntegrateOptions = context.options
    experiment, p = context.experiments[k], options.prediction
    table = predict_all(experiment, p.d_min, p.padding, p.d_max, p.force_static)
    table["id"] = np.full(len(table), k, np.int32)
    s0 = sources(experiment, np.asarray(table["xyzcal.px"])[:, 2])
    table["zeta"] = zeta(table["s1"], s0, experiment.goniometer.axis)  # type: ignore[union-attr]
    return table.select(np.abs(table["zeta"]) >= options.integration.filter.min_zeta)


Pairs = tuple[np.ndarray, np.ndarray]


def _matched(context: Context, k: int, spots: ReflectionTable, predicted: ReflectionTable) -> Pairs | None:
    """Rows of strong spots of experiment k and the predictions that they are; None without spots."""
    if len(spots) == 0:
        return None
    usable = usable_spots(spots)
    usable = usable[np.asarray(spots["id"])[usable] == k]
    if len(usable) == 0:
        return None
    mine, theirs = match_spots(_columns(spots, usable), predicted)
    context.print(
        f"Experiment {k}: {len(predicted)} reflections predicted, {len(mine)} of {len(usable)} spots matched."
    )
    if len(predicted) and len(mine) < ASTRAY * len(usable):
        context.warn(
            f"Experiment {k}: most spots are not where their indices are predicted. Give the .expt and the .refl that "
            "one step wrote together, and refine first."
        )
    return usable[mine], theirs


def _columns(spots: ReflectionTable, rows: np.ndarray) -> ReflectionTable:
    """The light columns of some spots."""
    out = ReflectionTable(n_rows=len(rows))
    for name in ("id", "panel", "entering", "miller_index", "xyzobs.px.value"):
        out[name] = np.asarray(spots[name])[rows]
    return out


def _estimate(
    context: Context, k: int, spots: ReflectionTable, predicted: ReflectionTable, profile: ProfileModel,
    pairs: Pairs | None,
) -> ProfileEstimate | None:  # fmt: skip
    """Profile model of experiment k from its strong spots; None where it has none and others may lend theirs."""
    experiment = context.experiments[k]
    if pairs is None or len(pairs[0]) == 0:
        strong = ReflectionTable(n_rows=0)
        for name, width in (("zeta", 0), ("s1", 3), ("panel", 0), ("xyzcal.px", 3), ("xyzcal.mm", 3)):
            strong[name] = np.zeros((0, width) if width else 0)
        strong["shoebox"] = Shoeboxes.allocate(np.empty(0, np.uint32), np.empty((0, 6), np.int32))
    else:
        strong = spot_table(spots, predicted, pairs)
    try:
        return profile.estimate(experiment, strong)
    except AlgorithmFailed:
        if len(context.experiments) == 1:
            raise
        return None


def share_profiles(context: Context, found: dict[int, ProfileEstimate | None]) -> None:
    """Give each experiment its profile model: its own, or the mean of all where it has fewer than `FEW` spots.

    Raises
    ------
    AlgorithmFailed
        If no experiment has strong spots.
    """
    known = {k: e for k, e in found.items() if e is not None}
    if found and not known:
        raise AlgorithmFailed(
            "No experiment has strong spots from which the size of reflections could be estimated.",
            advice="Give the table that refine wrote (refined.refl), or profile.gaussian_rs.parameters.sigma_b and "
            "sigma_m in degrees.",
        )
    alike = all(e.profile == next(iter(known.values())).profile for e in known.values())  # one, or the user's own sizes
    for k, own in found.items():
        if own is not None and (own.n_spots >= FEW or alike):
            context.experiments[k].profile = own.profile
            context.print(f"Experiment {k}: profile model from {counted(own.n_spots, 'spot')}: {_sizes(own.profile)}")
            for note in own.notes:
                context.warn(f"Experiment {k}: {note}")
            continue
        model = mean_profile(list(known.values()))
        context.experiments[k].profile = model
        context.warn(
            f"Experiment {k} has {own.n_spots if own else 0} strong spots, too few for a profile model of its own: it "
            f"gets the mean of all experiments: {_sizes(model)}."
        )


def mean_profile(estimates: list[ProfileEstimate]) -> dict[str, Any]:
    """The first model with the sizes (``sigma...``) of all in the geometric mean, each counted by its spots."""
    out = dict(estimates[0].profile)
    weight = np.array([max(e.n_spots, 1) for e in estimates], dtype=float)
    for name in (n for n in out if n.startswith("sigma")):
        logs = np.log([float(np.mean(e.profile[name])) for e in estimates])
        out[name] = float(np.exp(weight @ logs / weight.sum()))
    return out


def _sizes(profile: dict[str, Any]) -> str:
    return ", ".join(f"{n} {v:.4f}°" for n, v in profile.items() if n.startswith("sigma") and isinstance(v, float))


def _boxes(context: Context, k: int, predicted: ReflectionTable, profile: ProfileModel) -> np.ndarray:
    """Boxes of experiment k: larger where neighbours leave little background, unless the user gave the size.

    Raises
    ------
    AlgorithmFailed
        If the reflections lie on one another.
    """
    given, experiment = context.options.integration.profile.sigma_b_multiplier, context.experiments[k]
    assert experiment.scan is not None  # no still comes here
    margin, n_images = given or MARGIN, experiment.scan.n_images
    bbox = profile.bbox(experiment, predicted, margin)
    volume = np.prod((bbox[:, 1::2] - bbox[:, ::2]).astype(float), axis=1).sum() * np.pi / 4 / margin**2
    pixels = sum(p.image_size[0] * p.image_size[1] for p in experiment.detector)
    covered = volume / (pixels * n_images)
    if covered > HOPELESS:
        raise AlgorithmFailed(
            f"Experiment {k}: {len(predicted)} reflections would cover the pixels {covered:.0f} times over, so none "
            "could be told from its neighbours: the cell is too large, or the spots.",
            advice="See what index and refine found (cell, rmsd): is the rotation axis right? Give them space_group=, "
            "unit_cell=, or give d_min=.",
        )
    if given is not None or covered <= CROWDED:
        return bbox
    wide = profile.bbox(experiment, predicted, WIDE_MARGIN)
    held = box_sizes(wide) @ (wide[:, 5] - wide[:, 4]) / n_images
    if held > MOST_HELD:
        return bbox
    context.print(f"Experiment {k}: reflections cover {covered:.0%} of the pixels: boxes are made larger.")
    return wide


def _background(context: Context, experiment: Experiment) -> BackgroundModel:
    """The background model; unless the user chose one, glm only where panels count photons."""
    choice = context.options.integration.background
    counting = all(p.adu_per_photon == 1.0 and p.pedestal == 0.0 and "PAD" in p.type for p in experiment.detector)
    chosen = any(name.endswith("background.algorithm") for name in context.changed)
    if choice.name == "glm" and not counting and not chosen:
        context.print("The detector does not count photons one by one: background model simple.")
        choice = evolve(choice, name="simple", options=None)
    model: BackgroundModel = context.plugin(choice)
    return model


def _levels(context: Context, experiment: Experiment, reader: FrameReader) -> list[NDArray[np.float32]]:
    """How the background runs with the scattering angle, from frames over the whole scan.

    They are kept in the reader, so that none is read again.
    """
    assert experiment.scan is not None
    first, last = experiment.scan.array_range
    frame_bytes = sum(slow * fast for slow, fast in reader.shapes) * reader.dtype.itemsize
    fit_in = min(context.memory // 8, ROOM) // frame_bytes - len(reader.ahead)
    n = int(max(min(LOOKED_AT, last - first, fit_in), 1))

    def frames() -> Iterator[tuple[Arrays, Masks]]:
        for z in np.linspace(first, last - 1, n).astype(int).tolist():
            if z not in reader.ahead:
                reader.ahead[z] = reader.read(z)
            yield reader.ahead[z], reader.mask(z, reader.ahead[z])

    return expected_levels(experiment.detector, experiment.beam, frames())


def _corrections(table: ReflectionTable, k: int, experiment: Experiment) -> None:
    """Columns d, lp, qe and xyzobs.mm of the rows of experiment k."""
    n = len(table)
    for name in ("d", "lp"):
        if name not in table:
            table[name] = np.zeros(n)
    for name in ("xyzobs.mm.value", "xyzobs.mm.variance"):
        if name not in table:
            table[name] = np.zeros((n, 3))
    rows = np.flatnonzero(np.asarray(table["id"]) == k)
    s1, panel = np.asarray(table["s1"])[rows], np.asarray(table["panel"]).astype(np.int64)[rows]
    table["d"][rows] = d_of_hkl(np.asarray(table["miller_index"])[rows], experiment.crystal.A)  # type: ignore[union-attr]
    table["lp"][rows] = lorentz_polarization(experiment, s1)
    efficiency = quantum_efficiency(experiment, s1, panel)
    if efficiency is not None:
        if "qe" not in table:
            table["qe"] = np.ones(n)
        table["qe"][rows] = efficiency
    scan = experiment.scan
    assert scan is not None
    px, variance = np.asarray(table["xyzobs.px.value"])[rows], np.asarray(table["xyzobs.px.variance"])[rows]
    mm, scale = np.zeros((len(rows), 3)), np.zeros((len(rows), 3))
    mm[:, 2], scale[:, 2] = scan.phi(px[:, 2]), scan.width
    for p in np.unique(panel):
        here = panel == p
        model = experiment.detector[int(p)]
        mm[here, :2], scale[here, :2] = model.px_to_mm(px[here, :2]), model.pixel_size
    table["xyzobs.mm.value"][rows], table["xyzobs.mm.variance"][rows] = mm, variance * scale**2
