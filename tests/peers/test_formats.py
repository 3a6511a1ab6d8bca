"""Images of many detectors against what dxtbx 3.11 (DIALS 3.12) reads from them.

All images are read as they are imported with no options. What differs stands in `DIFFERENCES`, each with its
reason; that the peer's trusted range is exclusive and ours inclusive holds for all. Adding an image is a line in
`IMAGES`.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.files import notes
from xtal.files.raw import read_whole
from xtal.models import Beam, Detector, Experiment, Goniometer, Group, Images
from xtal.plugins import default_plugins
from xtal.run.formats import Formats, lacking
from xtal.run.images import open_images
from xtal.testing import shared_dir

IMAGES = {
    "images/run2_1_00148.cbf.bz2": "cbf_mini",
    "images/thau_3_2_0007.cbf.bz2": "diamond_mini",
    "images/thau_3_2_0019.cbf.bz2": "diamond_mini",
    "images/thaum_0500.cbf.gz": "diamond_mini",
    "images/dlsnxs2cbf_therm_0001.cbf.gz": "diamond_mini",
    "images/s01f0001.cbf.bz2": "diamond_mini",
    "images/DLS_I23_P12M_thau_00001.cbf.gz": "diamond_p12m",
    "images/DLS_I03_smargon_0001.cbf.gz": "cbf_imgcif",
    "images/phi_scan_001.cbf": "cbf_imgcif",
    "images/omega_scan_001.cbf": "cbf_imgcif",
    "images/hit-20181213155134902.cbf": "cbf_imgcif",
    "images/idx-20130301060858401.cbf": "cbf_imgcif",
    "real_l_cysteine/l-cyst_01_00001.cbf.bz2": "cbf_imgcif",
    "real_l_cysteine/l-cyst_02_00001.cbf.bz2": "cbf_imgcif",
    "real_l_cysteine/l-cyst_03_00001.cbf.bz2": "cbf_imgcif",
    "real_l_cysteine/l-cyst_04_00001.cbf.bz2": "cbf_imgcif",
    "images/adsc_001.img.bz2": "smv",
    "images/TIMEPIX_SU_512-stdgoni_0001.img": "smv",
    "images/TIMEPIX_SU_516-stdgoni_0001.img": "smv",
    "images/simtbx_FormatSMVJHSim_001.img.gz": "smv",
    "real_cred_lysozyme/experiment_14/00001.img.bz2": "smv",
    "real_cred_lysozyme/experiment_24/00001.img.bz2": "smv",
}
"""Images that both read, and the format of ours that claims each."""

_CROSS = {"mask": "the peer masks nothing of the cross of a Timepix quad; its successors mask what we do"}
DIFFERENCES: dict[str, dict[str, str]] = {
    "images/TIMEPIX_SU_516-stdgoni_0001.img": _CROSS,
    "real_cred_lysozyme/experiment_14/00001.img.bz2": _CROSS,
    "real_cred_lysozyme/experiment_24/00001.img.bz2": _CROSS,
    "images/simtbx_FormatSMVJHSim_001.img.gz": {"exposure": "the header says TIME=0.1, which the peer does not read"},
    "images/omega_scan_001.cbf": {
        "axis": "the header turns by -0.5 degrees; the peer takes +0.5 and forgets to turn the axis round, its "
        "successors do as we do (see test_a_scan_in_the_negative_sense)"
    },
    "images/idx-20130301060858401.cbf": {
        "sensor": "the peer has the CSPAD's sensor in its correction of positions alone and loses it on writing; "
        "here the panels have it (the positions are equal)"
    },
}
"""By image: what differs and why."""

REFUSED = {
    "images/Gatan_float32_zero_array_001.dm4.gz": "Gatan",
    "images/Therm_6_2.nxs": "Therm_6_2_000001.h5",
    "images/dectris_eiger_master.h5": "dectris_eiger_data_000001.h5",
}


@cache
def reference() -> dict[str, Any]:
    found = json.loads((shared_dir() / "data" / "reference_geometry.json").read_text())
    return found.get("files", found)


@cache
def formats() -> Formats:
    return Formats(default_plugins())


def opened(name: str) -> tuple[Any, Beam, Detector, Goniometer | None, Any]:
    source = formats().open(shared_dir() / "data" / name)
    return source, *source.models()


def differs(name: str, what: str) -> bool:
    return what in DIFFERENCES.get(name, {})


def unit(vector: Any) -> Any:
    return np.asarray(vector) / np.linalg.norm(vector)


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_the_most_specific_format_claims_it(name: str) -> None:
    assert formats().recognise(shared_dir() / "data" / name)[0] == IMAGES[name]


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_beam_and_detector(name: str) -> None:
    wanted = reference()[name]
    _, beam, detector, _, _ = opened(name)
    assert beam.wavelength == pytest.approx(wanted["beam"]["wavelength_A"], abs=1e-6)
    assert beam.polarization_fraction == wanted["beam"]["polarization_fraction"]
    np.testing.assert_allclose(beam.polarization_normal, wanted["beam"]["polarization_normal"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(beam.direction, wanted["beam"]["sample_to_source_direction"], rtol=0, atol=1e-6)
    assert len(detector) == wanted["n_panels"]
    for panel, peer in zip(detector, wanted["panels"], strict=True):
        np.testing.assert_allclose(panel.origin, peer["origin"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(panel.fast_axis, peer["fast_axis"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(panel.slow_axis, peer["slow_axis"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(panel.pixel_size, peer["pixel_size_mm"], rtol=0, atol=1e-9)
        assert list(panel.image_size) == peer["image_size_px"]
        low, high = peer["trusted_range"]
        assert panel.trusted_range == (low + 1, high - 1)
        if not differs(name, "sensor"):
            assert panel.mu == pytest.approx(peer["mu_per_mm"], rel=2e-3)
            assert panel.thickness == pytest.approx(peer["thickness_mm"])
            assert panel.material == peer["material"]
        assert (panel.gain, panel.pedestal, panel.type) == (peer["gain"], peer["pedestal"], peer["type"])
        assert panel.parallax == (peer["px_mm_strategy"] == "ParallaxCorrectedPxMmStrategy")
        assert list(panel.raw_image_offset) == peer["raw_image_offset"]
        if not differs(name, "mask"):
            assert [list(m) for m in panel.mask] == peer["static_mask_rectangles"]


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_beam_centre(name: str) -> None:
    """In mm, and in pixels with the parallax of a swung detector."""
    wanted = reference()[name]["beam_centre"]
    _, beam, detector, _, _ = opened(name)
    index, xy = detector.intersect(beam.s0[None])
    if wanted is None:
        assert index[0] < 0
        return
    assert index[0] == wanted["panel"]
    np.testing.assert_allclose(xy[0], wanted["mm_fast_slow"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(detector[int(index[0])].mm_to_px(xy[0]), wanted["px_fast_slow"], rtol=0, atol=2e-3)


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_goniometer_and_scan(name: str) -> None:
    wanted = reference()[name]
    _, _, _, goniometer, scan = opened(name)
    if wanted["goniometer"] is None:
        assert (goniometer, scan) == (None, None)
        return
    assert goniometer is not None
    assert list(scan.oscillation_deg) == pytest.approx(wanted["scan"]["oscillation_deg"], abs=1e-9)
    np.testing.assert_allclose(scan.epochs, wanted["scan"]["epochs"], rtol=0, atol=1e-3)
    if not differs(name, "exposure"):
        np.testing.assert_allclose(scan.exposure_times, wanted["scan"]["exposure_times_s"], rtol=0, atol=1e-9)
    peer = wanted["goniometer"]
    if differs(name, "axis"):
        return
    # a header may round an axis; the peer carries the length that comes from it along
    np.testing.assert_allclose(goniometer.axis, unit(peer["rotation_axis"]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(goniometer.fixed_rotation.ravel(), peer["fixed_rotation"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(goniometer.setting_rotation.ravel(), peer["setting_rotation"], rtol=0, atol=1e-6)
    if "axes" in peer:
        np.testing.assert_allclose(goniometer.axes, peer["axes"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(goniometer.angles_deg, peer["angles_deg"], rtol=0, atol=1e-6)
        assert (goniometer.names, goniometer.scan_axis) == (peer["names"], peer["scan_axis"])


def pixels_and_masks(name: str) -> tuple[Any, Any]:
    path = shared_dir() / "data" / name
    _, beam, detector, _, _ = opened(name)
    with open_images(Experiment(beam, detector, images=Images(paths=[str(path)])), formats()) as reader:
        arrays = reader.read(0)
        return arrays, reader.mask(0, arrays)


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_and_mask(name: str) -> None:
    wanted = reference()[name]["image_0"]
    arrays, masks = pixels_and_masks(name)
    for array, mask, peer in zip(arrays, masks, wanted, strict=True):
        assert hashlib.sha256(array.astype("<i4").tobytes()).hexdigest() == peer["sha256_int32_le"]
        cross = 2 * 6 * 516 - 36 if differs(name, "mask") else 0
        assert np.count_nonzero(~mask) == peer["n_masked"] + cross


SCANS = ("real_l_cysteine/l-cyst", "real_cred_lysozyme/experiment_14", "real_cred_lysozyme/experiment_24")
"""Beginnings of the names of images whose first ones stand in `IMAGES`."""


@pytest.mark.peer
@pytest.mark.parametrize("scan", SCANS)
def test_the_other_images_of_scans(scan: str) -> None:
    """Pixels, and what changes from image to image; the detectors are those of the first images."""
    names = [name for name in reference() if name.startswith(scan) and name not in IMAGES]
    assert len(names) >= 31
    for name in names:
        wanted = reference()[name]
        source, beam, detector, goniometer, scan_of_one = opened(name)
        out = [np.empty(shape, source.dtype) for shape in source.shapes]
        source.read(0, out)
        found = hashlib.sha256(out[0].astype("<i4").tobytes()).hexdigest()
        assert found == wanted["image_0"][0]["sha256_int32_le"], name
        peer = wanted["panels"][0]
        assert beam.wavelength == wanted["beam"]["wavelength_A"]
        np.testing.assert_allclose(detector[0].origin, peer["origin"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(detector[0].fast_axis, peer["fast_axis"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(detector[0].slow_axis, peer["slow_axis"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(goniometer.axis, unit(wanted["goniometer"]["rotation_axis"]), rtol=0, atol=1e-6)
        oscillation = wanted["scan"]["oscillation_deg"]
        np.testing.assert_allclose(scan_of_one.oscillation_deg, oscillation, rtol=0, atol=1e-9)


def test_no_image_is_forgotten() -> None:
    """Every image of the shared data stands beside what the peer reads, or with those that it does not read."""
    folder = shared_dir() / "data"
    images = {
        str(path.relative_to(folder))
        for place in ("images", "real_l_cysteine", "real_cred_lysozyme", "real_cred_glycine_tiff")
        for path in (folder / place).rglob("*")
        if path.is_file() and path.suffix not in (".pts", ".txt", ".md")
    }
    assert set(reference()) == images
    alone = {*IMAGES, *REFUSED, *OF_FABIO, "images/dataset_1_frame_value_438.cbf.bz2"}
    left = {name for name in images - alone if not name.startswith((*SCANS, "real_cred_glycine_tiff/"))}
    assert not left


# --- the peer itself, where it is installed ----------------------------------------------

_ASK = """
import hashlib, json, sys
from dxtbx.model.experiment_list import ExperimentListFactory
found = {}
for path in sys.argv[1:]:
    experiment = ExperimentListFactory.from_filenames([path])[0]
    masks = [hashlib.sha256(m.as_numpy_array().tobytes()).hexdigest() for m in experiment.imageset.get_mask(0)]
    places = []
    for panel in experiment.detector:
        w, h = panel.get_image_size_mm()
        grid = [(w * i / 4, h * j / 4) for i in range(5) for j in range(5)]
        places.append([list(panel.millimeter_to_pixel(xy)) for xy in grid])
    root = experiment.detector.hierarchy()
    frame = [root.get_fast_axis(), root.get_slow_axis(), root.get_origin()]
    found[path] = [masks, places, frame]
