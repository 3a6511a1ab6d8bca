"""The step ``template`` keeps the contract of its kind, and does its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xtal.files import read_reflections, write_reflections
from xtal.table import ReflectionTable
from xtal.testing import check_step


def test_contract() -> None:
    check_step("template")


def test_weak_ones_are_left_out(run_step: Callable[..., Any], tmp_path: Path) -> None:
    table = ReflectionTable(n_rows=3)
    table["intensity.sum.value"] = np.array([1.0, 10.0, 100.0])
    table["intensity.sum.variance"] = np.full(3, 4.0)
    write_reflections(table, tmp_path / "all.refl")
    run_step("template", "all.refl", "min_ratio=4")
    np.testing.assert_array_equal(read_reflections(tmp_path / "template.refl")["intensity.sum.value"], [10.0, 100.0])
