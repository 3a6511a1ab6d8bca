"""combine_experiments, slice_sequence and filter_reflections beside DIALS 3.12 on the same files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections, write_experiments
from xtal.models import Experiment, ExperimentList
from xtal.table import Flag, ReflectionTable, Shoeboxes
from xtal.testing import shared_dir

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]


def slowly(*values: object) -> object:
    """One more case, for the slow suite."""
    return pytest.param(*values, marks=pytest.mark.slow)


XTAL = str(Path(sys.executable).parent / "xtal")


def both(tmp_path: Path, step: str, *words: object) -> tuple[Path, Path, str]:
    """Folders of what DIALS and xtal wrote, and what DIALS said."""
    folders, told = [], ""
    for name, command in (("dials", [f"dials.{step}"]), ("xtal", [XTAL, "run", step])):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [*command, *map(str, words)],
            cwd=folder,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, f"{command} {words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        told = told or done.stdout
        folders.append(folder)
    return folders[0], folders[1], told


def processed(*names: str) -> list[Path]:
    return [shared_dir() / "data" / "processed_dials" / name for name in names]


def same_tables(theirs: ReflectionTable, ours: ReflectionTable, leave: tuple[str, ...] = ()) -> None:
    assert sorted(theirs.columns()) == sorted(ours.columns())
    assert len(theirs) == len(ours)
    assert {k: v for k, v in theirs.identifiers.items() if v}.items() <= ours.identifiers.items()
    assert not set(np.unique(ours["id"])) - {-1, *ours.identifiers} or not theirs.identifiers
    for name in theirs:
        if name in leave:
            continue
        if isinstance(theirs[name], Shoeboxes):
            for part in ("panel", "bbox", "data", "mask", "background"):
                np.testing.assert_array_equal(getattr(theirs[name], part), getattr(ours[name], part))
        else:
            np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


def same_experiments(theirs: ExperimentList, ours: ExperimentList, identifiers: bool = True) -> None:
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        assert not identifiers or a.identifier == b.identifier
        same_experiment(a, b)


def same_experiment(a: Experiment, b: Experiment) -> None:
    np.testing.assert_allclose(a.beam.s0, b.beam.s0, atol=1e-12)
    for p, q in zip(a.detector, b.detector, strict=True):
        np.testing.assert_allclose(p.d_matrix, q.d_matrix, atol=1e-9)
    for name in ("A", "A_at_scan_points", "B_covariance", "B_covariance_at_scan_points"):
        x, y = getattr(a.crystal, name), getattr(b.crystal, name)
        assert (x is None) == (y is None), name
        if x is not None:
            np.testing.assert_allclose(x, y, atol=1e-12)
    assert a.crystal.hall == b.crystal.hall
    if a.scan is not None:
        assert a.scan.image_range == b.scan.image_range
        np.testing.assert_allclose(a.scan.oscillation_deg, b.scan.oscillation_deg, atol=1e-9)
        np.testing.assert_allclose(a.scan.exposure_times, b.scan.exposure_times)
        np.testing.assert_allclose(a.scan.epochs, b.scan.epochs)
        np.testing.assert_allclose(a.goniometer.axis, b.goniometer.axis, atol=1e-12)


SCALED = [f"l_cysteine_4_sweeps_scaled/scaled_{n}.{kind}" for kind in ("expt", "refl") for n in (30, 35)]
STILLS = ["ssx_CuNiR_test_data/indexed.expt", "ssx_CuNiR_test_data/indexed.refl"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (SCALED, []),
        (SCALED, ["delete_shoeboxes=True", "reference_from_experiment.detector=1", "compare_models=False"]),
        slowly(SCALED, ["average_detector=True", "reference_from_experiment.beam=0", "compare_models=False"]),
        slowly(SCALED, ["min_reflections_per_experiment=5400"]),
        slowly(SCALED, ["n_subset=1", "n_subset_method=n_refl"]),
        slowly(STILLS, []),
        slowly(STILLS, ["n_subset=2", "n_subset_method=n_refl", "n_refl_panel_list=0"]),
        slowly(STILLS, ["max_reflections_per_experiment=60"]),
        slowly(STILLS, ["n_subset=3", "n_subset_method=significance_filter", "isigi_cutoff=2"]),
    ],
)
def test_combined_files_are_the_same(tmp_path, files, words):
    theirs, ours, _ = both(tmp_path, "combine_experiments", *processed(*files), *words)
    a, b = (read_reflections(folder / "combined.refl") for folder in (theirs, ours))
    # of a part of the experiments, DIALS 3.12 leaves the numbers of images as they were in the whole
    same_tables(a, b, leave=("imageset_id",) if any("n_subset" in word for word in words) else ())
    assert set(np.unique(b["imageset_id"])) == set(range(len(b.identifiers)))
    same_experiments(*(read_experiments(folder / "combined.expt") for folder in (theirs, ours)))


@pytest.mark.slow
def test_batches_are_the_same(tmp_path):
    theirs, ours, _ = both(tmp_path, "combine_experiments", *processed(*STILLS), "max_batch_size=2")
    names = sorted(p.name for p in theirs.glob("combined_*.expt"))
    assert names == sorted(p.name for p in ours.glob("combined_*.expt")) and len(names) > 1
    for name in names:
        same_experiments(read_experiments(theirs / name), read_experiments(ours / name))
        table = name.replace(".expt", ".refl")
        same_tables(read_reflections(theirs / table), read_reflections(ours / table), leave=("imageset_id",))


@pytest.mark.slow
def test_groups_of_cells_are_the_same(tmp_path):
    theirs, ours, _ = both(
        tmp_path, "combine_experiments", *processed(*STILLS), "clustering.use=True", "threshold=40", "max_clusters=9"
    )
    names = sorted(p.name for p in theirs.glob("combined_cluster*"))
    assert names == sorted(p.name for p in ours.glob("combined_cluster*") if p.suffix != ".json")
    for name in names:
        if name.endswith(".expt"):
            same_experiments(read_experiments(theirs / name), read_experiments(ours / name))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["image_range=10,300"], "scaled_30_10_300"),
        slowly(["block_size=25"], "scaled_30_sliced"),
        slowly(["block_size=7.3"], "scaled_30_sliced"),
        slowly(["block_size=1000"], "scaled_30_1_1700"),
    ],
)
def test_sliced_files_are_the_same(tmp_path, words, names):
    files = processed(SCALED[0], SCALED[2])
    theirs, ours, _ = both(tmp_path, "slice_sequence", *files, *words)
    a, b = (read_experiments(folder / f"{names}.expt") for folder in (theirs, ours))
    same_experiments(a, b, identifiers=not words[0].startswith("block"))
    c, d = (read_reflections(folder / f"{names}.refl") for folder in (theirs, ours))
    if words[0].startswith("block"):  # new identifiers are by chance there, by content here
        assert len(set(d.identifiers.values())) == len(b)
        d.identifiers = c.identifiers
    same_tables(c, d)


@pytest.mark.slow
def test_sliced_scan_of_several_experiments(tmp_path):
    theirs, _, _ = both(tmp_path, "combine_experiments", *processed(*SCALED))
    cut = both(
        tmp_path,
        "slice_sequence",
        theirs / "combined.expt",
        theirs / "combined.refl",
        "image_range=10,300",
        "image_range=1,50",
    )
    same_experiments(*(read_experiments(folder / "combined_sliced.expt") for folder in cut[:2]))
    same_tables(*(read_reflections(folder / "combined_sliced.refl") for folder in cut[:2]))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scaled_30", ["flag_expression=integrated & ~reference_spot", "d_min=1", "d_max=3", "id=0", "panel=0"]),
        slowly("scaled_30", ["ice_rings.filter=True", "partiality.min=0.9", "remove_by_index=0,5,100"]),
        ("integrated", ["flag_expression=~(integrated_sum | strong) | bad_for_scaling & predicted"]),
        slowly("scaled_30", ["partiality.max=0.9"]),
        slowly("scaled_30", ["ice_rings.filter=True", "ice_rings.d_min=2", "width=0.004"]),
        slowly("integrated", ["ice_rings.filter=True", "flag_expression=indexed"]),
    ],
)
def test_filtered_tables_are_the_same(tmp_path, name, words):
    folder = "l_cysteine_4_sweeps_scaled" if name == "scaled_30" else "quartz_processed"
    files = processed(f"{folder}/{name}.refl", f"{folder}/{name}.expt")
    theirs, ours, _ = both(tmp_path, "filter_reflections", *files, *words)
    same_tables(read_reflections(theirs / "filtered.refl"), read_reflections(ours / "filtered.refl"))


@pytest.mark.slow
def test_resolution_is_computed_where_it_is_missing(tmp_path):
    name = "quartz_processed/indexed"
    theirs, ours, _ = both(tmp_path, "filter_reflections", *processed(f"{name}.refl", f"{name}.expt"), "d_min=1.2")
    a, b = (read_reflections(folder / "filtered.refl") for folder in (theirs, ours))
    same_tables(a, b, leave=("d",))
    np.testing.assert_allclose(a["d"], b["d"], rtol=1e-9)


def test_flags_are_counted_alike(tmp_path):
    (file,) = processed(SCALED[2])
    _, _, told = both(tmp_path, "filter_reflections", file)
    wanted = {name: int(n) for name, n in re.findall(r"\| (\w+)\s+\|\s+(\d+) \|", told)}
    table = read_reflections(file)
    found = {name.lower(): int(table.has_flags(flag).sum()) for name, flag in Flag.__members__.items()}
    assert wanted == {name: n for name, n in found.items() if n}


@pytest.mark.slow
def test_good_intensities_have_positive_variances(tmp_path):
    """DIALS 3.12 announces the same, and keeps rows that were never integrated, whose variance is zero."""
    theirs, ours, _ = both(tmp_path, "filter_reflections", *processed(SCALED[2]), "select_good_intensities=True")
    a, b = (read_reflections(folder / "filtered.refl") for folder in (theirs, ours))
    assert (a["intensity.prf.variance"] <= 0).any()
    good = (a["intensity.prf.variance"] > 0) & (a["intensity.sum.variance"] > 0)
    np.testing.assert_array_equal(a["miller_index"][good], b["miller_index"])
    assert len(b) and np.all(b["intensity.prf.variance"] > 0)


def test_dead_time(tmp_path):
    """On a scan that starts with image 1, where DIALS 3.12 counts angles right."""
    expt, refl = processed("quartz_processed/integrated.expt", "quartz_processed/integrated.refl")
    experiments = read_experiments(expt)
    scan = experiments[0].scan
    assert scan.image_range[0] == 1
    scan.exposure_times = np.ones(scan.n_images)
    experiments[0].profile["sigma_m"] = 0.01
    write_experiments(experiments, tmp_path / "timed.expt")
    words = [tmp_path / "timed.expt", refl, "dead_time.value=20", "reject_fraction=0"]
    theirs, ours, _ = both(tmp_path, "filter_reflections", *words)
    a, b = (read_reflections(folder / "filtered.refl") for folder in (theirs, ours))
    assert 0 < len(a) < len(read_reflections(refl))
    same_tables(a, b)


@pytest.mark.slow
def test_dead_time_of_several_images_adds_up(tmp_path):
    """DIALS 3.12 compares that of each image alone, and keeps what lost half of itself to ten of them."""
    name = "l_cysteine_narrow_wedge/11_integrated"
    files = processed(f"{name}.expt", f"{name}.refl")
    theirs, ours, _ = both(tmp_path, "filter_reflections", *files, "dead_time.value=48", "reject_fraction=0.3")
    a, b = (read_reflections(folder / "filtered.refl") for folder in (theirs, ours))
    assert 0 < len(b) < len(a)
    assert set(map(tuple, b["miller_index"])) <= set(map(tuple, a["miller_index"]))
