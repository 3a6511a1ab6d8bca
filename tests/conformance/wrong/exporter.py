"""Wrong exporters."""

from __future__ import annotations

from typing import Any

import numpy as np

from xtal.errors import DataError
from xtal_exporter_mtz.mtz import MtzExport

RIGHT = "mtz"


class OwnExtension(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        super().export(experiments, table, path.with_suffix(".mtz"))


class WritesNotes(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        super().export(experiments, table, path)
        path.with_name("notes.txt").write_text("exported")


class NeedsScales(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        if "inverse_scale_factor" not in table:
            raise KeyError("inverse_scale_factor")
        super().export(experiments, table, path)


class WritesNothingKnown(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        if "miller_index" not in table:
            path.write_text("no reflections")
            return
        super().export(experiments, table, path)


class NeedsRows(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        self.first = np.asarray(table["miller_index"])[0]
        super().export(experiments, table, path)


class NeedsOne(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        (self.experiment,) = experiments
        super().export(experiments, table, path)


class Curt(MtzExport):
    """Says in a word what is wrong."""

    def export(self, experiments: Any, table: Any, path: Any) -> None:
        still = experiments[0].scan is None
        if len(experiments) > 1 or still or not len(table) or "inverse_scale_factor" not in table:
            raise DataError("unsupported")
        super().export(experiments, table, path)


class NeedsRowsOfEach(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        self.first = [np.flatnonzero(table["id"] == k)[0] for k in range(len(experiments))]
        super().export(experiments, table, path)


class NeedsScan(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        self.images = [e.scan.n_images for e in experiments]
        super().export(experiments, table, path)


class NeedsCrystal(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        self.cells = [e.crystal.cell for e in experiments]
        super().export(experiments, table, path)


class Touches(MtzExport):
    def export(self, experiments: Any, table: Any, path: Any) -> None:
        path.touch()


WRONG = {
    "extension": {"extension": "mtz"},
    "path": OwnExtension,
    "one_file": WritesNotes,
    "unscaled": [NeedsScales, Curt],
    "nothing": WritesNothingKnown,
    "no_rows": [NeedsRows, Curt],
    "experiments": [NeedsOne, Curt, Touches],
    "idle_experiment": [NeedsRowsOfEach, Curt],
    "still": [NeedsScan, Curt],
    "no_crystal": [NeedsCrystal, Curt],
}
