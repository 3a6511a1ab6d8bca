"""Overrides of the geometry: reference, panels, tree of panels, goniometers."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError, OptionError
from xtal.files import read_experiments, write_experiments
from xtal.models import Detector, ExperimentList, Goniometer, Group, Panel
from xtal.testing.data import tiny_experiment
from xtal_steps_import.geometry import change_hierarchy
from xtal_steps_import.goniometer import axis_in_words, change_goniometer, invert
from xtal_steps_import.options import GoniometerGeometry, GroupGeometry, HierarchyGeometry


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """An experiment list with two scans that share all models."""
    first = tiny_experiment()
    first.crystal, first.identifier = None, "a"
    second = deepcopy(first)
    second.beam, second.detector, second.goniometer = first.beam, first.detector, first.goniometer
    second.identifier = "b"
    write_experiments(ExperimentList([first, second]), tmp_path / "two.expt")
    return tmp_path / "two.expt"


@pytest.fixture
def imported(run_step: Any) -> Any:
    def call(*words: object) -> ExperimentList:
        return read_experiments(run_step("import", *map(str, words)).outputs["experiments"])

    return call


def log() -> str:
    return Path("xtal.import.log").read_text()


def test_an_axis_is_inverted_once(imported: Any, listed: Path) -> None:
    first, second = imported(listed, "invert_rotation_axis=True")
    assert first.goniometer is second.goniometer
    np.testing.assert_array_equal(first.goniometer.axis, (-1, 0, 0))
    assert "(-1.0000, 0.0000, 0.0000) in the laboratory (DIALS)" in log()
    again, _ = imported("imported.expt", "invert_rotation_axis=True", "output.experiments=again.expt")
    np.testing.assert_array_equal(again.goniometer.axis, (-1, 0, 0))
    assert "inverted before and left as it is" in log()
    given, _ = imported("again.expt", "axis=0,1,0", "invert_rotation_axis=True")
    np.testing.assert_array_equal(given.goniometer.axis, (0, -1, 0))
    assert [e.identifier for e in (first, second)] == ["a", "b"]


def test_the_axis_is_told_in_both_frames() -> None:
    panel = Panel((0, 1, 0), (1, 0, 0), (0, 0, -100), (10, 10), (0.1, 0.1))
    told = axis_in_words(Goniometer((1, 0, 0)), Detector([panel]))
    assert told.startswith("(1.0000, 0.0000, 0.0000) in the laboratory")
    assert "(0.0000, 1.0000, 0.0000) along fast, slow and their normal (XDS)" in told


def test_inversion_turns_the_scan_axis_alone() -> None:
    kappa = Goniometer.from_axes([(1, 0, 0), (0, 1, 0), (1, 0, 0)], (10, 20, 30), ["phi", "kappa", "omega"], 2)
    turned, _ = invert(kappa)
    np.testing.assert_allclose(turned.axis, -kappa.axis)
    assert turned.axes is not None
    np.testing.assert_allclose(turned.axes[0], (1, 0, 0))
    np.testing.assert_allclose(kappa.axes[2], (1, 0, 0))
    assert invert(turned)[0] is turned


def test_goniometers_of_several_axes() -> None:
    options = GoniometerGeometry(
        axes=(1, 0, 0, 0, 2, 0, 1, 0, 0), angles=(10, 20, 30), names=("p", "k", "o"), scan_axis=2
    )
    found, said = change_goniometer(Goniometer(), options)
    assert said == ["goniometer of 3 axes"]
    assert (found.names, found.scan_axis) == (["p", "k", "o"], 2)
    np.testing.assert_allclose(found.axes, [(1, 0, 0), (0, 1, 0), (1, 0, 0)])
    turned, _ = change_goniometer(found, GoniometerGeometry(angles=(0, 0, 0)))
    np.testing.assert_allclose(turned.fixed_rotation, np.eye(3))
    other, _ = change_goniometer(found, GoniometerGeometry(scan_axis=0))
    np.testing.assert_allclose(other.axis_datum, (1, 0, 0))
    one, _ = change_goniometer(found, GoniometerGeometry(axes=(0, 0, 1)))
    assert one.axes is None
    quarter = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    set_, _ = change_goniometer(Goniometer(), GoniometerGeometry(setting_rotation=quarter))
    np.testing.assert_allclose(set_.axis, (0, 1, 0))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"axis": (0, 0, 0)}, "no length"),
        ({"axis": (1, 0, 0), "axes": (1, 0, 0)}, "Both"),
        ({"axes": (1, 0, 0, 0)}, "three numbers"),
        ({"axes": (1, 0, 0, 0, 1, 0)}, "angle of each"),
        ({"angles": (1, 2)}, "one axis"),
        ({"axes": (1, 0, 0, 0, 1, 0), "angles": (1,), "scan_axis": 0}, "2 axes, 1 angles"),
        ({"axes": (1, 0, 0, 0, 1, 0), "angles": (1, 2), "scan_axis": 2}, "axis 2 turns"),
        ({"fixed_rotation": (1, 0, 0, 0, 1, 0, 0, 0, 2)}, "no rotation"),
    ],
)
def test_goniometers_that_cannot_be(options: dict[str, Any], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        change_goniometer(Goniometer(), GoniometerGeometry(**options))


def test_models_of_a_reference_are_taken(imported: Any, listed: Path, tmp_path: Path) -> None:
    reference = read_experiments(listed)[:1]
    reference[0].beam.wavelength = 1.1
    reference[0].detector[0].origin += (0.5, 0.0, 0.0)
    reference[0].goniometer.axis_datum = np.array((0.0, 1.0, 0.0))
    write_experiments(ExperimentList(reference), tmp_path / "reference.expt")
    word = f"reference_geometry={tmp_path / 'reference.expt'}"
    first, second = imported(listed, word)
    assert first.detector is second.detector
    assert (first.beam.wavelength, first.goniometer.axis_datum.tolist()) == (1.1, [0, 1, 0])
    np.testing.assert_allclose(first.detector[0].origin, reference[0].detector[0].origin)
    kept, _ = imported(listed, word, "use_gonio_reference=False", "use_beam_reference=False", "wavelength=1.3")
    assert (kept.beam.wavelength, kept.goniometer.axis_datum.tolist()) == (1.3, [1, 0, 0])
    reference[0].detector[0].image_size = (60, 50)
    write_experiments(ExperimentList(reference), tmp_path / "reference.expt")
    with pytest.raises(DataError, match=r"60 x 50 pixels.*120 x 100"):
        imported(listed, word)
    assert imported(listed, word, "check_reference_geometry=False")[0].detector[0].image_size == (60, 50)
    second.beam = deepcopy(second.beam)
    second.beam.wavelength = 2.0
    write_experiments(ExperimentList([first, second]), tmp_path / "reference.expt")
    with pytest.raises(DataError, match="2 beams"):
        imported(listed, word)


def test_a_reference_leaves_the_angles_of_the_images(imported: Any, listed: Path, tmp_path: Path) -> None:
    experiments = read_experiments(listed)
    for angle, e in zip((15.0, 25.0), experiments, strict=True):
        e.goniometer = Goniometer.from_axes([(1, 0, 0), (0, 1, 0)], (angle, 0), ["phi", "omega"], 1)
    write_experiments(experiments, tmp_path / "kappa.expt")
    experiments[0].goniometer = Goniometer.from_axes([(0, 0, 1), (0, 1, 0)], (77.0, 0), ["phi", "omega"], 1)
    write_experiments(ExperimentList(experiments[:1]), tmp_path / "reference.expt")
    found = imported(tmp_path / "kappa.expt", f"reference_geometry={tmp_path / 'reference.expt'}")
    assert [e.goniometer.angles_deg[0] for e in found] == [15.0, 25.0]
    assert all(e.goniometer.axes[0].tolist() == [0, 0, 1] for e in found)


def test_panels_one_by_one(imported: Any, listed: Path) -> None:
    (e, _) = imported(
        listed, "panel.id=0", "panel.name=one", "panel.trusted_range=1,99", "panel.material=CdTe",
        "panel.thickness=0.75", "panel.fast_axis=0,1,0", "panel.slow_axis=1,0,0", "panel.origin=-9,-10,-80",
        "transmission=0.5", "flux=1e9", "polarization_fraction=0.7",
    )  # fmt: skip
    panel = e.detector[0]
    assert (panel.name, panel.trusted_range, panel.material, panel.thickness) == ("one", (1, 99), "CdTe", 0.75)
    assert panel.mu > 0
    assert panel.parallax
    np.testing.assert_allclose(panel.d_matrix, np.array([(0, 1, 0), (1, 0, 0), (-9, -10, -80)]).T)
    assert (e.beam.transmission, e.beam.flux, e.beam.polarization_fraction) == (0.5, 1e9, 0.7)
    with pytest.raises(OptionError, match="no panel 4"):
        imported(listed, "panel.id=4", "panel.gain=1")
    with pytest.raises(OptionError, match="together"):
        imported(listed, "panel.origin=1,2,3")
    with pytest.raises(OptionError, match="right angles"):
        imported(listed, "panel.fast_axis=1,0,0", "panel.slow_axis=1,1,0", "panel.origin=0,0,-9")


def test_electrons_by_the_probe(imported: Any, listed: Path) -> None:
    (e, _) = imported(listed, "probe=electron")
    assert (e.beam.probe, e.beam.polarization_fraction, e.beam.is_electron) == ("electron", 0.5, True)
    assert "electrons" in log()


def four_panels() -> Detector:
    return Detector([Panel((1, 0, 0), (0, -1, 0), (10 * k, 0, -100), (10, 10), (0.1, 0.1)) for k in range(4)])


def test_the_tree_moves_its_panels(tmp_path: Path) -> None:
    detector = four_panels()
    change_hierarchy(detector, HierarchyGeometry(name="all", group=(GroupGeometry((0,), "left", panel=(0, 1)),)))
    root = detector.root
    assert root is not None
    assert root.children[:2] == [2, 3]
    (left,) = [child for child in root.children if isinstance(child, Group)]
    assert (root.name, left.name, left.children) == ("all", "left", [0, 1])
    np.testing.assert_allclose(detector[1].origin, (10, 0, -100))
    move = GroupGeometry((0,), fast_axis=(0, 1, 0), slow_axis=(-1, 0, 0), origin=(0, 0, -5))
    change_hierarchy(detector, HierarchyGeometry(group=(move,)))
    np.testing.assert_allclose(detector[1].origin, (0, 10, -105), atol=1e-12)
    np.testing.assert_allclose(detector[1].fast_axis, (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(detector[2].origin, (20, 0, -100))
    change_hierarchy(detector, HierarchyGeometry(fast_axis=(1, 0, 0), slow_axis=(0, 1, 0), origin=(0, 0, 7)))
    np.testing.assert_allclose(detector[1].origin, (0, 10, -98), atol=1e-12)
    np.testing.assert_allclose(detector[3].origin, (30, 0, -93), atol=1e-12)
    e = tiny_experiment()
    e.detector = detector
    write_experiments(ExperimentList([e]), tmp_path / "a.expt")
    (back,) = read_experiments(tmp_path / "a.expt")
    for p, q in zip(back.detector, detector, strict=True):
        np.testing.assert_allclose(p.d_matrix, q.d_matrix, atol=1e-9)
    with pytest.raises(OptionError, match="no group 3"):
        change_hierarchy(detector, HierarchyGeometry(group=(GroupGeometry((3,)),)))
    with pytest.raises(OptionError, match="no panel 9"):
        change_hierarchy(detector, HierarchyGeometry(group=(GroupGeometry((0,), panel=(9,)),)))


def test_scans_of_a_list_are_cut_and_changed(imported: Any, listed: Path) -> None:
    found = imported(listed, "image_range=3,6", "oscillation=5,0.2", "batch_offset=100")
    assert [(e.scan.image_range, e.scan.batch_offset) for e in found] == [((3, 6), 100)] * 2
    assert found[1].scan.oscillation_deg == pytest.approx((5.0, 0.2))
    with pytest.raises(DataError, match="no image 30"):
        imported(listed, "image_range=3,30")
    grown, _ = imported(listed, "image_range=-4,30", "extrapolate_scan=True")
    assert grown.scan.image_range == (-4, 30)
    assert grown.scan.oscillation_deg == (-2.5, 0.5)


def test_a_beam_beside_the_detector_is_told(imported: Any, listed: Path) -> None:
    imported(listed, "fast_slow_beam_centre=-35,20")
    assert "at -35.0, 20.0 px (fast, slow)" in log()
    assert "120 x 100 pixels" in log()
    imported(listed, "geometry.beam.direction=0,0,-1")
    assert "on the side that the beam comes from" in log()
    with pytest.raises(DataError, match="along the beam"):
        imported(listed, "axis=0,0,1")
    imported(listed, "wavelength=100")
    assert "100 Å is unlikely" in log()
