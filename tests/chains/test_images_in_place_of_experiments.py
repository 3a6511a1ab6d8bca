"""Steps that read images take them by their names: they are imported first."""

from __future__ import annotations

import pytest

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments, read_reflections


@pytest.fixture
def images(tiny_scan):
    return sorted(tiny_scan.glob("*.cbf"))[:4]


def test_find_spots_as_after_import(run_step, images, tiny_scan):
    run_step("import", *images)
    expected = read_reflections(run_step("find_spots", "imported.expt").outputs["reflections"])
    template = str(images[0]).replace("0001", "####")
    for k, given in enumerate((images, [template], [tiny_scan])):
        outcome = run_step("find_spots", *given, "scan_range=1,4", f"output.directory=run_{k}")
        found = read_reflections(outcome.outputs["reflections"])
        (experiment,) = read_experiments(outcome.outputs["reflections"].parent / "imported.expt")
        assert found.identifiers == {0: experiment.identifier}
        assert len(found) == len(expected) > 200
        assert (found["xyzobs.px.value"] == expected["xyzobs.px.value"]).all()


@pytest.mark.parametrize(
    ("step", "words", "writes"),
    [
        ("generate_mask", ["border=3"], "pixels.mask"),
        ("estimate_gain", [], "imported.expt"),
        ("export_bitmaps", ["imageset_index=1"], "image0001.png"),
        ("merge_cbf", [], "sum_1.cbf"),
    ],
)
def test_other_steps_that_look_at_images(run_step, images, tmp_path, step, words, writes):
    run_step(step, *images, *words)
    assert (tmp_path / writes).is_file()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("generate_mask", ["border=3"]),
        ("estimate_gain", []),
        ("export_bitmaps", ["imageset_index=3"]),
        ("merge_cbf", []),
    ],
)
def test_a_look_at_other_images_takes_no_list_away(run_step, images, tmp_path, step, words):
    run_step("import", *images, "geometry.detector.distance=99")
    before = (tmp_path / "imported.expt").read_bytes()
    run_step(step, *images[2:], *words)
    assert (tmp_path / "imported.expt").read_bytes() == before
    run_step("find_spots", *images[2:])
    assert (tmp_path / "imported.expt").read_bytes() != before, "spots go with the list of their own images"


def test_what_is_wrong_is_told_before_anything_is_imported(run_step, images, tmp_path):
    with pytest.raises(OptionError, match="d_mni"):
        run_step("find_spots", *images, "d_mni=2")
    with pytest.raises(DataError, match="nothing_0001"):
        run_step("find_spots", *images, "nothing_0001.cbf")
    with pytest.raises(UsageError, match=r"experiment list .* or images"):
        run_step("find_spots")
    assert not list(tmp_path.iterdir())


def test_steps_that_do_not_look_at_images_refuse_them(run_step, images):
    with pytest.raises(DataError, match="neither an experiment list"):
        run_step("detect_blanks", *images)
