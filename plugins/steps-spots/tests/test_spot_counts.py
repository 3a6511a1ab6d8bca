"""Counts of spots per image: against what was put in, and against obvious computations."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from xtal.errors import OptionError
from xtal.files import read_reflections
from xtal.physics.spots import ice_rings
from xtal.physics.spots.statistics import (
    SpotStatistics,
    limit_of_counts,
    limit_of_ranks,
    on_ice,
    out_of_order,
    shells_of_equal_numbers,
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


def test_shells_hold_equal_numbers_of_spots() -> None:
    d = uniform(450, 2.0)
    shells = shells_of_equal_numbers(d)
    assert len(shells) == 20
    assert {len(s) for s in shells} == {22, 23}
    coarse_first = np.argsort(-d)
    assert [set(s) for s in shells[:2]] == [set(coarse_first[1:23]), set(coarse_first[23:45])]
    assert sorted(np.concatenate(shells)) == sorted(coarse_first[1:])


def strengths_slowly(d: np.ndarray, intensity: np.ndarray, variance: np.ndarray, ice: np.ndarray) -> float:
    """`estimated_d_min`, spot by spot; no two of ``d`` are the same."""
    coarse_first, n = sorted(range(len(d)), key=lambda i: -d[i]), max(5, min(len(d) // 20, 20))
    ends = [int((k + 1) * len(d) / n + 0.5) for k in range(n)]
    points, left_out = [], {i for i in range(len(d)) if ice[i]}
    for begin, end in zip([1, *ends[:-1]], ends, strict=True):  # the coarsest spot of all is in no shell
        shell = coarse_first[begin:end]
        left_out |= {shell[k] for k in np.flatnonzero(wilson_outliers(intensity[shell], ice[shell]))}
        kept = sorted((math.log(intensity[i] / math.sqrt(variance[i])), i) for i in shell if i not in left_out)
        low, high = kept[int(0.1 * len(kept))][1], kept[int(0.9 * len(kept))][0]
        points.append((d[low] ** -2, high))
    slope, offset = np.polynomial.Polynomial.fit(*zip(*points, strict=True), 1).convert().coef[::-1]
    below = [
        d[i]
        for i in range(len(d))
        if i not in left_out and math.log(intensity[i] / math.sqrt(variance[i])) < slope * d[i] ** -2 + offset
    ]
    return min(below)


def ranks_slowly(d: np.ndarray) -> float:
    """`d_min_distl_method_1`, point by point: the last one about as far from the chord as the farthest."""
    step = max(2, math.ceil(len(d) / 40))
    points = [sorted(d, reverse=True)[k * step] for k in range(len(d) // step)]
    rise = [x**-3 - points[0] ** -3 for x in points]
    last = max(range(4, len(points)), key=lambda k: rise[k] / k)
    gaps = [abs(rise[last] * k - last * rise[k]) / math.hypot(last, rise[last]) for k in range(last)]
    return points[max(k for k in range(last) if gaps[k] > max(gaps) - 0.5 * np.std(gaps, ddof=1))]


def counts_slowly(d: np.ndarray) -> float:
    """`d_min_distl_method_2`, shell by shell: the edge between the first two that hold few."""
    y = sorted(x**-3 for x in d)
    first = math.ceil(min(max(25, 0.05 * len(y)), 0.25 * len(y)))
    n = min(max(math.ceil((y[-1] - y[0]) / (y[first] - y[0])), 20), 40)
    edges = [y[0] + k * (y[-1] - y[0]) / n for k in range(n + 1)]
    counts = [sum(a < x <= b for x in y) for a, b in itertools.pairwise(edges)]
    few = 0.15 * (counts[0] + counts[1]) / 2
    return next(edges[k + 1] ** (-1 / 3) for k in range(n - 1) if counts[k] < few and counts[k + 1] < few)


@pytest.mark.parametrize("seed", range(6))
def test_figures_of_an_image_agree_with_slow_computations(seed: int) -> None:
    """Spots that become fewer beyond 2.5 angstrom, some on rings of ice, some of unknown variance."""
    random = np.random.default_rng(seed)
    d = np.concatenate([uniform(440, 2.5, seed), (2.5**-3 + random.exponential(0.02, 60)) ** (-1 / 3)])
    intensity = random.exponential(1.0, len(d)) * 5000 * np.exp(-20 / d**2) + 20
    intensity[:40:4] *= 50
    variance = intensity * random.uniform(1, 2, len(d))
    variance[5:9] = 0.0
    known = variance > 0
    ice = np.array([any(abs(x**-2 - (a**-2 + b**-2) / 2) < 0.002 for a, b in ice_rings(1.3)) for x in d])
    assert 20 < ice.sum() < 100
    found = spot_statistics(d, intensity, variance)
    assert (found.n_spots_total, found.n_spots_no_ice) == (len(d), (~ice).sum())
    assert found.n_spots_4A == sum(x > 4 for x in d) > 50
    assert found.total_intensity == pytest.approx(sum(intensity[~ice]))
    columns = (c[known] for c in (d, intensity, variance, ice))
    assert found.estimated_d_min == pytest.approx(strengths_slowly(*columns))
    assert found.d_min_distl_method_1 == pytest.approx(ranks_slowly(d[known]))
    assert found.d_min_distl_method_2 == pytest.approx(counts_slowly(d[known]))
    (image,) = statistics_per_image(np.full(len(d), 0.5), 0, 1, (d, intensity, variance), resolution=False)
    assert image == SpotStatistics(*list(found.as_dict().values())[:4])
    on_rings = spot_statistics(d[ice], intensity[ice], variance[ice])
    assert (on_rings.n_spots_total, on_rings.d_min_distl_method_1) == (ice.sum(), -1)


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
