"""combine_experiments and slice_sequence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import gemmi
import numpy as np
import pytest

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import Crystal, ExperimentList, Group, Images, rotation_matrix
from xtal.physics.lattice.cell_groups import cell_distances, group_cells, join_distances
from xtal.table import ReflectionTable
from xtal.testing import tiny_experiment
from xtal_steps_tables.references import mean_detector
from xtal_steps_tables.slicing import block_ranges, ranges_between


def data_set(folder: Path, name: str, n: int = 20, **changes: Any) -> tuple[Path, Path]:
    """A scan of ten images with drifting crystal, and spots, two of them unindexed."""
    e = tiny_experiment()
    e.identifier, e.images = name, Images(str(folder / f"{name}_####.cbf"))
    points = np.array([e.crystal.A * (1 + 1e-4 * k) for k in range(11)])
    e.crystal.A_at_scan_points = points
    e.crystal.B_covariance_at_scan_points = np.arange(11 * 81.0).reshape(11, 9, 9)
    e.profile = {"__id__": "gaussian_rs", "n_sigma": 3.0, "sigma_b": [0.01 * k for k in range(10)], "sigma_m": 0.1}
    e = attrs.evolve(e, **changes)
    ids = np.zeros(n, np.int32)
    ids[-2:] = -1
    z = np.linspace(0, 9.99, n)
    table = ReflectionTable(
        {
            "id": ids,
            "imageset_id": np.zeros(n, np.int32),
            "miller_index": np.arange(3 * n, dtype=np.int32).reshape(n, 3),
            "xyzobs.px.value": np.column_stack([z, z, z]),
            "intensity.sum.value": np.ones(n),
            "intensity.sum.variance": np.ones(n),
        },
        {0: name},
    )
    write_experiments(ExperimentList([e]), folder / f"{name}.expt")
    write_reflections(table, folder / f"{name}.refl")
    return folder / f"{name}.expt", folder / f"{name}.refl"


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "in"
    folder.mkdir()
    pairs = [data_set(folder, name, n) for name, n in (("a", 20), ("b", 30), ("c", 10))]
    return [path for pair in zip(*pairs, strict=True) for path in pair]


def test_ids_identifiers_and_images_count_the_whole(run_step, inputs):
    outputs = run_step("combine_experiments", *inputs).outputs
    experiments, table = read_experiments(outputs["experiments"]), read_reflections(outputs["reflections"])
    assert [e.identifier for e in experiments] == ["a", "b", "c"]
    assert table.identifiers == {0: "a", 1: "b", 2: "c"}
    assert np.bincount(table["id"] + 1).tolist() == [6, 18, 28, 8]
    # rows without an experiment follow their images
    assert np.bincount(table["imageset_id"]).tolist() == [20, 30, 10]
    assert experiments[0].profile is not None


def test_models_can_be_shared(run_step, inputs):
    outputs = run_step(
        "combine_experiments",
        *inputs,
        *(f"reference_from_experiment.{m}=1" for m in ("beam", "detector", "goniometer")),
    ).outputs
    a, b, c = read_experiments(outputs["experiments"])
    assert a.beam is b.beam is c.beam
    assert a.detector is c.detector
    assert a.crystal is not b.crystal


def test_models_that_differ_are_told(run_step, tmp_path, inputs):
    folder = tmp_path / "in"
    e = tiny_experiment()
    e.beam.wavelength = 1.1
    odd = data_set(folder, "odd", beam=e.beam)
    words = [*inputs[:3], odd[0], *inputs[3:], odd[1], "reference_from_experiment.beam=0"]
    with pytest.raises(DataError, match=r"beam of experiment 3 differs .*wavelength: 1.1, 1"):
        run_step("combine_experiments", *words)
    run_step("combine_experiments", *words, "compare_models=False")
    with pytest.raises(OptionError, match="not among the experiments 0 to 2"):
        run_step("combine_experiments", *inputs, "reference_from_experiment.beam=7")


def test_the_same_data_twice_and_unequal_counts_are_refused(run_step, inputs):
    with pytest.raises(DataError, match="same experiment"):
        run_step("combine_experiments", inputs[0], inputs[0], inputs[3], inputs[3])
    with pytest.raises(DataError, match="2 experiment lists and 1 reflection"):
        run_step("combine_experiments", inputs[0], inputs[1], inputs[3])


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["n_subset=2", "n_subset_method=n_refl"], ["a", "b"]),
        (["min_reflections_per_experiment=10"], ["a", "b"]),
        (["max_reflections_per_experiment=10"], ["c"]),
        (["sort_by_imageset_path_and_image_index=True"], ["a", "b", "c"]),
    ],
)
def test_subsets(run_step, inputs, words, names):
    outputs = run_step("combine_experiments", *inputs, *words).outputs
    assert [e.identifier for e in read_experiments(outputs["experiments"])] == names
    table = read_reflections(outputs["reflections"])
    assert list(table.identifiers.values()) == names
    assert sorted(set(table["imageset_id"].tolist())) == list(range(len(names)))


def test_a_random_subset_is_the_same_each_time(run_step, inputs):
    names = {
        tuple(
            e.identifier
            for e in read_experiments(run_step("combine_experiments", *inputs, "n_subset=1").outputs["experiments"])
        )
        for _ in range(3)
    }
    assert len(names) == 1


def test_images_are_ordered_by_their_path(run_step, inputs):
    words = [*inputs[2::-1], *inputs[5:2:-1], "sort_by_imageset_path_and_image_index=True"]
    outputs = run_step("combine_experiments", *words).outputs
    assert [e.identifier for e in read_experiments(outputs["experiments"])] == ["a", "b", "c"]
    assert np.bincount(read_reflections(outputs["reflections"])["id"] + 1).tolist() == [6, 18, 28, 8]


def test_batches_hold_no_more_than_asked(run_step, inputs):
    outcome = run_step("combine_experiments", *inputs, "max_batch_size=2")
    names = ["combined_000.expt", "combined_000.refl", "combined_001.expt", "combined_001.refl"]
    assert sorted(path.name for path in outcome.outputs.values()) == names
    sizes = [len(read_experiments(p)) for p in sorted(Path.cwd().glob("combined_*.expt"))]
    assert sizes == [2, 1]
    second = read_reflections(Path("combined_001.refl"))
    assert second.identifiers == {0: "c"}
    assert set(second["imageset_id"].tolist()) == {0}


def test_files_go_to_the_folder_that_their_names_have(run_step, inputs):
    Path("out").mkdir()
    names = ("output.experiments=out/a.expt", f"output.reflections={Path('out').absolute()}/b.refl")
    run_step("combine_experiments", *inputs, *names)
    run_step("combine_experiments", *inputs, *names, "max_batch_size=2")
    expected = ["a.expt", "a_000.expt", "a_001.expt", "b.refl", "b_000.refl", "b_001.refl"]
    assert sorted(p.name for p in Path("out").glob("*.???[lt]")) == expected
    assert not any(p.name in expected for p in Path.cwd().iterdir())


def test_columns_that_some_lack_are_told(run_step, inputs, tmp_path):
    table = read_reflections(inputs[3])
    table["extra"] = np.ones(len(table))
    write_reflections(table, tmp_path / "a.refl")
    outcome = run_step("combine_experiments", *inputs[:3], tmp_path / "a.refl", *inputs[4:])
    assert "extra" not in read_reflections(outcome.outputs["reflections"])
    assert (
        "Columns that some of the tables lack are left out: extra" in Path("xtal.combine_experiments.log").read_text()
    )


def test_cells_that_only_look_different_are_near():
    """The same lattice by another basis, with angles on the other side of 90 degrees, and centred."""
    primitive = (gemmi.UnitCell(30, 40, 50, 90.5, 90.6, 90.7), "P")
    other = (gemmi.UnitCell(30, 40, 50, 89.5, 89.5, 89.5), "P")
    far = (gemmi.UnitCell(60, 70, 50, 90, 90, 90), "P")
    i_cell, p_cell = (gemmi.UnitCell(50, 50, 50, 90, 90, 90), "I"), (
        gemmi.UnitCell(*[50 * 3**0.5 / 2] * 3, *[np.degrees(np.arccos(-1 / 3))] * 3), "P",
    )  # fmt: skip
    distances = cell_distances([primitive, other, far, i_cell, p_cell])
    assert distances[0, 1] == pytest.approx(50.5, abs=0.5)  # NCDist of cctbx gives 50.54
    assert distances[0, 2] > 3000
    assert distances[3, 4] < 1e-3
    np.testing.assert_array_equal(distances, distances.T)
    assert group_cells(distances, 1000) == [[0, 1], [3, 4], [2]]
    assert len(join_distances(distances)) == 4


def test_groups_of_cells_make_files(run_step, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    cells = [(40, 50, 60), (40.1, 50, 60), (80, 50, 60), (40, 50.2, 60)]
    pairs = [
        data_set(folder, f"n{k}", crystal=Crystal.from_gemmi(gemmi.UnitCell(*c, 90, 90, 90), "P 1"))
        for k, c in enumerate(cells)
    ]
    files = [path for pair in zip(*pairs, strict=True) for path in pair]
    run_step("combine_experiments", *files, "clustering.use=True", "dendrogram=True", "threshold=50")
    assert [p.name for p in sorted(Path.cwd().glob("combined_cluster*.expt"))] == ["combined_cluster2.expt"]
    assert [e.identifier for e in read_experiments("combined_cluster2.expt")] == ["n0", "n1", "n3"]
    run_step(
        "combine_experiments", *files, "clustering.use=True", "threshold=50", "exclude_single_crystal_clusters=False"
    )
    assert [e.identifier for e in read_experiments("combined_cluster1.expt")] == ["n2"]


def test_the_mean_detector_is_the_mean_within_groups():
    detectors = []
    for sign in (1, -1):
        detector = tiny_experiment().detector
        turn = rotation_matrix((0, 0, 1), sign * 0.01)
        panel = detector[0]
        panel.fast_axis, panel.slow_axis = turn @ panel.fast_axis, turn @ panel.slow_axis
        panel.origin[2] += sign
        detector.root = Group(children=[0])
        detectors.append(detector)
    mean, plain = mean_detector(detectors, None), tiny_experiment().detector
    np.testing.assert_allclose(mean[0].d_matrix, plain[0].d_matrix, atol=1e-12)
    root_only = mean_detector(detectors, 0)
    np.testing.assert_allclose(root_only[0].d_matrix, detectors[0][0].d_matrix, atol=1e-12)


# --- slice_sequence -------------------------------------------------------------


def test_a_slice_has_everything_that_varies_cut(run_step, inputs):
    outcome = run_step("slice_sequence", inputs[0], inputs[3], "image_range=3,6")
    assert {p.name for p in outcome.outputs.values()} == {"a_3_6.expt", "a_3_6.refl"}
    (whole,), (part,) = read_experiments(inputs[0]), read_experiments("a_3_6.expt")
    assert part.identifier == "a"
    assert part.scan.image_range == (3, 6)
    assert part.scan.oscillation_deg == (1.0, 0.5)
    np.testing.assert_array_equal(part.crystal.A_at_scan_points, whole.crystal.A_at_scan_points[2:7])
    covariances = whole.crystal.B_covariance_at_scan_points
    np.testing.assert_array_equal(part.crystal.B_covariance_at_scan_points, covariances[2:7])
    assert part.profile["sigma_b"] == whole.profile["sigma_b"][2:6]
    assert part.profile["sigma_m"] == 0.1
    z = read_reflections("a_3_6.refl")["xyzobs.px.value"][:, 2]
    assert len(z) and np.all((z >= 2) & (z < 6))


def test_blocks_are_experiments_of_their_own(run_step, inputs):
    run_step("slice_sequence", inputs[0], inputs[3], "block_size=1.5")
    experiments, table = read_experiments("a_sliced.expt"), read_reflections("a_sliced.refl")
    assert [e.scan.image_range for e in experiments] == [(1, 3), (4, 6), (7, 10)]
    assert len({e.identifier for e in experiments}) == 3
    assert table.identifiers == {k: e.identifier for k, e in enumerate(experiments)}
    for k, e in enumerate(experiments):
        z = table["xyzobs.px.value"][table["id"] == k, 2]
        assert len(z) and np.all((z >= e.scan.array_range[0]) & (z < e.scan.array_range[1]))


def test_cutting_out_every_so_many_images(run_step, inputs):
    run_step("slice_sequence", inputs[0], inputs[3], "exclude_images_multiple=4")
    experiments = read_experiments("a_sliced.expt")
    assert [e.scan.image_range for e in experiments] == [(1, 3), (5, 7), (9, 10)]
    z = read_reflections("a_sliced.refl")["xyzobs.px.value"][:, 2]
    assert not np.any((np.floor(z) + 1) % 4 == 0)


def test_ranges():
    scan = tiny_experiment(10).scan
    assert block_ranges(scan, 100) == [(1, 10)]
    assert block_ranges(scan, 0.001) == [(k, k) for k in range(1, 11)]
    scan = tiny_experiment(11).scan.cut(4, 11)
    assert ranges_between(scan, 4) == [(5, 7), (9, 11)]
    assert ranges_between(scan, 2) == [(5, 5), (7, 7), (9, 9), (11, 11)]


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (["image_range=3,20"], OptionError, "does not fit experiment 0, which has the images 1 to 10"),
        (["image_range=5,2"], OptionError, "does not fit"),
        (["image_range=1,2", "image_range=1,2"], OptionError, "2 image ranges for 1 experiment"),
        ([], OptionError, "not told where to cut"),
    ],
)
def test_what_cannot_be_cut_is_said(run_step, inputs, words, error, match):
    with pytest.raises(error, match=match):
        run_step("slice_sequence", inputs[0], inputs[3], *words)


def test_a_name_that_was_given_is_used(run_step, inputs):
    outcome = run_step("slice_sequence", inputs[0], "image_range=3,6", "output.experiments=mine.expt")
    assert outcome.outputs["experiments"].name == "mine.expt"


def test_tables_alone_can_be_cut_and_nothing_cannot(run_step, inputs):
    run_step("slice_sequence", inputs[3], "image_range=3,6")
    assert Path("a_3_6.refl").exists()
    with pytest.raises(UsageError, match="needs an experiment list"):
        run_step("slice_sequence", "image_range=1,2")
    with pytest.raises(UsageError, match="needs an experiment list"):
        run_step("slice_sequence", inputs[3], "block_size=2")


def test_image_numbers_are_computed_where_they_are_missing(run_step, inputs, tmp_path):
    table, (e,) = read_reflections(inputs[3]), read_experiments(inputs[0])
    px = table["xyzobs.px.value"]
    table["xyzobs.mm.value"] = np.column_stack([e.detector[0].px_to_mm(px[:, :2]), e.scan.phi(px[:, 2])])
    del table["xyzobs.px.value"]
    write_reflections(table, tmp_path / "mm.refl")
    run_step("slice_sequence", inputs[0], tmp_path / "mm.refl", "image_range=3,6")
    z = read_reflections("mm_3_6.refl")["xyzobs.px.value"][:, 2]
    assert np.all((z >= 2) & (z < 6))
    with pytest.raises(DataError, match="no image numbers"):
        run_step("slice_sequence", tmp_path / "mm.refl", "image_range=3,6")
