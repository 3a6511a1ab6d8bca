"""Reflections as lines of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal.errors import DataError
from xtal.models import ExperimentList
from xtal.table import ReflectionTable
from xtal_exporter_template.options import TemplateOptions

KINDS = ("scale", "prf", "sum")
"""Intensities, the best first."""


class TemplateExporter:
    """One line for each reflection (`xtal.hooks.protocols.ExportFormat`)."""

    def __init__(self, options: TemplateOptions) -> None:
        self.options = options

    def export(self, experiments: ExperimentList, table: ReflectionTable, path: Path) -> None:
        """Write the file; neither experiments nor table are changed."""
        kind = next((k for k in KINDS if f"intensity.{k}.value" in table), None)
        if kind is None or "miller_index" not in table:
            raise DataError("The reflections have no intensities to export.", advice="Integrate them first.")
        intensity = np.array(table[f"intensity.{kind}.value"], dtype=float)
        variance = np.array(table[f"intensity.{kind}.variance"], dtype=float)
        if kind == "scale":
            scale = np.asarray(table["inverse_scale_factor"])
            intensity, variance = intensity / scale, variance / scale**2
        good = variance > 0
        columns = [*np.asarray(table["miller_index"])[good].T, intensity[good], np.sqrt(variance[good])]
        s = self.options.separator
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.write(s.join(("h", "k", "l", "intensity", "sigma")) + "\n")
            for h, k, l, value, sigma in zip(*columns, strict=True):
                file.write(f"{h}{s}{k}{s}{l}{s}{value:.6g}{s}{sigma:.6g}\n")
