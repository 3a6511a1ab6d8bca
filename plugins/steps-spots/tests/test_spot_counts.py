"""Counts of spots per image: against what was put in, and against obvious computations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from xtal.errors import OptionError
from xtal.files import read_reflections
from xtal.physics.spots.statistics import (
    limit_of_counts,
    limit_of_ranks,
    on_ice,
    out_of_order,
    spot_statistics,
    statistics_per_image,
    wilson_outliers,
)
from xtal.table import ReflectionTable
from xtal_steps_spots import report, spot_counts

ICE = 3.895
"""Angstrom, (1 0 0) of hexagonal ice."""


def uniform(n: int, d_min: float, seed: int = 1) -> np.ndarray:
    """Resolutions of n spots spread evenly in the volume of reciprocal space."""
    return (np.random.default_rng(seed).uniform(20.0**-3, d_min**-3, n)) ** (-1 / 3)


def test_ice_is_told_by_a_half_width_to_either_side() -> None:
    q = ICE**-2 + np.array([-0.0021, -0.0019, 0.0, 0.0019, 0.0021])
    cell = 4.498 * np.sqrt(3) / 2
    assert abs(cell - ICE) < 1e-3
    assert on_ice(q**-0.5, 0.004).tolist() == [False, True, True, True, False]


def test_methods_find_the_edge_of_evenly_spread_spots() -> None:
    d = uniform(2000, 2.0)
    d_min, noisiness = limit_of_counts(d)
    assert noisiness > 0.2  # even shells are in no order
    assert 1.95 < d_min < 2.1
    d_min, _ = limit_of_ranks(d)
    assert d_min >= 2.0


def test_method_2_stops_before_a_sparse_tail() -> None:
    d = np.concatenate([uniform(1000, 3.0), np.linspace(2.9, 2.0, 8)])
    assert 2.8 < limit_of_counts(d)[0] < 3.1


def test_order_is_counted_by_pairs() -> None:
    assert out_of_order(np.array([1, 2, 3]), rising=True) == 0.0
    assert out_of_order(np.array([3, 3, 1]), rising=False) == pytest.approx(1 / 3)


def test_wilson_outliers_agree_with_a_slow_loop() -> None:
    intensity = np.concatenate([np.random.default_rng(3).exponential(100.0, 60), [5000.0, 900.0]])
    ice = np.arange(62) % 9 == 0
    expected: set[int] = set()
    while True:
        rest = [i for i in range(62) if i not in expected]
        mean = np.mean([intensity[i] for i in rest if not ice[i]])
        found = {i for i in rest if np.sqrt(intensity[i] / mean) >= np.sqrt(-np.log(0.01))}
        if not found:
            break
        expected |= found
    assert set(np.flatnonzero(wilson_outliers(intensity, ice))) == expected


def test_images_are_counted_apart() -> None:
    z = np.array([0.5, 2.2, 0.1, 2.9])
    one = np.full(4, 5.0)
    found = statistics_per_image(z, 0, 3, (one, one, one))
    assert [s.n_spots_total for s in found] == [2, 0, 2]
    assert found[1].estimated_d_min == -1


def test_few_spots_have_no_estimate() -> None:
    ten = np.full(10, 5.0)
    assert spot_statistics(ten, ten, ten).d_min_distl_method_1 == -1


@pytest.fixture
def step(run_step: Callable[..., Any], tiny_scan: Path) -> Callable[..., Any]:
    run_step("import", *map(str, sorted(tiny_scan.glob("*.cbf"))))
    run_step("find_spots", "imported.expt")
    return run_step


def test_json_and_plot_are_written(step: Callable[..., Any]) -> None:
    step("spot_counts_per_image", "imported.expt", "strong.refl", "json=c.json", "split_json=true", "plot=p.png")
    figures = json.loads(Path("c.json").read_text())
    z = read_reflections(Path("strong.refl"))["xyzobs.px.value"][:, 2]
    n = len(figures["n_spots_total"])
    assert figures["n_spots_total"] == np.bincount(z.astype(int), minlength=n).tolist()
    assert json.loads(Path("c_n_spots_4A.json").read_text()) == figures["n_spots_4A"]
    assert Path("p.png").read_bytes()[:4] == b"\x89PNG"


def test_the_plot_of_one_image_has_no_parts_of_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    ten = np.full(10, 5.0)
    spot_counts.plot([7], [spot_statistics(ten, ten, ten)], tmp_path / "counts.png")
    report.plot(ReflectionTable({"id": np.zeros(1, int), "xyzobs.px.value": np.full((1, 3), 6.5)}), {0: [6]}, tmp_path)
    for figure in drawn:
        axes = figure.axes[-1]
        shown = [x for x in axes.get_xticks() if axes.get_xlim()[0] <= x <= axes.get_xlim()[1]]
        assert shown == [7.0]
        assert axes.get_ylim()[0] == 0.0
    assert len(drawn) == 2


def test_an_experiment_that_is_not_there(step: Callable[..., Any]) -> None:
    with pytest.raises(OptionError, match="id=3: there is one experiment, counted from 0"):
        step("spot_counts_per_image", "imported.expt", "strong.refl", "id=3")


def test_images_of_stills_are_counted_on(run_step: Callable[..., Any], tiny_scan: Path) -> None:
    images = sorted(tiny_scan.glob("*.cbf"))[:4]
    run_step("import", *images, "oscillation=0,0")
    run_step("find_spots", "imported.expt")
    words = ("spot_counts_per_image", "imported.expt", "strong.refl")
    tables = [run_step(*words, *more).tables[0] for more in ([], ["id=2"])]
    rows = [[line.split() for line in text.splitlines() if line.split()[0].isdigit()] for text in tables]
    assert [row[0] for row in rows[0]] == ["1", "2", "3", "4"]
    assert [row[1:4] for row in rows[1]] == [rows[0][2][1:4]]


def test_a_panel_without_estimates_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    for n in (3, 40):
        d = np.linspace(1.5, 6.0, n)
        spot_counts.plot([1], [spot_statistics(d, d, d)], tmp_path / "counts.png")
    told = [[text.get_text() for text in figure.axes[1].texts] for figure in drawn]
    assert told == [["no image has more than 20 spots"], []]
    assert [len(figure.axes[1].get_yticks()) > 0 for figure in drawn] == [False, True]
