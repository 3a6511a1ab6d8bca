"""Checks of scaling models, on observations all over the detector and the scan of a tiny experiment."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from xtal.hooks.protocols import ScalingModel
from xtal.table import ReflectionTable
from xtal.testing.check_every import alike
from xtal.testing.conformance import Case, ensure, expects
from xtal.testing.data import observations, tiny_experiment

F = NDArray[np.float64]

COLUMNS = ("s1", "d", "xyzobs.px.value", "xyzcal.px")
"""What the step gives to a model, where the table has it."""


def slim_table(n: int = 400, columns: tuple[str, ...] = COLUMNS) -> ReflectionTable:
    """The columns that the step gives to a model."""
    table = observations(tiny_experiment(), n)
    return ReflectionTable({name: table[name] for name in columns}, n_rows=n)


class ScalingCase(Case):
    """A scaling model; data: none."""

    kind = "scaling"
    protocol = ScalingModel

    def given(self) -> dict[str, Any]:
        n = self.prepared.n_parameters
        given = {"experiment": tiny_experiment(), "table": slim_table(), "rows": self.rows.copy()}
        return {**given, "parameters": self.near(n), "esds": np.ones(n)}

    def exercise(self, given: dict[str, Any]) -> list[Any]:
        model = self.construct()
        model.prepare(given["experiment"], given["table"])
        p = given["parameters"]
        parts = (model.scales_and_jacobian(p, given["rows"]), model.restraints(p))
        answer = [model.initial(), *(part for pair in parts for part in (pair[0], _dense(pair[1])))]
        return [*answer, model.to_json(p, given["esds"])]

    @cached_property
    def prepared(self) -> Any:
        """A model of the observations."""
        return self.prepared_for(slim_table())

    def prepared_for(self, table: ReflectionTable) -> Any:
        """A model of other observations."""
        model = self.construct()
        model.prepare(tiny_experiment(), table)
        return model

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Some observations, in an order of their own."""
        return np.random.default_rng(8).permutation(400)[:60]

    @staticmethod
    def near(n: int) -> F:
        """Parameters near the start of models that start from 0."""
        return np.random.default_rng(3).normal(scale=0.02, size=n)

    @cached_property
    def at(self) -> F:
        """Parameters near the start."""
        return np.asarray(self.prepared.initial(), dtype=float) + self.near(self.prepared.n_parameters)


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if hasattr(matrix, "toarray") else np.asarray(matrix)


@expects("scaling", "have as many names and starting values as parameters")
def parameters(case: ScalingCase) -> None:
    model = case.prepared
    n, names, start = model.n_parameters, model.names, np.asarray(model.initial())
    ensure(len(names) == n and start.shape == (n,), f"{n} parameters have {len(names)} names and {start.shape} values")


@expects("scaling", "have one parameter at least where there are observations")
def some_parameters(case: ScalingCase) -> None:
    ensure(case.prepared.n_parameters >= 1, f"it has {case.prepared.n_parameters}")


@expects("scaling", "name each parameter, its correction first")
def names(case: ScalingCase) -> None:
    bad = [name for name in case.prepared.names if not isinstance(name, str) or not name.strip()]
    ensure(not bad, f"one is called {bad[:1]}")


@expects("scaling", "start from scales of 1, which stay where nothing can be scaled")
def initial(case: ScalingCase) -> None:
    scales, _ = case.prepared.scales_and_jacobian(case.prepared.initial(), case.rows)
    ensure(np.allclose(scales, 1.0, atol=1e-6), f"they are {scales.min():g} to {scales.max():g}")


@expects("scaling", "give one positive, finite scale for each row")
def positive(case: ScalingCase) -> None:
    scales, _ = case.prepared.scales_and_jacobian(case.at, case.rows)
    ensure(scales.shape == case.rows.shape, f"{len(case.rows)} rows get scales of shape {scales.shape}")
    _all_positive(scales, "near the start")


@expects("scaling", "give positive, finite scales however far the search steps")
def far(case: ScalingCase) -> None:
    for step in (-50.0, 50.0):
        scales, _ = case.prepared.scales_and_jacobian(case.at + step, case.rows)
        _all_positive(scales, f"with all parameters moved by {step:g}")


def _all_positive(scales: F, where: str) -> None:
    good = np.all((scales > 0) & np.isfinite(scales))
    ensure(good, f"they are {scales.min():g} to {scales.max():g} {where}")


@expects("scaling", "give a scale that does not depend on the other rows")
def rows(case: ScalingCase) -> None:
    scales, _ = case.prepared.scales_and_jacobian(case.at, case.rows)
    some = case.rows[[7, 3]]
    few, _ = case.prepared.scales_and_jacobian(case.at, some)
    ensure(alike(few, scales[[7, 3]]), f"it gives {few} alone and {scales[[7, 3]]} among others")


