"""Wrong scaling models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from xtal_scaling_physical.model import Physical

RIGHT = "physical"


def scales(spoil: Callable[[Any, Any], Any]) -> type:
    """Right until ``spoil(scales, jacobian)`` changes them."""

    class Wrong(Physical):
        def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
            return spoil(*super().scales_and_jacobian(parameters, rows))

    return Wrong


def record(spoil: Callable[[dict[str, Any]], Any]) -> type:
    """Right until ``spoil`` changes what is stored."""

    class Wrong(Physical):
        def to_json(self, parameters: Any, esds: Any) -> Any:
            return spoil(super().to_json(parameters, esds))

    return Wrong


class FewNames(Physical):
    @property
    def names(self) -> list[str]:
        return super().names[1:]


class EmptyNames(Physical):
    @property
    def names(self) -> list[str]:
        return [""] * self.n_parameters


class StartsElsewhere(Physical):
    def initial(self) -> Any:
        return super().initial() + 0.5


class SlopesOff(Physical):
    def restraints(self, parameters: Any) -> Any:
        residuals, derivative = super().restraints(parameters)
        return residuals, derivative * 1.1


def needs(column: str) -> type:
    """Cannot be prepared without values in a column."""

    class Wrong(Physical):
        def prepare(self, experiment: Any, table: Any) -> None:
            self.lowest = table[column].min()
            super().prepare(experiment, table)

    return Wrong


def has_no_scales_without(column: str) -> type:
    """Can be prepared without a column, but gives NaN then."""

    class Wrong(Physical):
        def prepare(self, experiment: Any, table: Any) -> None:
            super().prepare(experiment, table)
            self.known = column in table

        def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
            g, jacobian = super().scales_and_jacobian(parameters, rows)
            return g if self.known else g * np.nan, jacobian

    return Wrong


def without_rows(method: str, spoil: Callable[[Any], Any]) -> type:
    """Right until ``spoil`` changes what a method answers where there are no observations."""

    class Wrong(Physical):
        def prepare(self, experiment: Any, table: Any) -> None:
            super().prepare(experiment, table)
            self.none = not len(table)

        def initial(self) -> Any:
            return self._spoilt("initial", super().initial())

        def restraints(self, parameters: Any) -> Any:
            return self._spoilt("restraints", super().restraints(parameters))

        def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
            return self._spoilt("scales_and_jacobian", super().scales_and_jacobian(parameters, rows))

        def _spoilt(self, name: str, answer: Any) -> Any:
            return spoil(answer) if self.none and name == method else answer

    return Wrong


class NoParameters(Physical):
    n_parameters = 0


class NeedsSome(Physical):
    def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
        self.first = rows.min()
        return super().scales_and_jacobian(parameters, rows)


class OneAtLeast(Physical):
    def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
        return super().scales_and_jacobian(parameters, rows if len(rows) else np.zeros(1, np.int64))


class Recycles(Physical):
    """Has one array for all scales that it gives."""

    def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
        g, jacobian = super().scales_and_jacobian(parameters, rows)
        self.scales = getattr(self, "scales", np.empty(1000))
        self.scales[: len(g)] = g
        return self.scales[: len(g)], jacobian


class OneUnit(Physical):
    """All experiments share one overall scale."""

    unit = 1.0

    def prepare(self, experiment: Any, table: Any) -> None:
        super().prepare(experiment, table)
        OneUnit.unit = float(len(table))

    def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
        g, jacobian = super().scales_and_jacobian(parameters, rows)
        return g * OneUnit.unit, jacobian


class Shared(Physical):
    """Every experiment gets the model that was prepared last."""

    last: Any = None

    def prepare(self, experiment: Any, table: Any) -> None:
        super().prepare(experiment, table)
        Shared.last = self

    def scales_and_jacobian(self, parameters: Any, rows: Any) -> Any:
        return Physical.scales_and_jacobian(Shared.last, parameters, rows)


def backwards(g: Any, jacobian: Any) -> Any:
    n, p = jacobian.shape
    columns = jacobian.indices.reshape(n, -1)[:, ::-1]
    values = jacobian.data.reshape(n, -1)[:, ::-1]
    return g, csr_matrix((values.ravel(), columns.ravel(), jacobian.indptr), shape=(n, p))


WRONG = {
    "parameters": FewNames,
    "some_parameters": NoParameters,
    "names": EmptyNames,
    "initial": StartsElsewhere,
    "positive": [
        scales(lambda g, jacobian: (-g, jacobian)),
        scales(lambda g, jacobian: (g[:, None], jacobian)),
    ],
    "far": scales(lambda g, jacobian: (1 + np.log(g), jacobian)),
    "rows": scales(lambda g, jacobian: (g / g.mean(), jacobian)),
    "none_asked": [NeedsSome, OneAtLeast],
    "earlier_arrays": Recycles,
    "sparse": scales(lambda g, jacobian: (g, jacobian.toarray())),
    "ascending": scales(backwards),
    "jacobian": scales(lambda g, jacobian: (g, jacobian * 1.1)),
    "restraints": SlopesOff,
    "predicted": [needs("xyzobs.px.value"), has_no_scales_without("xyzobs.px.value")],
    "observed": [needs("xyzcal.px"), has_no_scales_without("xyzcal.px")],
    "no_rows": [
        needs("d"),
        without_rows("initial", lambda start: start[:0]),
        without_rows("scales_and_jacobian", lambda pair: (np.ones(1), pair[1])),
        without_rows("restraints", lambda pair: (pair[0] * np.nan, pair[1])),
    ],
    "apart": [Shared, OneUnit],
    "stored": [
        record(lambda found: found | {"worst": float("nan")}),
        record(lambda found: found | {"__id__": None}),
    ],
    "configuration": record(lambda found: {k: v for k, v in found.items() if k != "configuration_parameters"}),
}
