"""The kit is strict: plugins that are wrong in one respect fail it, and the message says in which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from xtal.plugins import default_plugins
from xtal.testing import check


def _no_configuration(model: Any, record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "configuration_parameters"}


def _dense(model: Any, result: Any) -> Any:
    return result[0], np.asarray(result[1].todense())


def _read_only(model: Any, result: Any) -> Any:
    result.variance.flags.writeable = False
    return result


def _of_the_batch(model: Any, result: Any) -> Any:
    result.variance[:] *= len(result.ok)
    return result


def _list(model: Any, result: Any) -> Any:
    return type(result)(result.ok, result.variance, list(result.dispersion))


@pytest.mark.parametrize(
    ("kind", "name", "method", "spoil", "said"),
    [
        ("scaling", "physical", "to_json", _no_configuration, "configuration_parameters"),
        ("scaling", "physical", "scales_and_jacobian", _dense, "CSR"),
        ("scaling", "physical", "restraints", _dense, "CSR"),
        ("background", "simple", "fit", _read_only, "writable"),
        ("background", "simple", "fit", _list, "writable"),
        ("background", "simple", "fit", _of_the_batch, "depends on the batch"),
    ],
)
def test_a_spoilt_answer_is_found(
    monkeypatch: pytest.MonkeyPatch, kind: str, name: str, method: str, spoil: Callable[..., Any], said: str
) -> None:
    cls = default_plugins().factory(kind, name)
    right = getattr(cls, method)

    def boxed(self: Any, boxes: Any) -> Any:
        return spoil(self, right(self, boxes))

    def one(self: Any, parameters: Any) -> Any:
        return spoil(self, right(self, parameters))

    def scales_and_jacobian(self: Any, parameters: Any, rows: Any) -> Any:
        return spoil(self, right(self, parameters, rows))

    def to_json(self: Any, parameters: Any, esds: Any) -> Any:
        return spoil(self, right(self, parameters, esds))

    wrong = {"fit": boxed, "restraints": one, "scales_and_jacobian": scales_and_jacobian, "to_json": to_json}
    monkeypatch.setattr(cls, method, wrong[method])
    with pytest.raises(AssertionError, match=said):
        check(kind, name)


def test_an_executor_without_workers_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_plugins().factory("executor", "serial"), "n_workers", 0)
    with pytest.raises(AssertionError, match="n_workers is at least 1"):
        check("executor", "serial")