@expects("scaling", "give no scales where none are asked for, although there are observations")
def none_asked(case: ScalingCase) -> None:
    scales, matrix = case.prepared.scales_and_jacobian(case.at, np.empty(0, np.int64))
    wanted = (0, case.prepared.n_parameters)
    ensure(len(scales) == 0 and matrix.shape == wanted, f"it gives {len(scales)}, and derivatives of {matrix.shape}")


@expects("scaling", "leave alone the arrays that it gave before, which the search still holds")
def earlier_arrays(case: ScalingCase) -> None:
    scales, matrix = case.prepared.scales_and_jacobian(case.at, case.rows)
    before = [scales.copy(), _dense(matrix).copy()]
    case.prepared.scales_and_jacobian(case.at + 0.1, case.rows[::-1])
    ensure(alike([scales, _dense(matrix)], before), "they change when it is asked again")


@expects("scaling", "give derivatives as scipy CSR matrices of (rows, parameters)")
def sparse(case: ScalingCase) -> None:
    n = case.prepared.n_parameters
    for pair in (case.prepared.scales_and_jacobian(case.at, case.rows), case.prepared.restraints(case.at)):
        shape = (len(pair[0]), n)
        good = getattr(pair[1], "format", "") == "csr" and pair[1].shape == shape
        ensure(good, f"one of {shape} is a {type(pair[1]).__name__} of {getattr(pair[1], 'shape', '')}")


@expects("scaling", "give the columns of each row of the Jacobian in ascending order, each once")
def ascending(case: ScalingCase) -> None:
    _, jacobian = case.prepared.scales_and_jacobian(case.at, case.rows)
    matrix = csr_matrix(jacobian)
    for k in range(matrix.shape[0]):
        columns = matrix.indices[matrix.indptr[k] : matrix.indptr[k + 1]]
        ensure(np.all(np.diff(columns) > 0), f"those of row {k} are {columns[:6]}")


@expects("scaling", "give a Jacobian that agrees with finite differences of the scales")
def jacobian(case: ScalingCase) -> None:
    _differences(lambda p: case.prepared.scales_and_jacobian(p, case.rows), case.at)


@expects("scaling", "give restraints with derivatives that agree with finite differences")
def restraints(case: ScalingCase) -> None:
    _differences(case.prepared.restraints, case.at)


def _differences(function: Any, at: F) -> None:
    dense = _dense(function(at)[1])
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 1e-5
        numeric = (function(at + step)[0] - function(at - step)[0]) / 2e-5
        worst = np.max(np.abs(dense[:, k] - numeric) - 1e-4 * np.abs(numeric), initial=0.0)
        ensure(worst < 1e-6, f"that of parameter {k} is off by {worst:.2g}")


@expects("scaling", "do with predicted positions where there are no observed ones")
def predicted(case: ScalingCase) -> None:
    _scales_without(case, "xyzobs.px.value")


@expects("scaling", "do with observed positions where there are no predicted ones")
def observed(case: ScalingCase) -> None:
    _scales_without(case, "xyzcal.px")


def _scales_without(case: ScalingCase, column: str) -> None:
    model = case.prepared_for(slim_table(columns=tuple(name for name in COLUMNS if name != column)))
    scales, _ = model.scales_and_jacobian(model.initial(), case.rows)
    ensure(np.all(np.isfinite(scales)), "its scales are not finite")


@expects("scaling", "bear an experiment without observations")
def no_rows(case: ScalingCase) -> None:
    model = case.prepared_for(slim_table(0))
    start = np.asarray(model.initial())
    ensure(start.shape == (model.n_parameters,), f"{model.n_parameters} parameters start from {start.shape} values")
    scales, matrix = model.scales_and_jacobian(start, np.empty(0, np.int64))
    ensure(len(scales) == 0 and matrix.shape == (0, len(start)), f"it gives {len(scales)} scales")
    ensure(np.all(np.isfinite(model.restraints(start)[0])), "its restraints are not finite")


@expects("scaling", "share nothing between the models of two experiments")
def apart(case: ScalingCase) -> None:
    wanted, _ = case.prepared.scales_and_jacobian(case.at, case.rows)
    one, other = case.construct(), case.construct()
    one.prepare(tiny_experiment(), slim_table())
    other.prepare(tiny_experiment(20), slim_table(50))
    found, _ = one.scales_and_jacobian(case.at, case.rows)
    ensure(alike(found, wanted), "a second one changes the scales of the first")


@expects("scaling", "be stored as a JSON object of finite numbers with its name as __id__")
def stored(case: ScalingCase) -> None:
    record = case.prepared.to_json(case.at, np.ones(len(case.at)))
    again = json.loads(json.dumps(record, allow_nan=False))
    ensure(isinstance(again.get("__id__"), str), f"__id__ is {again.get('__id__')!r}")


@expects("scaling", "store an object configuration_parameters, to which the step adds")
def configuration(case: ScalingCase) -> None:
    record = case.prepared.to_json(case.at, np.ones(len(case.at)))
    found = record.get("configuration_parameters")
    ensure(isinstance(found, dict), f"configuration_parameters is {found!r}")
