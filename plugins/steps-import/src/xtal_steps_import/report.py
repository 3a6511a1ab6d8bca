"""What import tells of the scans."""

from __future__ import annotations

import os

from xtal.models import Experiment, ExperimentList
from xtal.run import Context
from xtal.words import counted
from xtal_steps_import.fit import fitting_table
from xtal_steps_import.geometry import beam_centre


def report(context: Context, experiments: ExperimentList, forms: dict[int, str]) -> None:
    """A table of the scans, stills of a kind in one line."""
    rows: list[list[str]] = []
    stills: dict[tuple[int, int], int] = {}
    for e in experiments:
        form = forms.get(id(e), "")
        if e.scan is not None:
            rows.append(_row(e, form))
            continue
        key = id(e.beam), id(e.detector)
        if key not in stills:
            stills[key] = len(rows)
            rows.append(_row(e, form))
            rows[-1][1] = "0"
        row = rows[stills[key]]
        n = int(row[1].split()[0]) + 1
        row[1] = counted(n, "still")
    columns = ["images", "numbers", "oscillation (°)", "format", "detector (px)", "distance (mm)", "λ (Å)", "beam (px)"]
    fitting_table(context, "Scans", columns, rows)
    n_scans = sum(e.scan is not None for e in experiments)
    n_images = sum(e.scan.n_images for e in experiments if e.scan is not None)
    n_stills = len(experiments) - n_scans
    parts = [f"{counted(n_images, 'image')} in {counted(n_scans, 'scan')}"] if n_scans else []
    parts += [counted(n_stills, "still")] if n_stills else []
    context.summary(
        f"{' and '.join(parts)}, {_several(list(dict.fromkeys(map(_detector, experiments))))}",
        f"wavelength {_several([f'{e.beam.wavelength:.5g} Å' for e in experiments])}, "
        f"distance {_several([f'{e.detector[0].distance:.2f} mm' for e in experiments])}, {_turns(experiments)}",
    )


def _row(e: Experiment, form: str) -> list[str]:
    images = e.images
    name = os.path.basename(images.template or images.paths[0]) if images is not None else ""
    centre = beam_centre(e.detector, e.beam)
    numbers = f"{e.scan.image_range[0]}-{e.scan.image_range[1]}" if e.scan is not None else ""
    turn = f"{e.scan.oscillation_deg[0]:.6g} + {e.scan.oscillation_deg[1]:.6g}" if e.scan is not None else "still"
    at = "" if centre is None else f"{centre[1][0]:.2f}, {centre[1][1]:.2f}"
    if centre is not None and len(e.detector) > 1:
        at += f" ({centre[0]})"
    return [
        name, numbers, turn, form, _detector(e), f"{e.detector[0].distance:.2f}", f"{e.beam.wavelength:.6g}", at,
    ]  # fmt: skip


def _detector(e: Experiment) -> str:
    fast, slow = e.detector[0].image_size
    return f"{len(e.detector)} x " * (len(e.detector) > 1) + f"{fast} x {slow}"


def _several(texts: list[str]) -> str:
    """Different values, the first few of them."""
    distinct = list(dict.fromkeys(texts))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} more" if len(distinct) > 3 else "")


def _turns(experiments: ExperimentList) -> str:
    """How the scans turn: one in full, several by their axes."""
    turning = [e for e in experiments if e.scan is not None and e.goniometer is not None]
    if not turning:
        return "stills"
    axes = [", ".join(f"{x:.3g}" for x in e.goniometer.axis + 0.0) for e in turning if e.goniometer is not None]
    if len(turning) > 1 or turning[0].scan is None:
        return f"about {_several([f'({a})' for a in axes])}"
    start, width = turning[0].scan.oscillation_deg
    return f"{start:.5g}° to {start + width * turning[0].scan.n_images:.5g}° by {width:.5g}° about ({axes[0]})"
