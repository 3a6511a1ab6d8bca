"""Overrides of the geometry: reference, panels, tree of panels, goniometers."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError, OptionError
from xtal.files import read_experiments, write_experiments
from xtal.models import Detector, Experiment, ExperimentList, Goniometer, Group, Images, Panel
from xtal.options.tree import entries
from xtal.testing.data import tiny_experiment
from xtal_steps_import.geometry import beam_centre, change_hierarchy
from xtal_steps_import.goniometer import axis_in_words, change_goniometer, invert
from xtal_steps_import.options import Geometry, GoniometerGeometry, GroupGeometry, HierarchyGeometry, Lookup


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """An experiment list with two scans that share all models."""
    first = tiny_experiment()
    first.crystal, first.identifier, first.images = None, "a", Images("/data/a_####.cbf")
    second = deepcopy(first)
    second.beam, second.detector, second.goniometer = first.beam, first.detector, first.goniometer
    second.identifier, second.images = "b", Images("/data/b_####.cbf")
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


QUARTER = np.array([(0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
WRITTEN = ",".join(str(x) for x in QUARTER.ravel())
KAPPA = ("goniometer.axes=1,0,0,0,1,0", "goniometer.angles=10,20", "goniometer.names=p,o", "goniometer.scan_axis=0")
FRAME = ("panel.fast_axis=0,1,0", "panel.slow_axis=1,0,0", "panel.origin=1,2,-80")
ROOT = ("hierarchy.fast_axis=0,1,0", "hierarchy.slow_axis=1,0,0", "hierarchy.origin=1,2,-80")
GROUP = ("group.id=0", "group.fast_axis=0,1,0", "group.slow_axis=1,0,0", "group.origin=1,2,-80")
STILLS = ("convert_stills_to_sequences=True", "scan.oscillation=3,0.5")

# the setting or settings, what shows that it was heeded, and what that is then
OVERRIDES: list[tuple[tuple[str, ...], Callable[[Experiment], Any], Any]] = [
    (("beam.wavelength=1.5",), lambda e: e.beam.wavelength, 1.5),
    (("beam.direction=0,3,4",), lambda e: e.beam.direction, (0, 0.6, 0.8)),
    (("beam.polarization_fraction=0.7",), lambda e: e.beam.polarization_fraction, 0.7),
    (("beam.polarization_normal=2,0,0",), lambda e: e.beam.polarization_normal, (1, 0, 0)),
    (("beam.transmission=0.25",), lambda e: e.beam.transmission, 0.25),
    (("beam.flux=1e9",), lambda e: e.beam.flux, 1e9),
    (("beam.probe=neutron",), lambda e: e.beam.probe, "neutron"),
    (("detector.distance=150",), lambda e: e.detector[0].distance, 150),
    (("fast_slow_beam_centre=30,20",), lambda e: beam_centre(e.detector, e.beam)[1], (30, 20)),
    (("slow_fast_beam_centre=30,20",), lambda e: beam_centre(e.detector, e.beam)[1], (20, 30)),
    (("mosflm_beam_centre=3,2",), lambda e: beam_centre(e.detector, e.beam)[1], (10, 15)),
    (("panel.id=0", "panel.name=one"), lambda e: e.detector[0].name, "one"),
    (("panel.type=SENSOR_CCD",), lambda e: e.detector[0].type, "SENSOR_CCD"),
    (FRAME, lambda e: e.detector[0].d_matrix.T.ravel(), (0, 1, 0, 1, 0, 0, 1, 2, -80)),
    (("panel.image_size=110,90",), lambda e: e.detector[0].image_size, (110, 90)),
    (("panel.pixel_size=0.2,0.3",), lambda e: e.detector[0].pixel_size, (0.2, 0.3)),
    (("panel.gain=2.5",), lambda e: e.detector[0].gain, 2.5),
    (("panel.pedestal=7",), lambda e: e.detector[0].pedestal, 7),
    (("panel.trusted_range=1,99",), lambda e: e.detector[0].trusted_range, (1, 99)),
    (("panel.thickness=0.75", "panel.material=CdTe"), lambda e: e.detector[0].thickness, 0.75),
    (("panel.material=GaAs", "panel.thickness=0.5"), lambda e: e.detector[0].material, "GaAs"),
    (("panel.parallax_correction=True", "panel.material=Si", "panel.thickness=1"),
     lambda e: e.detector[0].parallax, True),
    (("hierarchy.name=all",), lambda e: e.detector.root.name, "all"),
    (ROOT, lambda e: e.detector.root.origin, (1, 2, -80)),
    (("group.id=0", "group.name=left", "group.panel=0"), lambda e: e.detector.root.children[0].name, "left"),
    ((*GROUP, "group.panel=0"), lambda e: e.detector.root.children[0].origin, (1, 2, -80)),
    (("goniometer.axis=0,2,0",), lambda e: e.goniometer.axis, (0, 1, 0)),
    (KAPPA, lambda e: [*e.goniometer.angles_deg, *e.goniometer.names, e.goniometer.scan_axis], [10, 20, "p", "o", 0]),
    ((f"goniometer.fixed_rotation={WRITTEN}",), lambda e: e.goniometer.fixed_rotation, QUARTER),
    ((f"goniometer.setting_rotation={WRITTEN}",), lambda e: e.goniometer.setting_rotation, QUARTER),
    (("invert_rotation_axis=True",), lambda e: e.goniometer.axis, (-1, 0, 0)),
    (("scan.image_range=3,6",), lambda e: e.scan.image_range, (3, 6)),
    (("scan.oscillation=5,0.2",), lambda e: e.scan.oscillation_deg, (5, 0.2)),
    (("scan.extrapolate_scan=True", "scan.image_range=1,30"), lambda e: e.scan.n_images, 30),
    (("scan.batch_offset=100",), lambda e: e.scan.batch_offset, 100),
    (("convert_sequences_to_stills=True",), lambda e: e.is_still, True),
    (STILLS, lambda e: e.scan.oscillation_deg, (3, 0.5)),
    *(((f"lookup.{name}=map.h5",), lambda e, name=name: Path(getattr(e.images, name)).name, "map.h5")
      for name in ("gain", "pedestal")),
    (("lookup.dx=map.h5", "lookup.dy=mask.npy"),
     lambda e: [Path(p).name for p in (e.images.dx, e.images.dy)], ["map.h5", "mask.npy"]),
    (("lookup.mask=mask.npy",), lambda e: Path(e.images.mask).name, "mask.npy"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "seen", "wanted"), OVERRIDES, ids=lambda value: str(value)[:40])
def test_every_override_is_heeded_and_comes_back_from_the_file(
    imported: Any, listed: Path, words: tuple[str, ...], seen: Callable[[Experiment], Any], wanted: Any
) -> None:
    Path("map.h5").touch()
    np.save("mask.npy", np.ones((100, 120), bool))
    before = read_experiments(listed)[0]
    after = imported(listed, *words)[0]
    if isinstance(wanted, str | list):
        assert seen(after) == wanted
    else:
        np.testing.assert_allclose(seen(after), wanted, rtol=0, atol=1e-9)
    if "group" not in words[0] and words is not STILLS:
        assert not np.array_equal(_or_none(seen, before), wanted)


@pytest.mark.parametrize("name", ["direction", "polarization_normal"])
def test_a_direction_without_length_is_refused(imported: Any, listed: Path, name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} has no length"):
        imported(listed, f"geometry.beam.{name}=0,0,0")


def _or_none(seen: Callable[[Experiment], Any], experiment: Experiment) -> Any:
    try:
        return seen(experiment)
    except (AttributeError, TypeError):
        return None


def test_no_override_is_forgotten() -> None:
    words = [word.partition("=")[0] for words, _, _ in OVERRIDES for word in words]
    scopes = ((Geometry, "geometry."), (Lookup, "lookup."))
    known = [e.path for cls, prefix in scopes for e in entries(cls, prefix=prefix)]
    assert len(known) > 50
    assert [path for path in known if not any(path == w or path.endswith("." + w) for w in words)] == []


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


def test_a_scan_without_images_makes_no_stills(imported: Any, listed: Path) -> None:
    experiments = read_experiments(listed)
    experiments[0].images = None
    write_experiments(experiments, listed)
    with pytest.raises(DataError, match="without images cannot become stills"):
        imported(listed, "oscillation=0,0")


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