print(json.dumps(found))
"""


@cache
def asked() -> dict[str, Any]:
    """Masks (sha256 of their bytes), positions of a grid of millimetres, and the root of the panels: the peer's."""
    program = shutil.which("dials.find_spots")
    if program is None:
        pytest.skip("DIALS 3.12 is not installed: no peer to ask")
    python = Path(program).read_text().splitlines()[0].removeprefix("#!").split()
    folder = shared_dir() / "data"
    done = subprocess.run([*python, "-c", _ASK, *(str(folder / n) for n in IMAGES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {str(Path(path).relative_to(folder)): answer for path, answer in found.items()}


@pytest.mark.slow
@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_masks_pixel_by_pixel_positions_and_the_root_of_the_panels(name: str) -> None:
    hashes, places, frame = asked()[name]
    _, masks = pixels_and_masks(name)
    if not differs(name, "mask"):
        assert [hashlib.sha256(mask.tobytes()).hexdigest() for mask in masks] == hashes
    detector = opened(name)[2]
    root = detector.root or Group()
    np.testing.assert_allclose([root.fast_axis, root.slow_axis, root.origin], frame, rtol=0, atol=1e-6)
    for panel, peer in zip(detector, places, strict=True):
        size = np.array(panel.image_size) * panel.pixel_size
        grid = np.array([(size[0] * i / 4, size[1] * j / 4) for i in range(5) for j in range(5)])
        np.testing.assert_allclose(panel.mm_to_px(grid), peer, rtol=0, atol=2e-3)


# --- where the peer fails or errs ---------------------------------------------------------


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(name: str) -> None:
    path = shared_dir() / "data" / name
    with pytest.raises(DataError, match=REFUSED[name]):
        formats().open(path).models()


def test_a_header_without_rotation_is_a_still() -> None:
    """The peer stops there with a KeyError."""
    _, beam, detector, goniometer, scan = opened("images/dataset_1_frame_value_438.cbf.bz2")
    assert beam.is_electron
    assert not detector[0].parallax
    assert (goniometer, scan) == (None, None)


def test_a_scan_in_the_negative_sense() -> None:
    """The file turns omega from -10 to -10.5 degrees about x. The rotation that our models make is that one."""
    _, _, _, goniometer, scan = opened("images/omega_scan_001.cbf")
    assert goniometer is not None
    from xtal.models.goniometer import rotation_matrix

    for part in (0.0, 0.5, 1.0):
        ours = rotation_matrix(goniometer.axis, scan.phi(scan.array_range[0] + part))
        np.testing.assert_allclose(ours, rotation_matrix([1, 0, 0], np.radians(-10 - 0.5 * part)), rtol=0, atol=1e-12)


@pytest.mark.peer
def test_nexus_of_diamond(tmp_path: Path) -> None:
    """Its data are absent: a file of the same layout without any written pixel takes their place."""
    import h5py

    name = "Therm_6_2.nxs"
    wanted = reference()[f"images/{name}"]
    (tmp_path / name).write_bytes((shared_dir() / "data" / "images" / name).read_bytes())
    with h5py.File(tmp_path / "Therm_6_2_000001.h5", "w") as file:
        file.create_dataset("data", (488, 4362, 4148), "uint16", chunks=(1, 4362, 4148))
    source = formats().open(tmp_path / name)
    beam, detector, goniometer, scan = source.models()
    peer = wanted["panels"][0]
    assert source.n_frames == wanted["n_images"]
    assert beam.wavelength == pytest.approx(wanted["beam"]["wavelength_A"], abs=1e-9)
    np.testing.assert_allclose(detector[0].origin, peer["origin"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(detector[0].slow_axis, peer["slow_axis"], rtol=0, atol=1e-6)
    assert detector[0].mu == pytest.approx(peer["mu_per_mm"], rel=2e-3)
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axes, wanted["goniometer"]["axes"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(goniometer.axis, wanted["goniometer"]["rotation_axis"], rtol=0, atol=1e-6)
    assert goniometer.names == wanted["goniometer"]["names"]
    assert scan is not None
    np.testing.assert_allclose(scan.oscillation_deg, wanted["scan"]["oscillation_deg"], rtol=0, atol=1e-6)
    # all ones and all ones less one are marks, not counts
    assert detector[0].trusted_range == (0.0, min(peer["trusted_range"][1] - 1, 65533))
    source.close()


OF_FABIO = {
    "images/b191_1_9_1.img.bz2": ("fabio_generic", set()),
    "images/Cr8F8140k103.0026": ("fabio_generic", set()),
    "images/somedata_0001.mccd.bz2": ("tiff", {"distance"}),
    "images/oPPA_5grains_0001.tif.bz2": ("tiff", {"wavelength", "pixel size", "distance", "beam centre"}),
    "real_cred_glycine_tiff/00001.tiff.bz2": ("tiff", {"wavelength", "pixel size", "distance", "beam centre"}),
    "real_cred_glycine_tiff/00020.tiff.bz2": ("tiff", {"wavelength", "pixel size", "distance", "beam centre"}),
}
"""Images that dxtbx refuses or misreads: the format of ours, and what its header lacks."""


@pytest.mark.peer
@pytest.mark.parametrize("name", OF_FABIO)
def test_what_dxtbx_does_not_read_is_as_fabio_has_it(name: str) -> None:
    """The Bruker frame has 512 x 512 pixels, which dxtbx takes for 1024 x 1024."""
    import fabio

    path = shared_dir() / "data" / name
    form, lacks = OF_FABIO[name]
    assert formats().recognise(path)[0] == form
    source, beam, detector, _, _ = opened(name)
    assert {what for what, _ in lacking(beam, detector)} == lacks
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(0, out)
    with fabio.open(str(path)) as image:
        bias = 10 if name.endswith(".mccd.bz2") else 0
        np.testing.assert_array_equal(out[0].astype(np.int64) + bias, image.data)


@pytest.mark.peer
def test_all_images_of_the_scan_of_tiffs() -> None:
    """Their pixels, as another library has them; image 20 has wider ones."""
    import fabio

    paths = sorted((shared_dir() / "data" / "real_cred_glycine_tiff").glob("*.tiff.bz2"))
    assert len(paths) == 21
    for path in paths:
        source = formats().open(path)
        out = [np.empty(shape, source.dtype) for shape in source.shapes]
        source.read(0, out)
        with fabio.open(str(path)) as image:
            np.testing.assert_array_equal(out[0], image.data, err_msg=path.name)
        assert out[0].dtype == (np.int32 if path.name.startswith("00020") else np.uint16)


def test_geometry_of_the_bruker_frame() -> None:
    """Distance, pixels, wavelength and rotation are as dxtbx has them; it has no beam centre."""
    wanted = reference()["images/Cr8F8140k103.0026"]
    _, beam, detector, goniometer, scan = opened("images/Cr8F8140k103.0026")
    panel, peer = detector[0], wanted["panels"][0]
    assert beam.wavelength == wanted["beam"]["wavelength_A"]
    np.testing.assert_allclose(panel.pixel_size, peer["pixel_size_mm"])
    assert panel.directed_distance == pytest.approx(peer["directed_distance_mm"])
    np.testing.assert_allclose(panel.origin[:2] / 0.3125, (-260.6099854, 240.8500061))
    assert goniometer is not None
    np.testing.assert_array_equal(goniometer.axis, wanted["goniometer"]["rotation_axis"])
    # a rotation about the opposite axis by 84.8 degrees is one by -84.8 degrees
    start, width = wanted["scan"]["oscillation_deg"]
    np.testing.assert_allclose(scan.oscillation_deg, (-start, width), rtol=0, atol=1e-6)


def test_geometry_of_the_oxford_image() -> None:
    """The theta arm stands at -20 degrees: the beam meets the detector's plane that far off its normal.

    The peer reads no image of this kind, but its successors do (compressed in another way), with these axes: rows
    count upwards from the lower left corner as seen from the crystal, so fast x slow points back to it.
    """
    _, beam, detector, goniometer, scan = opened("images/b191_1_9_1.img.bz2")
    assert beam.wavelength == 0.71073
    panel = detector[0]
    assert panel.distance == pytest.approx(49.82849)
    assert panel.directed_distance == pytest.approx(-49.82849)
    assert panel.slow_axis[1] > 0.99
    off = np.degrees(np.arccos(abs(panel.normal @ beam.direction)))
    assert off == pytest.approx(20.0, abs=0.6)  # with the tilt about the horizontal
    assert goniometer is not None
    assert (goniometer.names, goniometer.scan_axis) == (["PHI", "KAPPA", "OMEGA"], 2)
    np.testing.assert_allclose(scan.oscillation_deg, (6.0, 0.8), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
@pytest.mark.parametrize(
    "name",
    ["images/dataset_1_frame_value_438.cbf.bz2", "images/phi_scan_001.cbf", "images/TIMEPIX_SU_516-stdgoni_0001.img",
     "images/Cr8F8140k103.0026", "images/somedata_0001.mccd.bz2"],
)  # fmt: skip
def test_every_format_of_single_images_is_read_packed(tmp_path: Path, name: str, pack: Any) -> None:
    content = bytes(read_whole(shared_dir() / "data" / name))
    plain = tmp_path / Path(name).name.removesuffix(".bz2")
    plain.write_bytes(content)
    packed = plain.with_name(f"{plain.name}.{'gz' if pack is gzip.compress else 'bz2'}")
    packed.write_bytes(pack(content))
    assert formats().recognise(packed)[0] == formats().recognise(plain)[0]
    read = []
    for path in (plain, packed):
        source = formats().open(path)
        out = [np.empty(shape, source.dtype) for shape in source.shapes]
        source.read(0, out)
        read.append((out, repr(source.models())))
    np.testing.assert_array_equal(*(out for out, _ in read))
    assert read[0][1] == read[1][1]


TELLS = {
    "wavelength": "wave",
    "polarisation": "polari",
    "pixel size": "pixel|DETTYPE|Real pixel",
    "distance": "distanc|origin|panels",
    "beam centre": "beam|cent|origin|^panels",
    "trusted range": "trusted|cutoff|saturat|overflow|CCDPARM",
    "sensor": "silicon|sensor",
    "masked rectangles": "mask|cross|gaps",
    "gain": "gain|CCDPARM",
    "pedestal": "pedestal|offset|bias",
    "rotation axis": "axis|axes",
    "start": "start|axis|angles",
    "width": "range|increme|width|end in deg|angles",
}
"""What a model holds, and what the notes about it are called (some in the words of the header)."""


@pytest.mark.parametrize("name", [*IMAGES, *OF_FABIO])
def test_every_part_of_the_models_is_explained(name: str) -> None:
    """Each is read from a place that is named, or assumed for a reason that is given."""
    with notes.listening() as heard:
        _, beam, detector, _, scan = opened(name)
    panel = detector[0]
    lacks = {what for what, _ in lacking(beam, detector)}
    there = {
        "sensor": panel.thickness > 0,
        "masked rectangles": bool(panel.mask),
        "gain": panel.gain != 1,
        "pedestal": panel.pedestal != 0,
        **dict.fromkeys(("rotation axis", "start", "width"), scan is not None),
    }
    for part, pattern in TELLS.items():
        if part not in lacks and there.get(part, True):
            about = [n for n in heard if re.search(pattern, f"{n.what} {n.where}", re.IGNORECASE)]
            assert about and all(n.where for n in about), f"{part} of {name}: {[n.what for n in heard]}"


@pytest.mark.parametrize("name", ["images/Therm_6_2.nxs", "images/dectris_eiger_master.h5", *OF_FABIO])
def test_all_images_are_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from xtal.cli.formats import main

    code = main(["explain", str(shared_dir() / "data" / name)])
    out = capsys.readouterr().out
    assert ("It is not read: The file" in out) == (code == 1) == (name not in OF_FABIO)
    assert "Read from the header" in out
