"""Choosing, merging and judging intensities."""

from xtal.physics.merging.columns import MtzColumn, merged_columns
from xtal.physics.merging.free import free_flags
from xtal.physics.merging.french_wilson import Amplitudes, amplitudes, wilson_mean
from xtal.physics.merging.intensities import Intensities, integrated_intensities, scaled_intensities
from xtal.physics.merging.merge import Merged, merge
from xtal.physics.merging.segments import Segments
from xtal.physics.merging.statistics import (
    COLUMNS,
    ShellStatistics,
    merging_statistics,
    resolution_limit,
    shell_row,
    shown,
    summary_rows,
)

__all__ = [
    "COLUMNS",
    "Amplitudes",
    "Intensities",
    "Merged",
    "MtzColumn",
    "Segments",
    "ShellStatistics",
    "amplitudes",
    "free_flags",
    "integrated_intensities",
    "merge",
    "merged_columns",
    "merging_statistics",
    "resolution_limit",
    "scaled_intensities",
    "shell_row",
    "shown",
    "summary_rows",
    "wilson_mean",
]
