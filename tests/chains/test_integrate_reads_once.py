"""integrate on the files of a scan: it reads each frame once, and says where the table is of another setting."""

from __future__ import annotations

from collections import Counter

import pytest

from xtal.errors import DataError
from xtal.files import read_experiments, read_reflections
from xtal.run import images


@pytest.mark.parametrize("shoeboxes", [True, False])
def test_each_frame_is_read_once(run_step, tiny_scan, monkeypatch, shoeboxes):
    run_step("import", *sorted(tiny_scan.glob("*.cbf")))
    run_step("find_spots", "imported.expt", f"shoeboxes={shoeboxes}")
    run_step("index", "imported.expt", "strong.refl")
    outcome = run_step("refine", "indexed.expt", "indexed.refl")
    assert ("shoebox" in read_reflections(outcome.outputs["reflections"])) == shoeboxes
    opened = Counter()
    path = images.FrameReader.path
    monkeypatch.setattr(images.FrameReader, "path", lambda self, z: (opened.update([z]), path(self, z))[1])
    read = images.FrameReader.read
    frames = Counter()

    def counted(self, z, out=None):
        before = opened[z]
        arrays = read(self, z, out)
        frames[z] += opened[z] - before
        return arrays

    monkeypatch.setattr(images.FrameReader, "read", counted)
    outcome = run_step("integrate", "refined.expt", "refined.refl", "nproc=2")
    (experiment,) = read_experiments(outcome.outputs["experiments"])
    assert frames == dict.fromkeys(range(*experiment.scan.array_range), 1)
    assert len(read_reflections(outcome.outputs["reflections"])) > 500


def test_a_table_of_another_setting_is_told(run_step, tiny_scan, tmp_path):
    """Its indices are those of equivalent axes, as where a lattice was chosen anew between the two files."""
    run_step("import", *sorted(tiny_scan.glob("*.cbf")))
    run_step("find_spots", "imported.expt")
    run_step("index", "imported.expt", "strong.refl")
    log = tmp_path / "xtal.integrate.log"
    run_step("integrate", "indexed.expt", "indexed.refl")
    assert "most spots are not where their indices are predicted" not in log.read_text()
    run_step("reindex", "indexed.refl", "change_of_basis_op=-a,-b,c")
    run_step("integrate", "indexed.expt", "reindexed.refl")
    assert "Give the .expt and the .refl that one step wrote together" in log.read_text()


def test_limits_that_leave_no_reflection_are_blamed(run_step, tiny_scan):
    run_step("import", *sorted(tiny_scan.glob("*.cbf")))
    run_step("find_spots", "imported.expt")
    run_step("index", "imported.expt", "strong.refl")
    with pytest.raises(DataError, match="No reflection is predicted on the images with d_min=500"):
        run_step("integrate", "indexed.expt", "indexed.refl", "d_min=500")
