"""Images of many detectors against what dxtbx 3.11 (DIALS 3.12) reads from them.

Differences that are meant: that peer's trusted range is exclusive, ours inclusive. It picks a
class by the detector's serial number for some beamlines; what such a class adds (other
rotation axes) is not in the header, so the generic formats here do not have it.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.models import Beam, Detector, Experiment, Goniometer, Images
from xtal.plugins import default_plugins
from xtal.run.formats import Formats
from xtal.run.images import open_images
from xtal.testing import shared_dir

IMAGES = (
    "images/run2_1_00148.cbf.bz2",
    "images/thau_3_2_0007.cbf.bz2",
    "images/thau_3_2_0019.cbf.bz2",
    "images/thaum_0500.cbf.gz",
    "images/dlsnxs2cbf_therm_0001.cbf.gz",
    "images/s01f0001.cbf.bz2",
    "images/adsc_001.img.bz2",
    "images/TIMEPIX_SU_512-stdgoni_0001.img",
    "images/TIMEPIX_SU_516-stdgoni_0001.img",
    "images/simtbx_FormatSMVJHSim_001.img.gz",
    "real_cred_lysozyme/experiment_14/00001.img.bz2",
    "real_cred_lysozyme/experiment_24/00001.img.bz2",
)
SITE_AXIS = {"images/thau_3_2_0007.cbf.bz2", "images/thau_3_2_0019.cbf.bz2"}
"""DLS I24 (serial 60-0119) turns about the vertical axis."""

CROSS = {name for name in IMAGES if "516" in name or "lysozyme" in name}
"""The peer masks nothing of the cross of a Timepix quad; its successors mask what we do."""

REFUSED = {
    "images/b191_1_9_1.img.bz2": "Oxford",
    "images/oPPA_5grains_0001.tif.bz2": "TIFF",
    "images/somedata_0001.mccd.bz2": "TIFF",
    "images/DLS_I03_smargon_0001.cbf.gz": "imgCIF",
    "images/hit-20181213155134902.cbf": "imgCIF",
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


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_models(name: str) -> None:
    wanted = reference()[name]
    _, beam, detector, goniometer, scan = opened(name)
    assert beam.wavelength == pytest.approx(wanted["beam"]["wavelength_A"], abs=1e-6)
    assert beam.polarization_fraction == wanted["beam"]["polarization_fraction"]
    np.testing.assert_allclose(beam.direction, wanted["beam"]["sample_to_source_direction"], atol=1e-6)
    assert len(detector) == wanted["n_panels"]
    for panel, peer in zip(detector, wanted["panels"], strict=True):
        np.testing.assert_allclose(panel.origin, peer["origin"], atol=1e-6)
        np.testing.assert_allclose(panel.fast_axis, peer["fast_axis"], atol=1e-6)
        np.testing.assert_allclose(panel.slow_axis, peer["slow_axis"], atol=1e-6)
        np.testing.assert_allclose(panel.pixel_size, peer["pixel_size_mm"], atol=1e-9)
        assert list(panel.image_size) == peer["image_size_px"]
        low, high = peer["trusted_range"]
        assert panel.trusted_range == (low + 1, high - 1)
        assert panel.mu == pytest.approx(peer["mu_per_mm"], rel=2e-3)
        assert panel.thickness == pytest.approx(peer["thickness_mm"])
        assert (panel.gain, panel.pedestal, panel.type) == (peer["gain"], peer["pedestal"], peer["type"])
        assert panel.parallax == (peer["px_mm_strategy"] == "ParallaxCorrectedPxMmStrategy")
        assert list(panel.raw_image_offset) == peer["raw_image_offset"]
        if name not in CROSS:
            assert [list(m) for m in panel.mask] == peer["static_mask_rectangles"]
    if name not in SITE_AXIS:
        assert goniometer is not None
        np.testing.assert_allclose(goniometer.axis, wanted["goniometer"]["rotation_axis"], atol=1e-6)
    assert list(scan.oscillation_deg) == wanted["scan"]["oscillation_deg"]
    np.testing.assert_allclose(scan.epochs, wanted["scan"]["epochs"], atol=1e-3)


@pytest.mark.peer
@pytest.mark.parametrize("name", IMAGES)
def test_pixels_and_mask(name: str) -> None:
    wanted = reference()[name]["image_0"]
    path = shared_dir() / "data" / name
    _, beam, detector, _, _ = opened(name)
    experiment = Experiment(beam, detector, images=Images(paths=[str(path)]))
    with open_images(experiment, formats()) as reader:
        arrays = reader.read(0)
        masks = reader.mask(0, arrays)
    for array, mask, peer in zip(arrays, masks, wanted, strict=True):
        assert hashlib.sha256(array.astype("<i4").tobytes()).hexdigest() == peer["sha256_int32_le"]
        cross = 2 * 6 * 516 - 36 if name in CROSS else 0
        assert np.count_nonzero(~mask) == peer["n_masked"] + cross


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
    np.testing.assert_allclose(detector[0].origin, peer["origin"], atol=1e-6)
    np.testing.assert_allclose(detector[0].slow_axis, peer["slow_axis"], atol=1e-6)
    assert detector[0].mu == pytest.approx(peer["mu_per_mm"], rel=2e-3)
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axes, wanted["goniometer"]["axes"], atol=1e-6)
    np.testing.assert_allclose(goniometer.axis, wanted["goniometer"]["rotation_axis"], atol=1e-6)
    assert goniometer.names == wanted["goniometer"]["names"]
    assert scan is not None
    np.testing.assert_allclose(scan.oscillation_deg, wanted["scan"]["oscillation_deg"], atol=1e-6)
    # all ones and all ones less one are marks, not counts
    assert detector[0].trusted_range == (0.0, min(peer["trusted_range"][1] - 1, 65533))
    source.close()
