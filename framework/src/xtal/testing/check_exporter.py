"""Checks of exporters, on integrated and scaled observations of a tiny experiment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xtal.errors import XtalError
from xtal.hooks.protocols import ExportFormat
from xtal.models import Experiment, ExperimentList
from xtal.table import ReflectionTable
from xtal.testing.conformance import Case, ensure, expects
from xtal.testing.data import observations, tiny_experiment

SCALED = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor", "inverse_scale_factor_variance")


@contextmanager
def target() -> Iterator[Path]:
    """A path in an empty folder, named as the runner names temporary files: without the format's extension."""
    with TemporaryDirectory() as folder:
        yield Path(folder) / ".scaled.123.part"


def integrated() -> ReflectionTable:
    """Observations that are not scaled yet."""
    table = observations(tiny_experiment())
    for name in SCALED:
        del table[name]
    return table


class ExporterCase(Case):
    """An exporter; it is given a scaled data set."""

    kind = "exporter"
    protocol = ExportFormat

    def given(self) -> dict[str, Any]:
        experiments = ExperimentList([tiny_experiment()])
        return {"experiments": experiments, "table": observations(experiments[0])}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        with target() as path:
            self.plugin.export(given["experiments"], given["table"], path)
            return [path.read_bytes()]

    def written(self, table: ReflectionTable, *experiments: Experiment) -> tuple[int, str]:
        """Bytes written of a table (of one experiment, if none are given), and what an error of the core's own kind
        says instead."""
        with target() as path:
            try:
                self.plugin.export(ExperimentList(experiments or [tiny_experiment()]), table, path)
            except XtalError as error:
                return 0, error.message
            return path.stat().st_size, ""


@expects("exporter", "name an extension that begins with a dot, or none")
def extension(case: ExporterCase) -> None:
    text = getattr(case.descriptor, "extension", "")
    ensure(not text or (text.startswith(".") and len(text) > 1 and "/" not in text), f"it names {text!r}")


@expects("exporter", "write to the very path that it is given")
def path(case: ExporterCase) -> None:
    with target() as path:
        case.plugin.export(**case.given(), path=path)
        ensure(path.is_file() and path.stat().st_size > 0, f"{path.name} is not there, or empty")


def _visible() -> set[str]:
    return {name for name in os.listdir() if not name.startswith(".")}


@expects("exporter", "write one file and no other")
def one_file(case: ExporterCase) -> None:
    here = _visible()
    with target() as path:
        case.plugin.export(**case.given(), path=path)
        others = {p.name for p in path.parent.iterdir()} - {path.name} | _visible() - here
    ensure(not others, f"it wrote {', '.join(sorted(others))} too")


def _written_or_told(size: int, told: str) -> None:
    ensure(size or told.endswith("."), f"it wrote {size} bytes" if not told else f"it says {told!r}")


@expects("exporter", "write what is integrated and not yet scaled, or say in one sentence why not")
def unscaled(case: ExporterCase) -> None:
    _written_or_told(*case.written(integrated()))


@expects("exporter", "say in one sentence that a table has no intensities")
def nothing(case: ExporterCase) -> None:
    table = ReflectionTable({"id": np.zeros(3, np.int32), "flags": np.zeros(3, np.uint64)})
    size, told = case.written(table)
    ensure(told.endswith("."), f"it wrote {size} bytes" if not told else f"it says {told!r}")


@expects("exporter", "write a table without rows, or say in one sentence why not")
def no_rows(case: ExporterCase) -> None:
    _written_or_told(*case.written(observations(tiny_experiment(), 0)))


@expects("exporter", "take the experiments of a table together, or say in one sentence why not")
def experiments(case: ExporterCase) -> None:
    table = ReflectionTable.concatenate([observations(tiny_experiment()), observations(tiny_experiment(), seed=9)])
    table["id"] = np.repeat([0, 1], len(table) // 2).astype(np.int32)
    second = tiny_experiment()
    second.identifier = "second"
    _written_or_told(*case.written(table, tiny_experiment(), second))


@expects("exporter", "write experiments of which one has no reflections, or say in one sentence why not")
def idle_experiment(case: ExporterCase) -> None:
    second = tiny_experiment()
    second.identifier = "second"
    _written_or_told(*case.written(observations(tiny_experiment()), tiny_experiment(), second))


@expects("exporter", "write reflections of a still, or say in one sentence why not")
def still(case: ExporterCase) -> None:
    experiment = tiny_experiment()
    experiment.goniometer = experiment.scan = None
    _written_or_told(*case.written(observations(tiny_experiment()), experiment))


@expects("exporter", "write reflections that are not indexed yet, or say in one sentence why not")
def no_crystal(case: ExporterCase) -> None:
    experiment, table = tiny_experiment(), integrated()
    experiment.crystal = None
    del table["miller_index"], table["d"]
    _written_or_told(*case.written(table, experiment))
