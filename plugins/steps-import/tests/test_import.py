"""The step import: grouping, geometry, what it refuses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError, OptionError
from xtal.files import read_experiments, read_mask, write_mask
from xtal.models import Beam, Detector, ExperimentList, Panel
from xtal.run.provenance import read_made, same_run
from xtal.testing import load_module
from xtal_steps_import.collect import parse_name, runs_of
from xtal_steps_import.geometry import change_detector
from xtal_steps_import.options import DetectorGeometry

SIZE = 64


def smv(path: Path, start: float, width: float = 0.5, **keys: object) -> Path:
    """A small SMV image."""
    values = {
        "HEADER_BYTES": 512, "DIM": 2, "BYTE_ORDER": "little_endian", "TYPE": "unsigned_short", "SIZE1": SIZE,
        "SIZE2": SIZE, "PIXEL_SIZE": 0.1, "DISTANCE": 100.0, "WAVELENGTH": 1.0, "OSC_START": start,
        "OSC_RANGE": width, "TIME": 2.0, "BEAM_CENTER_X": 3.0, "BEAM_CENTER_Y": 2.0, **keys,
    }  # fmt: skip
    text = "{\n" + "".join(f"{k}={v};\n" for k, v in values.items() if v is not None) + "}\n"
    path.write_bytes(text.encode().ljust(512) + bytes(2 * SIZE * SIZE))
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(1, 21):
        smv(folder / f"a_{k:04}.img", 10.0 + 0.5 * (k - 1))
    return folder


@pytest.fixture
def imported(run_step: Any) -> Any:
    """Run import and read what it wrote."""

    def call(*words: object) -> ExperimentList:
        return read_experiments(run_step("import", *map(str, words)).outputs["experiments"])

    return call


@pytest.mark.parametrize("distance", [0.0, 1e-9, 1e30])
def test_a_distance_that_cannot_be_is_refused(run_step: Any, tmp_path: Path, distance: float) -> None:
    path = smv(tmp_path / "a_0001.img", 0.0, DISTANCE=distance)
    with pytest.raises(DataError, match=r"a_####\.img: the distance .* is .* mm.*geometry.detector.distance="):
        run_step("import", str(path))


@pytest.mark.parametrize("how", ["folder", "template", "option", "glob", "files"])
def test_every_way_to_name_a_scan(imported: Any, scan: Path, how: str) -> None:
    words = {
        "folder": [scan],
        "template": [scan / "a_####.img"],
        "option": [f"template={scan / 'a_####.img'}"],
        "glob": [scan / "a_*.img"],
        "files": sorted(scan.iterdir(), reverse=True),
    }[how]
    (e,) = imported(*words)
    assert e.images.template == str(scan / "a_####.img")
    assert e.scan.image_range == (1, 20)
    assert e.scan.oscillation_deg == (10.0, 0.5)


def test_identifiers_are_the_same_each_time_and_differ_between_scans(imported: Any, scan: Path) -> None:
    (first,) = imported(scan)
    (again,) = imported(scan)
    (other,) = imported(scan, "image_range=1,10")
    assert first.identifier == again.identifier != other.identifier
    assert len(first.identifier) == 36


def test_gaps_and_changed_headers_split(imported: Any, scan: Path) -> None:
    (scan / "a_0008.img").unlink()
    for k in range(15, 21):
        smv(scan / f"a_{k:04}.img", 10.0 + 0.5 * (k - 1), DISTANCE=120.0)
    found = imported(scan)
    assert [e.scan.image_range for e in found] == [(1, 7), (9, 14), (15, 20)]
    assert found[0].detector is found[1].detector
    assert found[2].detector is not found[0].detector
    assert found[1].scan.oscillation_deg[0] == 14.0
    with pytest.raises(DataError, match="3 scans"):
        imported(scan, "allow_multiple_sequences=False")


def test_a_jump_of_the_angle_splits(imported: Any, scan: Path) -> None:
    for k in range(11, 21):
        smv(scan / f"a_{k:04}.img", 90.0 + 0.5 * (k - 1))
    assert [e.scan.image_range for e in imported(scan)] == [(1, 10), (11, 20)]
    (e,) = imported(scan, "oscillation=0,0.25")
    assert (e.scan.image_range, e.scan.oscillation_deg) == ((1, 20), (0.0, 0.25))


def test_a_rotation_that_is_given_goes_on_behind_a_gap(imported: Any, scan: Path) -> None:
    """As the numbers do; another template begins anew."""
    (scan / "a_0008.img").unlink()
    smv(scan / "a_0015.img", 0.0, DISTANCE=120.0)
    smv(scan / "b_0003.img", 0.0)
    wanted = {(1, 7): 5.0, (9, 14): 7.0, (15, 15): 8.5, (16, 20): 8.75, (3, 3): 5.0}
    for what in (scan, "imported.expt"):
        found = imported(what, "geometry.scan.oscillation=5,0.25")
        assert {e.scan.image_range: e.scan.oscillation_deg[0] for e in found} == wanted
        assert {e.scan.oscillation_deg[1] for e in found} == {0.25}
    cut = imported(scan, "oscillation=5,0.25", "image_range=9,20")
    assert [e.scan.oscillation_deg[0] for e in cut] == [5.0, 6.5, 6.75]


def test_no_rotation_makes_stills(imported: Any, scan: Path) -> None:
    found = imported(scan, "oscillation=0,0")
    assert len(found) == 20
    assert all(e.is_still and e.detector is found[0].detector for e in found)
    assert found[4].images.paths == [str(scan / "a_0005.img")]
    assert len({e.identifier for e in found}) == 20


def test_geometry_of_the_user(imported: Any, scan: Path) -> None:
    (e,) = imported(
        scan, "geometry.beam.wavelength=1.2", "distance=150", "fast_slow_beam_centre=30,20", "axis=0,1,0",
        "invert_rotation_axis=True", "image_range=5,8", "panel.gain=2.5",
    )  # fmt: skip
    assert e.beam.wavelength == 1.2
    np.testing.assert_allclose(e.detector[0].origin, (-3.0, 2.0, -150.0))
    np.testing.assert_allclose(e.goniometer.axis, (0.0, -1.0, 0.0))
    assert (e.scan.image_range, e.scan.oscillation_deg) == ((5, 8), (12.0, 0.5))
    assert e.detector[0].gain == 2.5


@pytest.mark.parametrize("word", ["mosflm_beam_centre=2.0,3.0", "slow_fast_beam_centre=20,30"])
def test_other_ways_to_give_the_beam_centre(imported: Any, scan: Path, word: str) -> None:
    (e,) = imported(scan, word)
    np.testing.assert_allclose(e.detector[0].origin, (-3.0, 2.0, -100.0))


def test_two_beam_centres_are_one_too_many(imported: Any, scan: Path) -> None:
    with pytest.raises(OptionError, match="beam centre"):
        imported(scan, "mosflm_beam_centre=2,3", "fast_slow_beam_centre=1,2")


def test_missing_numbers_are_asked_for_and_can_be_given(imported: Any, tmp_path: Path) -> None:
    path = smv(tmp_path / "a_0001.img", 0.0, WAVELENGTH=None, DISTANCE=None, BEAM_CENTER_X=None)
    with pytest.raises(DataError, match=r"wavelength, no distance, no beam centre.*geometry.detector.distance="):
        imported(path)
    (e,) = imported(path, "geometry.beam.wavelength=0.0251", "distance=500", "fast_slow_beam_centre=30,20")
    np.testing.assert_allclose(e.detector[0].origin, (-3.0, 2.0, -500.0))
    assert (e.beam.polarization_fraction, e.beam.is_electron) == (0.5, True)


def test_other_files_are_errors_when_named_and_left_out_in_folders(imported: Any, scan: Path) -> None:
    (scan / "notes.dat").write_text("no image")
    assert len(imported(scan)) == 1
    with pytest.raises(DataError, match=r"notes\.dat is no image"):
        imported(scan / "notes.dat", scan / "a_0001.img")
    assert len(imported(scan / "notes.dat", scan / "a_0001.img", "ignore_unhandled=True")) == 1


def test_truncated_and_empty_images_are_named(imported: Any, scan: Path) -> None:
    path = scan / "a_0020.img"
    content = path.read_bytes()
    path.write_bytes(content[:3000])
    with pytest.raises(DataError, match=r"a_0020\.img is truncated"):
        imported(scan / "a_####.img")
    (scan / "a_0007.img").write_bytes(b"")
    with pytest.raises(DataError, match=r"a_0007\.img is empty"):
        imported(scan / "a_####.img")


def test_ranges_that_are_not_there(imported: Any, scan: Path) -> None:
    with pytest.raises(DataError, match=r"no image 30.*1-20"):
        imported(scan, "image_range=5,30")
    with pytest.raises(DataError, match="No image fits"):
        imported(scan / "a_###.img")


def test_a_mask_file_is_checked_and_kept(imported: Any, scan: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.ones((SIZE, SIZE), dtype=bool))
    (e,) = imported(scan, f"mask={tmp_path / 'mask.npy'}")
    assert e.images.mask == str(tmp_path / "mask.npy")


def test_a_list_is_imported_again_with_other_geometry(imported: Any, scan: Path) -> None:
    (first,) = imported(scan)
    (e,) = imported("imported.expt", "distance=110")
    assert e.detector[0].distance == pytest.approx(110.0)
    assert e.scan.image_range == first.scan.image_range


def test_a_scan_that_is_given_twice_is_refused(imported: Any, scan: Path) -> None:
    """DIALS could not open the list; a file that is given twice is one image."""
    imported(scan)
    for words in (["imported.expt", "imported.expt"], ["imported.expt", scan]):
        with pytest.raises(DataError, match=r"a_####\.img was given twice"):
            imported(*words, "output.experiments=twice.expt")
    (e,) = imported(scan / "a_0001.img", scan / "a_0001.img")
    assert e.scan.image_range == (1, 1)


def test_a_distance_leaves_a_detector_on_its_side_of_the_sample() -> None:
    """Rows that count upwards turn the normal to the sample."""
    for slow, top in ((-1, 10), (1, -10)):
        detector = Detector([Panel((1, 0, 0), (0, slow, 0), (-10, top, -50), (100, 100), (0.2, 0.2))])
        change_detector(detector, Beam(1.0), DetectorGeometry(distance=60.0), new_wavelength=False)
        np.testing.assert_allclose(detector[0].origin, (-10, top, -60))


def test_names() -> None:
    assert parse_name("/x/00001.img.bz2").template == "/x/#####.img.bz2"
    assert parse_name("/x/a_2_0007.cbf.gz").template == "/x/a_2_####.cbf.gz"
    assert parse_name("/x/name.0026").number == 26
    assert parse_name("/x/plain.img").template is None
    assert runs_of([1, 2, 3, 7, 9, 10]) == [(1, 3), (7, 7), (9, 10)]


def test_show_prints_models_and_columns(run_step: Any, scan: Path) -> None:
    run_step("import", scan)
    run_step("show", "imported.expt")
    text = Path("xtal.show.log").read_text()
    for word in ("wavelength", "100.0000 mm", "a_####.img", "20.000, 30.000 px", "10° to 20°"):
        assert word in text
    assert max(map(len, text.splitlines())) < 140


def test_damaged_images_in_a_folder_stop_unless_they_may_be_left_out(imported: Any, scan: Path) -> None:
    (scan / "a_0020.img").write_bytes((scan / "a_0020.img").read_bytes()[:3000])
    smv(scan / "b_0001.img", 0.0)
    with pytest.raises(DataError, match="truncated"):
        imported(scan)
    assert len(imported(scan, "ignore_unhandled=True")) == 1


def log() -> str:
    return Path("xtal.import.log").read_text()


def test_a_template_is_one_scan_and_must_be_whole(imported: Any, scan: Path) -> None:
    (e,) = imported(f"{scan}/a_####.img:3:9")
    assert (e.scan.image_range, e.scan.oscillation_deg) == ((3, 9), (11.0, 0.5))
    smv(scan / "a_0015.img", 99.0)
    (e,) = imported(f"template={scan}/a_####.img")
    assert e.scan.image_range == (1, 20)
    assert "at image 15 it starts at 99° where 17° would go on" in log()
    (scan / "a_0011.img").unlink()
    (scan / "a_0013.img").unlink()
    with pytest.raises(DataError, match="missing: 11, 13"):
        imported(f"template={scan}/a_####.img")
    with pytest.raises(DataError, match="missing: 21-25"):
        imported(f"template={scan}/a_####.img:16:25")
    assert imported(f"template={scan}/a_####.img", "image_range=2,9")[0].scan.image_range == (2, 9)
    with pytest.raises(DataError, match="no range"):
        imported(f"template={scan}/a_####.img:9:3")


def test_it_says_why_a_scan_ends(imported: Any, scan: Path) -> None:
    (scan / "a_0004.img").unlink()
    smv(scan / "a_0010.img", 14.5, DISTANCE=120.0)
    imported(scan)
    assert "images are missing (4)" in log()
    told = "Warning: a_####.img: a new scan begins at image 10: the distance changes from 100 to 120 mm"
    assert f"{told}. Give template=a_####.img" in log()
    assert "a new scan begins at image 11: the distance changes from 120 to 100 mm" in log()


def test_two_detectors_in_one_scan_are_refused(imported: Any, scan: Path) -> None:
    smv(scan / "a_0012.img", 15.5, PIXEL_SIZE=0.05)
    with pytest.raises(DataError, match=r"a_0012\.img are of different detectors \(64 x 64 pixels of 0\.1 mm; 64"):
        imported(scan)


def test_lists_on_the_standard_input(scan: Path, tmp_path: Path) -> None:
    xtal = str(Path(sys.executable).parent / "xtal")
    names = "\n".join(str(p) for p in sorted(scan.iterdir())[:5]) + "\n"
    for words in (["import"], ["import", "-"]):
        done = subprocess.run(
            [xtal, "run", *words], input=names, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert read_experiments(tmp_path / "imported.expt")[0].scan.image_range == (1, 5)
    done = subprocess.run(
        [xtal, "run", "import"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "xtal run import [IMAGES]" in done.stdout) == (2, True)
    done = subprocess.run([xtal, "run", "import", "-"], input="\n", capture_output=True, text=True, check=False)
    assert (done.returncode, "lists no file" in done.stderr) == (2, True)


def test_pieces_and_stills(imported: Any, scan: Path) -> None:
    assert [e.scan.image_range for e in imported(scan, "split=8")] == [(1, 8), (9, 16), (17, 20)]
    found = imported(scan, "split=5,12,4")
    assert [(e.scan.image_range, e.scan.oscillation_deg[0]) for e in found] == [((5, 8), 12.0), ((9, 12), 14.0)]
    stills = imported(scan, "convert_sequences_to_stills=True")
    assert len(stills) == 20
    assert all(e.is_still for e in stills)
    again = imported(scan)
    assert len(again) == 1
    assert len(imported("imported.expt", "oscillation=0,0", "output.experiments=stills.expt")) == 20
    for k in range(1, 21):
        smv(scan / f"a_{k:04}.img", 0.0, 0.0)
    assert len(imported(scan)) == 20
    assert "a_####.img: the images have no rotation (width 0): they are treated as stills" in log()
    with pytest.raises(OptionError, match="needs the rotation"):
        imported(scan, "convert_stills_to_sequences=True")
    assert len(imported(scan, "convert_stills_to_sequences=True", "geometry.scan.oscillation=0,1")) == 1


def test_data_files_beside_their_master_are_no_matter(imported: Any, tmp_path: Path) -> None:
    """As ``*.h5`` and a folder name them; alone they are told."""
    nxmx = load_module(Path(__file__).parents[3] / "formats" / "nxmx" / "tests" / "nxmx_files.py")
    folder = tmp_path / "eiger"
    folder.mkdir()
    master = nxmx.write_nxmx(folder / "a_master.h5", 2)
    nxmx.store(folder / "a_data_000001.h5", nxmx.frames(2))
    nxmx.link(master, "a_data_000001.h5")
    for words in ([folder], sorted(folder.glob("*.h5"))):
        (e,) = imported(*words)
        assert e.images.template == str(master)
        assert "Left out" not in log()
    master.unlink()
    with pytest.raises(DataError, match=r"a_data_000001\.h5 is an HDF5 file without NXmx images.*Give the master"):
        imported(folder / "a_data_000001.h5")


def test_every_file_left_out_is_named(imported: Any, scan: Path) -> None:
    for k in range(4):
        (scan / f"other{'abcd'[k]}.dat").write_text("no image")
    imported(scan)
    assert all(f"other{letter}.dat" in log() for letter in "abcd")


def test_folders_in_the_natural_order(imported: Any, tmp_path: Path) -> None:
    for k in (10, 9, 2):
        smv(tmp_path / f"x{k}_0001.img", 0.0)
    found = imported(tmp_path)
    assert [Path(e.images.template).name for e in found] == ["x2_####.img", "x9_####.img", "x10_####.img"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image in the folder"):
        imported(tmp_path / "empty")


def test_ten_thousand_images_are_imported_quickly(imported: Any, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    content = smv(folder / "m_00001.img", 0.0, 0.1).read_bytes()[:2048]
    for k in range(2, 10001):
        at = f"{0.1 * (k - 1):.1f}"
        (folder / f"m_{k:05}.img").write_bytes(content.replace(b"OSC_START=0.0", b"OSC_START=" + at.encode(), 1))
    for k in {1, *map(int, np.unique(np.linspace(1, 10000, 16).astype(int))), 2}:
        smv(folder / f"m_{k:05}.img", round(0.1 * (k - 1), 1), 0.1)
    start = time.perf_counter()
    (e,) = imported(folder)
    assert time.perf_counter() - start < 5
    assert e.scan.image_range == (1, 10000)
    assert "the headers of 17 of 10000 images were read and agree" in log()


def test_the_manual_makes_a_mask_that_is_read(imported: Any, scan: Path, tmp_path: Path) -> None:
    manual = Path(__file__).parents[3] / "docs" / "how-to" / "masks.md"
    if not manual.is_file():
        pytest.skip("the manual is not beside the package")
    code = manual.read_text().split("```python\n")
    exec(code[1].split("```")[0].replace("(407, 487)", "(64, 64)").replace("240:250", "24:25"), {})
    imported(scan, "mask=pixels.h5")
    assert "Mask pixels.h5: 64 of 4096 pixels (1.56 %)" in log()
    masks = np.zeros((SIZE, SIZE), bool)
    masks[1] = True
    write_mask("pixels.mask", [masks])
    exec(code[2].split("```")[0], {})
    assert np.array_equal(read_mask("for_dials.mask", [(SIZE, SIZE)])[0], masks)
    assert np.array_equal(read_mask("pixels.h5", [(SIZE, SIZE)])[0], masks)


def test_what_options_name_is_part_of_how_an_output_was_made(run_step: Any, scan: Path, tmp_path: Path) -> None:
    def made(*words: object) -> dict[str, Any]:
        found = read_made(run_step("import", *map(str, words)).outputs["experiments"])
        assert found is not None
        return found

    write_mask(tmp_path / "a.h5", [np.ones((SIZE, SIZE), bool)])
    words = (f"template={scan}/a_####.img:1:9", f"mask={tmp_path / 'a.h5'}")
    first, again = made(*words), made(*words)
    assert same_run(first, again, first["installed"])
    write_mask(tmp_path / "a.h5", [np.zeros((SIZE, SIZE), bool)])
    assert not same_run(first, made(*words), first["installed"])
    write_mask(tmp_path / "a.h5", [np.ones((SIZE, SIZE), bool)])
    smv(scan / "a_0003.img", 11.0, TIME=3.0)
    assert not same_run(first, made(*words), first["installed"])
    assert not same_run(made(scan), made(scan, "input.split=5"), first["installed"])
