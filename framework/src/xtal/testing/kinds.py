"""The contract of each kind of plugin, as functions that third parties call in one line.

Each takes the name of an installed plugin, or a descriptor, and raises an AssertionError with a sentence for each
check that the plugin fails. The checks themselves stand in `check_every` and in a module per kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xtal.hooks import Descriptor
from xtal.testing.check_background import BackgroundCase
from xtal.testing.check_executor import ExecutorCase
from xtal.testing.check_exporter import ExporterCase
from xtal.testing.check_format import FormatCase
from xtal.testing.check_indexing import IndexingCase
from xtal.testing.check_profile import ProfileCase
from xtal.testing.check_scaling import ScalingCase
from xtal.testing.check_step import StepCase
from xtal.testing.check_threshold import ThresholdCase
from xtal.testing.conformance import Case, check

CASES: dict[str, type[Case]] = {
    case.kind: case
    for case in (
        FormatCase,
        ThresholdCase,
        IndexingCase,
        ProfileCase,
        BackgroundCase,
        ScalingCase,
        ExporterCase,
        StepCase,
        ExecutorCase,
    )
}
"""Kind to what its checks are given."""


def check_format(plugin: str | Descriptor, sample: str | Path | None = None, others: Sequence[str | Path] = ()) -> None:
    """A format; without a ``sample``, a file of this format, its claims to foreign files alone are checked.

    ``others`` are more files of the scan of the sample, where each image has its own: several are read at once.
    """
    check("format", plugin, sample=sample, others=others)


def check_threshold(plugin: str | Descriptor) -> None:
    """A threshold, on panels of flat background with bright spots."""
    check("threshold", plugin)


def check_indexing(plugin: str | Descriptor, fraction: float = 0.9) -> None:
    """An indexing method, on a perfect lattice; each vector found is to explain this fraction of the points."""
    check("indexing", plugin, fraction=fraction)


def check_profile(plugin: str | Descriptor) -> None:
    """A profile model, on Gaussian spots."""
    check("profile", plugin)


def check_background(plugin: str | Descriptor) -> None:
    """A background model, on flat Poisson background."""
    check("background", plugin)


def check_scaling(plugin: str | Descriptor) -> None:
    """A scaling model, on observations of a tiny experiment."""
    check("scaling", plugin)


def check_exporter(plugin: str | Descriptor) -> None:
    """An exporter, on integrated and scaled observations."""
    check("exporter", plugin)


def check_step(plugin: str | Descriptor) -> None:
    """A step: its descriptor, its options, and a run on next to nothing."""
    check("step", plugin)


def check_executor(plugin: str | Descriptor) -> None:
    """An executor, on small blocks of work."""
    check("executor", plugin)
