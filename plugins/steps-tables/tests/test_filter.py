"""Flag expressions, and the filters of filter_reflections."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_reflections, write_experiments, write_reflections
from xtal.models import ExperimentList
from xtal.table import Flag, ReflectionTable
from xtal.testing import tiny_experiment
from xtal.units import DEG
from xtal_steps_tables.filter_options import DeadTimeOptions
from xtal_steps_tables.filter_reflections import alive
from xtal_steps_tables.flag_expression import NAMES, select_by_flags

I, S, P = int(Flag.INDEXED), int(Flag.INTEGRATED_SUM), int(Flag.INTEGRATED_PRF)


def flags(*values: int) -> ReflectionTable:
    return ReflectionTable({"flags": np.array(values, np.uint64)})


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("indexed", [1, 0, 1, 0]),
        ("~indexed", [0, 1, 0, 1]),
        ("~~indexed", [1, 0, 1, 0]),
        ("integrated", [0, 0, 1, 0]),
        ("integrated_sum | indexed & integrated_prf", [0, 1, 1, 0]),
        ("(integrated_sum | indexed) & integrated_prf", [0, 0, 1, 0]),
        ("~(integrated_sum|indexed)", [0, 0, 0, 1]),
        ("~integrated_sum & ~indexed", [0, 0, 0, 1]),
    ],
)
def test_expressions(expression, wanted):
    table = flags(I, S, I | S | P, 0)
    assert select_by_flags(expression, table).tolist() == [bool(x) for x in wanted]


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "ends where a flag"),
        ("indexed &", "ends where a flag"),
        ("(indexed", "bracket is not closed"),
        ("indexed)", "stands where & or"),
        ("indexed strong", "stands where & or"),
        ("indexd", "did you mean indexed"),
        ("indexed and strong", "'and' stands where"),
        ("indexed ^ strong", "none of"),
        ("& indexed", "stands where a flag"),
        ("__import__('os')", "none of"),
        ("indexed ~ strong", "stands where"),
    ],
)
def test_bad_expressions_say_what_is_wrong(expression, why):
    with pytest.raises(OptionError, match=why):
        select_by_flags(expression, flags(0))


def test_every_flag_has_a_name():
    assert {"integrated", "bad_for_scaling", "bad_for_refinement", "includes_bad_pixels", "strong"} <= set(NAMES)


def dead(z: float, half_deg: float, value_ms: float, reject: float) -> bool:
    """Whether a reflection at image position z, of this half width, is kept (images of 0.5 degree and 1 s)."""
    experiment = tiny_experiment()
    experiment.scan.exposure_times = np.ones(10)
    experiment.profile = {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_m": half_deg / 3}
    s1 = np.array([[0.0, 1.0, -1.0]]) / np.sqrt(2)  # at right angles to the axis: zeta is 1
    table = ReflectionTable(
        {
            "flags": np.array([S | P], np.uint64),
            "s1": s1,
            "xyzcal.mm": np.array([[0.0, 0.0, experiment.scan.phi(z)]]),
        }
    )
    return bool(alive(table, ExperimentList([experiment]), DeadTimeOptions(value_ms, reject))[0])


def test_dead_time_is_the_end_of_each_image():
    assert dead(2.5, 0.1, 200, 0.0)
    assert not dead(2.9, 0.01, 200, 0.0)
    assert dead(3.05, 0.01, 200, 0.0)


def test_dead_times_of_several_images_add_up():
    """A reflection of 2.5 degrees lasts for five images of which a fifth each is lost."""
    assert dead(5.0, 1.25, 200, 0.21)
    assert not dead(5.0, 1.25, 200, 0.19)


def test_dead_time_counts_images_from_the_first_of_the_scan():
    """DIALS 3.12 rejects nothing of a scan that starts late, for it adds the number of the image twice."""
    experiment = tiny_experiment()
    experiment.scan.image_range = (101, 110)
    experiment.scan.exposure_times = np.ones(10)
    experiment.profile = {"n_sigma": 3.0, "sigma_m": 0.01}
    table = ReflectionTable(
        {
            "flags": np.full(2, S | P, np.uint64),
            "s1": np.array([[0.0, 1.0, -1.0]] * 2) / np.sqrt(2),
            "xyzcal.mm": np.array([[0, 0, 0.49 * DEG], [0, 0, 0.2 * DEG]]),
        }
    )
    assert alive(table, ExperimentList([experiment]), DeadTimeOptions(200, 0.0)).tolist() == [False, True]


@pytest.fixture
def files(tmp_path):
    n = 6
    table = ReflectionTable(
        {
            "id": np.array([0, 0, 0, 0, 0, -1], np.int32),
            "flags": np.array([I, I, I | S | P, S | P, 0, 0], np.uint64),
            "panel": np.zeros(n, np.uint64),
            "miller_index": np.array([[1, 0, 0], [2, 0, 0], [4, 0, 0], [0, 5, 0], [0, 0, 6], [0, 0, 0]], np.int32),
            "partiality": np.array([0.1, 0.5, 0.995, 1.0, 1.0, 0.2]),
            "intensity.sum.variance": np.array([1.0, 1, 1, 0, 1, 1]),
        },
        {0: "tiny"},
    )
    write_reflections(table, tmp_path / "a.refl")
    write_experiments(ExperimentList([tiny_experiment()]), tmp_path / "a.expt")
    return tmp_path / "a.expt", tmp_path / "a.refl"


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["d_min=15"], [0, 1]),
        (["d_min=9", "d_max=12"], [2, 3, 4]),
        (["partiality.min=0.3", "partiality.max=0.996"], [1, 2]),
        (["remove_by_index=0,5"], [1, 2, 3, 4]),
        (["select_good_intensities=True"], [2, 4]),
        (["id=-1"], [5]),
        (["flag_expression=integrated & ~indexed"], [3]),
    ],
)
def test_filters(run_step, files, words, rows):
    outcome = run_step("filter_reflections", *files, *words)
    found = read_reflections(outcome.outputs["reflections"])
    wanted = read_reflections(files[1])["miller_index"][rows]
    assert found["miller_index"].tolist() == wanted.tolist()


def test_without_a_filter_nothing_is_written(run_step, files):
    outcome = run_step("filter_reflections", files[1])
    assert not outcome.outputs


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (["d_min=3", "d_max=2"], OptionError, "must be less than"),
        (["partiality.min=0.9", "partiality.max=0.1"], OptionError, "must not be more"),
        (["dead_time.value=5"], DataError, "exposure times"),
    ],
)
def test_what_cannot_be_done_is_said(run_step, files, words, error, match):
    with pytest.raises(error, match=match):
        run_step("filter_reflections", *files, *words)


def test_resolution_needs_experiments(run_step, files):
    with pytest.raises(DataError, match="no resolution"):
        run_step("filter_reflections", files[1], "d_min=2")


def test_a_table_is_needed(run_step, files):
    with pytest.raises(UsageError, match="reflection table"):
        run_step("filter_reflections", files[0])
