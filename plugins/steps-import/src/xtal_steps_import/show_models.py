"""Models of experiments as tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Panel, Scan
from xtal.physics.lattice.uncertainty import describe_cell
from xtal.run import Context
from xtal.run.formats import lacking
from xtal.units import DEG
from xtal_steps_import.fit import fitting_table, named_values
from xtal_steps_import.geometry import beam_centre
from xtal_steps_import.options import ShowOptions

LOOKUPS = ("mask", "gain", "pedestal", "dx", "dy")


def show_experiments(context: Context, experiments: ExperimentList, options: ShowOptions) -> None:
    """One table per experiment; stills that share models after the first are counted."""
    seen: set[tuple[int, ...]] = set()
    alike = 0
    for k, experiment in enumerate(experiments):
        models = experiment.beam, experiment.detector, experiment.goniometer, experiment.scan, experiment.crystal
        key = tuple(map(id, models))
        if key in seen:
            alike += 1
            continue
        seen.add(key)
        named_values(context, f"Experiment {k}", experiment_rows(experiment))
        if len(experiment.detector) > 1:
            columns = ["panel", "name", "size (px)", "distance (mm)", "origin (mm)", "fast", "slow"]
            fitting_table(context, "Panels", columns, [_panel_row(n, p) for n, p in enumerate(experiment.detector)])
        if options.show_scan_varying and experiment.crystal is not None:
            _show_scan_varying(context, experiment)
    if alike:
        context.print(f"{alike} more experiments with the same models.")
    if options.show_shared_models or len(experiments) > 1:
        _show_shared(context, experiments)


def experiment_rows(e: Experiment) -> list[tuple[str, str]]:
    """Names and values of one experiment."""
    rows = [("identifier", e.identifier)]
    if e.images is not None:
        rows.append(("images", e.images.template or ", ".join(e.images.paths[:2])))
        rows += [(name, getattr(e.images, name)) for name in LOOKUPS if getattr(e.images, name)]
    rows += _beam_rows(e.beam)
    rows += _detector_rows(e.detector, e.beam)
    if e.scan is not None:
        rows += _scan_rows(e.scan)
    if e.goniometer is not None:
        rows += _goniometer_rows(e.goniometer)
    if e.crystal is not None:
        rows += _crystal_rows(e.crystal)
    if e.profile is not None:
        rows.append(("profile", _flat(e.profile)))
    if e.scaling_model is not None:
        rows.append(("scaling", str(e.scaling_model.get("__id__", ""))))
    return rows


def _beam_rows(beam: Beam) -> list[tuple[str, str]]:
    probe = "electron" if beam.is_electron else beam.probe
    rows = [("wavelength", f"{_number(beam.wavelength, '.6g')} Å ({probe})")]
    rows.append(("direction", f"{vector(beam.direction)} (sample to source); s0 {vector(beam.s0)} 1/Å"))
    if beam.divergence or beam.sigma_divergence:
        rows.append(("divergence", f"{beam.divergence / DEG:.4g}°, sigma {beam.sigma_divergence / DEG:.4g}°"))
    if beam.flux:
        rows.append(("flux", f"{beam.flux:g} photons/s, transmission {beam.transmission:g}"))
    rows.append(("polarisation", f"{beam.polarization_fraction:g}, normal {vector(beam.polarization_normal)}"))
    if beam.s0_at_scan_points is not None:
        rows.append(("beam drifts", f"{len(beam.s0_at_scan_points)} scan points"))
    return rows


def _detector_rows(detector: Detector, beam: Beam) -> list[tuple[str, str]]:
    panel = detector[0]
    of = f"{len(detector)} of " if len(detector) > 1 else ""
    name = f", {panel.name}" if panel.name and not of else ""
    rows = [("detector", of + _of_all(detector, _kind) + name)]
    n_masked = sum(len(p.mask) for p in detector)
    trusted = _of_all(detector, lambda p: "{:.10g} to {:.10g}".format(*p.trusted_range))
    rows.append(("trusted", f"{trusted} (inclusive), {n_masked} masked rectangles"))
    rows.append(("sensor", _of_all(detector, _sensor)))
    rows.append(("gain, pedestal", _of_all(detector, lambda p: f"{p.gain:g}, {p.pedestal:g}")))
    rows.append(("distance", f"{_number(panel.distance, '.4f')} mm"))
    if len(detector) == 1:
        axes = (panel.fast_axis, panel.slow_axis, panel.normal)
        rows.append(("fast, slow, normal", "; ".join(map(vector, axes))))
        rows.append(("origin", f"{vector(panel.origin)} mm"))
        along = np.array([panel.fast_axis, panel.slow_axis]) @ -panel.origin / panel.pixel_size
        rows.append(("normal meets it at", ", ".join(_number(x, ".3f") for x in along) + " px (fast, slow)"))
    missing = [what for what, _ in lacking(beam, detector)]
    if missing:
        rows.append(("not in the header", ", ".join(missing) + ": import asks for it"))
        return rows
    centre = beam_centre(detector, beam)
    if centre is None:
        rows.append(("beam centre", "off the detector"))
    else:
        number, (x, y) = centre
        place = f" on panel {number}" if len(detector) > 1 else ""
        mm = f"{x * detector[number].pixel_size[0]:.3f}, {y * detector[number].pixel_size[1]:.3f} mm"
        rows.append(("beam centre", f"{x:.3f}, {y:.3f} px; {mm} (fast, slow){place}"))
        right, down = detector[number].raw_image_offset
        if right or down:
            rows.append(("", f"{x + right:.3f}, {y + down:.3f} px in the image as it is stored"))
    corner, edge = resolutions(detector, beam)
    rows.append(("resolution", f"{corner:.3f} Å at the corners" + (f", {edge:.3f} Å all round" if edge > 0 else "")))
    return rows


def _kind(panel: Panel) -> str:
    """Size, pixels and type of a panel."""
    fast, slow = panel.image_size
    pixel = " x ".join(_number(size, "g") for size in panel.pixel_size)
    return ", ".join(filter(None, [f"{fast} x {slow} px of {pixel} mm", panel.type]))


def _sensor(panel: Panel) -> str:
    text = f"{panel.material or 'unknown'}, {panel.thickness:g} mm, mu {panel.mu:.5g}/mm"
    return text + (", parallax corrected" if panel.parallax else "")


def _of_all(detector: Detector, text: Callable[[Panel], str]) -> str:
    """What is said of each panel, once where they are alike."""
    told = list(dict.fromkeys(map(text, detector)))
    return " or ".join(told[:3]) + (f" or {len(told) - 3} others" if len(told) > 3 else "")


def resolutions(detector: Detector, beam: Beam) -> tuple[float, float]:
    """Finest d at the corners, and the coarsest at the edges round the detector (angstrom)."""
    corners, middles = [], []
    for panel in detector:
        f, s = panel.image_size
        corners.append(panel.s1(np.array([(0, 0), (f, 0), (0, s), (f, s)], dtype=float), beam.wavelength))
        t = np.linspace(0.0, 1.0, 101)
        edges = [(t * f, 0 * t), (t * f, 0 * t + s), (0 * t, t * s), (0 * t + f, t * s)]
        middles.append(panel.s1(np.concatenate([np.column_stack(e) for e in edges]), beam.wavelength))
    length = lambda s1: np.linalg.norm(np.concatenate(s1) - beam.s0, axis=1)
    far, near = length(corners).max(), length(middles).min() if len(detector) == 1 else np.nan
    return float(1.0 / far), float(1.0 / near) if near > 0 else float("nan")


def _scan_rows(scan: Scan) -> list[tuple[str, str]]:
    start, width = scan.oscillation_deg
    first, last = scan.image_range
    rows = [("image numbers", f"{first} to {last} ({scan.n_images})")]
    turns = f"{start:.6g}° to {start + width * scan.n_images:.6g}° by {width:.6g}°"
    rows.append(("oscillation", "none: a still" if scan.is_still else turns))
    if scan.exposure_times is not None and len(scan.exposure_times):
        rows.append(("exposure", f"{scan.exposure_times[0]:g} s"))
    return rows


def _goniometer_rows(goniometer: Goniometer) -> list[tuple[str, str]]:
    rows = [("rotation axis", vector(goniometer.axis))]
    if goniometer.axes is not None and goniometer.angles_deg is not None:
        for k, (axis, angle) in enumerate(zip(goniometer.axes, goniometer.angles_deg, strict=True)):
            name = goniometer.names[k] if k < len(goniometer.names) else str(k)
            turns = "turns" if k == goniometer.scan_axis else f"at {angle:g}°"
            rows.append((f"axis {name}", f"{vector(axis)} {turns}"))
    for name, matrix in (("fixed", goniometer.fixed_rotation), ("setting", goniometer.setting_rotation)):
        if not np.allclose(matrix, np.eye(3)):
            rows += [(f"{name} rotation" if not k else "", vector(row)) for k, row in enumerate(matrix)]
    return rows


def _crystal_rows(crystal: Crystal) -> list[tuple[str, str]]:
    rows = [("unit cell", describe_cell(crystal)), ("space group", crystal.space_group.xhm())]
    for name, matrix in (("U", crystal.U), ("B", crystal.B), ("A = UB", crystal.A)):
        rows += [(name if not k else "", vector(row)) for k, row in enumerate(np.round(matrix, 9))]
    if crystal.A_at_scan_points is not None:
        rows.append(("crystal varies", f"{len(crystal.A_at_scan_points)} scan points"))
        cells = [Crystal(a, crystal.hall).cell.parameters for a in crystal.A_at_scan_points]
        rows.append(("average cell", ", ".join(f"{x:.4f}" for x in np.mean(cells, axis=0))))
    if crystal.mosaicity_deg is not None:
        rows.append(("mosaicity", f"{crystal.mosaicity_deg:.4f}°"))
    return rows


def cell(crystal: Crystal) -> str:
    """Cell parameters as text (angstrom, degree)."""
    c = crystal.cell
    return f"{c.a:.4f} {c.b:.4f} {c.c:.4f} Å  {c.alpha:.3f} {c.beta:.3f} {c.gamma:.3f}°"


def vector(v: Sequence[float] | np.ndarray) -> str:
    """Three numbers as text."""
    return ", ".join(_number(x, ".6g") for x in np.asarray(v, dtype=float) + 0.0)


def _number(x: float, form: str) -> str:
    """A number as text, a question mark where it is not known."""
    return "?" if np.isnan(x) else format(x, form)


def _flat(values: dict[str, Any]) -> str:
    parts = [f"{k} {v:.5g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items() if k != "__id__"]
    return " ".join([str(values.get("__id__", "")), *[p for p in parts if len(p) < 40]])


def _panel_row(number: int, p: Panel) -> list[str]:
    fast, slow = p.image_size
    return [
        str(number), p.name, f"{fast} x {slow}", f"{p.distance:.3f}", vector(p.origin), vector(p.fast_axis),
        vector(p.slow_axis),
    ]  # fmt: skip


def _show_scan_varying(context: Context, experiment: Experiment) -> None:
    crystal = experiment.crystal
    if crystal is None or crystal.A_at_scan_points is None or experiment.scan is None:
        return
    first = experiment.scan.image_range[0]
    rows = [[str(first + k), cell(Crystal(a, crystal.hall))] for k, a in enumerate(crystal.A_at_scan_points)]
    context.table("Crystal at the start of each image", ["image", "unit cell"], rows)


def _show_shared(context: Context, experiments: ExperimentList) -> None:
    """Numbers of the models that each experiment uses."""
    names = ("beam", "detector", "goniometer", "scan", "crystal")
    numbers: dict[str, dict[int, int]] = {name: {} for name in names}
    rows = []
    for k, e in enumerate(experiments):
        row = [str(k)]
        for name in names:
            model = getattr(e, name)
            known = numbers[name]
            row.append("" if model is None else str(known.setdefault(id(model), len(known))))
        rows.append(row)
    shown = rows if len(rows) <= 20 else [*rows[:10], ["..."] * len(rows[0]), *rows[-5:]]
    fitting_table(context, "Models of the experiments, by number", ["experiment", *names], shown)
