"""The step detect_blanks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.models import Scan
from xtal.run import Context
from xtal.table import Flag, ReflectionTable
from xtal.words import counted
from xtal_steps_spots.blanks_options import BlanksOptions
from xtal_steps_spots.imagesets import imagesets

Array = NDArray[np.float64]


@frozen
class Blanks:
    """A histogram over the scan and what is blank in it.

    Attributes
    ----------
    edges : (n + 1,) array indices of images
    values : (n,) reflections, or their mean of I/sigma
    blank : (n,)
    axis : what the values are
    """

    edges: Array
    values: Array
    blank: NDArray[np.bool_]
    axis: str

    def regions(self) -> list[tuple[int, int]]:
        """Runs of images (array indices, half open) that are blank."""
        steps = np.flatnonzero(np.diff(np.concatenate([[0], self.blank.astype(np.int8), [0]])))
        return [(math.floor(self.edges[a]), math.ceil(self.edges[b])) for a, b in steps.reshape(-1, 2)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, keyed as DIALS keys it."""
        data = {
            "x": ((self.edges[1:] + self.edges[:-1]) / 2).tolist(),
            "y": self.values.tolist(),
            "xlow": self.edges[:-1].tolist(),
            "xhigh": self.edges[1:].tolist(),
            "blank": self.blank.tolist(),
            "type": "bar",
            "name": "blank_counts_analysis",
        }
        layout = {"xaxis": {"title": "z observed (images)"}, "yaxis": {"title": self.axis}, "bargap": 0}
        return {"data": [data], "layout": layout, "blank_regions": self.regions()}


def run(context: Context) -> None:
    """Look for images that show nothing, by strong, indexed and integrated reflections.

    Raises
    ------
    DataError
        If there are several scans or a still, or no reflection that could tell.
    """
    options: BlanksOptions = context.options
    sets = imagesets(context.experiments)
    if len(sets) > 1:
        raise DataError(
            f"These are {len(sets)} scans: blanks are looked for in one at a time.",
            advice="Import and search one by itself.",
        )
    scan = context.experiments[0].scan
    if scan is None or scan.is_still:
        raise DataError("A still has no blank images to look for: detect_blanks needs a rotation scan.")
    found = analyses(context.reflections, scan, options)
    if not any(found.values()):
        raise DataError("No reflection is strong, indexed or integrated.", advice="Give the table of an earlier step.")
    for what, blanks in found.items():
        tell(context, what, blanks)
    with context.writing("json") as path:
        path.write_text(json.dumps({k: b.as_dict() if b else None for k, b in found.items()}))
    if options.output.plot:
        with context.writing("plot", options.output.plot) as path:
            draw(found, path)


def analyses(table: ReflectionTable, scan: Scan, options: BlanksOptions) -> dict[str, Blanks | None]:
    """Of strong, indexed and integrated reflections; None where there are none."""
    z, edges = table["xyzobs.px.value"][:, 2], bin_edges(scan, options.phi_step)
    strong = table.has_flags(Flag.STRONG)
    indexed = table.has_flags(Flag.INDEXED) & ~table.has_flags(Flag.CENTROID_OUTLIER)
    return {
        "strong": by_counts(z[strong], edges, options.counts_fractional_loss),
        "indexed": by_counts(z[indexed], edges, options.counts_fractional_loss),
        "integrated": by_intensity(table, z, edges, options.misigma_fractional_loss),
    }


def bin_edges(scan: Scan, phi_step: float) -> Array:
    """(n + 1,) array indices: equal bins of about ``phi_step`` degrees, each at least an image wide."""
    first, last = scan.array_range
    per_bin = max(math.ceil(phi_step / abs(scan.oscillation_deg[1]) - 1e-9), 1)
    return np.linspace(first, last, max(round((last - first) / per_bin), 1) + 1)


def by_counts(z: Array, edges: Array, loss: float) -> Blanks | None:
    """Blank where few reflections are."""
    if len(z) == 0:
        return None
    counts = np.histogram(z, edges)[0]
    return Blanks(edges, counts, counts <= loss * counts.max(), "Number of reflections")


def by_intensity(table: ReflectionTable, z: Array, edges: Array, loss: float) -> Blanks | None:
    """Blank where reflections are weak: fitted intensities, else summed ones."""
    for flag, kind in ((Flag.INTEGRATED_PRF, "prf"), (Flag.INTEGRATED_SUM, "sum")):
        rows = table.has_flags(flag)
        if not rows.any():
            continue
        variance = table[f"intensity.{kind}.variance"][rows]
        ratio = table[f"intensity.{kind}.value"][rows] / np.sqrt(np.where(variance > 0, variance, np.inf))
        counts, sums = np.histogram(z[rows], edges)[0], np.histogram(z[rows], edges, weights=ratio)[0]
        means = sums / np.maximum(counts, 1)
        return Blanks(edges, means, means <= loss * means.max(), "Mean of I/σ")
    return None


def tell(context: Context, what: str, blanks: Blanks | None) -> None:
    """The blank images that one kind of reflection shows."""
    if blanks is None:
        context.print(f"No {what} reflections.")
        return
    regions = blanks.regions()
    context.print(f"By {what} reflections: " + ("" if regions else "no blank images."))
    for first, last in regions:
        context.print(f"Potential blank images: {first + 1} -> {last}")
    n = sum(last - first for first, last in regions)
    context.summary(
        f"{what}: {counted(n, 'image is', 'images are')} potentially blank" if n else f"{what}: no blank images"
    )


def draw(found: dict[str, Blanks | None], path: Path) -> None:
    """What each kind of reflection shows, as parts of the highest, blank bins in red, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for (what, blanks), style in zip(found.items(), ("-", "--", ":"), strict=True):
        if blanks is None:
            continue
        x, y = (blanks.edges[1:] + blanks.edges[:-1] + 1) / 2, blanks.values / max(blanks.values.max(), 1e-9)
        axes.plot(x, y, style, color="tab:blue", label=f"{what} ({blanks.axis})")
        axes.plot(x[blanks.blank], y[blanks.blank], ".", color="tab:red")
    axes.set(xlabel="image", ylabel="part of the highest", ylim=(0, None))
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
