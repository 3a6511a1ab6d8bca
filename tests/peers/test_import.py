"""What import writes beside what dials.import (DIALS 3.12) writes of the same images."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.files import read_experiments
from xtal.models import Experiment
from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.import") is None, reason="DIALS is not installed"),
]


def dials(folder: Path, name: str, *words: str) -> str:
    done = subprocess.run([f"dials.{name}", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def images_of(case: str) -> list[str]:
    if case == "simulated":
        return sorted(map(str, simulated("sim_small").glob("*.cbf")))
    return sorted(map(str, (shared_dir() / "data" / "real_cred_lysozyme" / case).glob("*.img.bz2")))


@pytest.mark.parametrize("case", ["simulated", "experiment_24"])
def test_models_are_those_of_the_peer(run_step: Any, tmp_path: Path, case: str) -> None:
    images = images_of(case)
    axis = "geometry.goniometer.axis=-0.6204,-0.7843,0"
    (ours,) = read_experiments(run_step("import", *images, axis).outputs["experiments"])
    dials(tmp_path, "import", *images, axis, "output.experiments=peer.expt")
    (peer,) = read_experiments(tmp_path / "peer.expt")
    assert ours.images.template == peer.images.template
    assert ours.scan.image_range == peer.scan.image_range
    np.testing.assert_allclose(ours.scan.oscillation_deg, peer.scan.oscillation_deg, atol=1e-6)
    np.testing.assert_allclose(ours.scan.exposure_times, peer.scan.exposure_times)
    np.testing.assert_allclose(ours.goniometer.axis, peer.goniometer.axis, atol=1e-6)
    np.testing.assert_allclose(ours.detector[0].d_matrix, peer.detector[0].d_matrix, atol=1e-6)
    assert ours.detector[0].trusted_range == peer.detector[0].trusted_range
    assert ours.beam.polarization_fraction == peer.beam.polarization_fraction


def test_the_peer_goes_on_from_our_file(run_step: Any, tmp_path: Path) -> None:
    images = images_of("simulated")[:10]
    run_step("import", *images)
    assert "Beam centre" in dials(tmp_path, "show", "imported.expt")
    dials(tmp_path, "import", *images, "output.experiments=peer.expt")
    counts = []
    for name in ("imported.expt", "peer.expt"):
        text = dials(tmp_path, "find_spots", name, "nproc=1", "output.reflections=spots.refl")
        counts.append(re.findall(r"Saved (\d+) reflections", text)[-1])
    assert counts[0] == counts[1]


def test_four_sweeps_on_a_kappa_goniometer(run_step: Any, tmp_path: Path) -> None:
    folder = shared_dir() / "data" / "real_l_cysteine"
    images = sorted(str(p) for p in folder.glob("*_0000[1-3].cbf.bz2"))
    ours = read_experiments(run_step("import", *images).outputs["experiments"])
    dials(tmp_path, "import", *images, "output.experiments=peer.expt")
    peer = {e.images.template: e for e in read_experiments(tmp_path / "peer.expt")}
    assert [e.scan.image_range for e in ours] == [(1, 3)] * 4
    for e in ours:
        other = peer[e.images.template]
        np.testing.assert_allclose(e.scan.oscillation_deg, other.scan.oscillation_deg, atol=1e-6)
        np.testing.assert_allclose(e.goniometer.axis, other.goniometer.axis, atol=1e-6)
        np.testing.assert_allclose(e.goniometer.fixed_rotation, other.goniometer.fixed_rotation, atol=1e-6)
        np.testing.assert_allclose(e.goniometer.setting_rotation, other.goniometer.setting_rotation, atol=1e-6)
        np.testing.assert_allclose(e.detector[0].d_matrix, other.detector[0].d_matrix, atol=1e-6)
    assert ours[0].detector is ours[2].detector
    assert ours[0].beam is ours[3].beam


def test_the_beam_centre_of_a_swung_detector(run_step: Any, tmp_path: Path) -> None:
    """DIALS 3.12 moves a detector that stands at 30 degrees by 25 mm along its normal, and the beam misses it."""
    image = str(shared_dir() / "data" / "real_l_cysteine" / "l-cyst_01_00001.cbf.bz2")
    (ours,) = read_experiments(run_step("import", image, "fast_slow_beam_centre=200,860").outputs["experiments"])
    dials(tmp_path, "import", image, "fast_slow_beam_centre=200,860", "output.experiments=peer.expt")
    (peer,) = read_experiments(tmp_path / "peer.expt")
    found = []
    for e in (ours, peer):
        panel = e.detector[0]
        along = (panel.origin @ panel.normal) / (e.beam.s0 @ panel.normal) * e.beam.s0 - panel.origin
        found.append([along @ panel.fast_axis / 0.172, along @ panel.slow_axis / 0.172, panel.distance])
    np.testing.assert_allclose(found[0], (200, 860, 160), rtol=0, atol=1e-6)
    assert found[1][0] < -400 and found[1][2] > 184


L_CYSTEINE = "real_l_cysteine/l-cyst_01_00001.cbf.bz2"
P12M = "images/DLS_I23_P12M_thau_00001.cbf.gz"
QUAD = "images/TIMEPIX_SU_512-stdgoni_0001.img"
CSPAD = "images/idx-20130301060858401.cbf"
ROOT = ("hierarchy.origin=1,2,-600", "hierarchy.fast_axis=1,0,0", "hierarchy.slow_axis=0,1,0")


def seen(e: Experiment) -> dict[str, Any]:
    """What an override may change."""
    found: dict[str, Any] = {"detector": [p.d_matrix for p in e.detector], "direction": e.beam.direction}
    found["counts"] = [(p.gain, p.pedestal, *p.pixel_size, p.thickness, p.parallax) for p in e.detector]
    if e.goniometer is not None:
        found |= {"axis": e.goniometer.axis, "fixed": e.goniometer.fixed_rotation}
        found["setting"] = e.goniometer.setting_rotation
    if e.scan is not None:
        found["scan"] = (*e.scan.image_range, *e.scan.oscillation_deg, e.scan.batch_offset)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        (L_CYSTEINE, ("distance=150",)),
        (L_CYSTEINE, ("geometry.beam.direction=0,0.01,1",)),
        (L_CYSTEINE, ("geometry.goniometer.angles=30,40",)),
        (L_CYSTEINE, ("invert_rotation_axis=True",)),
        (L_CYSTEINE, ("geometry.scan.oscillation=5,0.2", "geometry.scan.batch_offset=100")),
        (L_CYSTEINE, ("geometry.scan.image_range=1,6", "extrapolate_scan=True")),
        (L_CYSTEINE, ("panel.gain=1.5", "panel.pedestal=3", "panel.pixel_size=0.1,0.1")),
        (L_CYSTEINE, ("panel.thickness=0.45",)),
        (L_CYSTEINE, ("panel.parallax_correction=False",)),
        (P12M, ("fast_slow_beam_centre=1000,100,12",)),
        (QUAD, ("fast_slow_beam_centre=10,10,3",)),
        (QUAD, ROOT),
        (CSPAD, ("hierarchy.group { id=0\n origin=1,2,-3\n fast_axis=1,0,0\n slow_axis=0,1,0 }",)),
        (CSPAD, ("hierarchy.group { id=1\n origin=1,2,-3\n fast_axis=0,1,0\n slow_axis=-1,0,0 }",)),
        (P12M, ("panel { id=3\n gain=2 }\n panel { id=5\n gain=3 }",)),
    ],
)
def test_overrides_on_odd_detectors_are_the_peers(
    run_step: Any, tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    image = str(shared_dir() / "data" / name)
    if "{" in words[0]:  # on a command line, each word is a scope of its own to DIALS
        (tmp_path / "words.phil").write_text(f"geometry.detector {{ {words[0]} }}\n")
        words = ("words.phil",)
    ours, *_ = read_experiments(run_step("import", image, *words).outputs["experiments"])
    dials(tmp_path, "import", image, *words, "output.experiments=peer.expt")
    peer, *_ = read_experiments(tmp_path / "peer.expt")
    a, b = seen(ours), seen(peer)
    if name == CSPAD:  # the peer loses its sensor on writing
        del a["counts"]
    for key in a:
        np.testing.assert_allclose(np.array(a[key], float), np.array(b[key], float), rtol=0, atol=1e-6, err_msg=key)


@pytest.mark.slow
def test_where_the_peer_does_not_do_what_is_asked(run_step: Any, tmp_path: Path) -> None:
    """DIALS 3.12 keeps the axes that a goniometer has; of two words about a panel the second goes to the first."""
    image = str(shared_dir() / "data" / L_CYSTEINE)
    (ours,) = read_experiments(run_step("import", image, "geometry.goniometer.axis=0,1,0").outputs["experiments"])
    dials(tmp_path, "import", image, "geometry.goniometer.axis=0,1,0", "output.experiments=peer.expt")
    (peer,) = read_experiments(tmp_path / "peer.expt")
    assert (ours.goniometer.axis.tolist(), peer.goniometer.axis.tolist()) == ([0, 1, 0], [1, 0, 0])
    image = str(shared_dir() / "data" / P12M)
    words = ("panel.id=3", "panel.gain=2")
    (ours,) = read_experiments(run_step("import", image, *words).outputs["experiments"])
    dials(tmp_path, "import", image, *words, "output.experiments=peer.expt")
    (peer,) = read_experiments(tmp_path / "peer.expt")
    assert [[k for k, p in enumerate(e.detector) if p.gain == 2] for e in (ours, peer)] == [[3], [0]]


def test_reference_and_overrides_are_the_peers(run_step: Any, tmp_path: Path) -> None:
    images = images_of("simulated")[:3]
    words = [
        "geometry.beam.wavelength=1.01", "fast_slow_beam_centre=200,210", "distance=81",
        "invert_rotation_axis=True", "geometry.scan.oscillation=5,0.3",
    ]  # fmt: skip
    dials(tmp_path, "import", *images, *words, "output.experiments=reference.expt")
    (reference,) = read_experiments(tmp_path / "reference.expt")
    (ours,) = read_experiments(run_step("import", *images, *words).outputs["experiments"])
    np.testing.assert_allclose(ours.detector[0].d_matrix, reference.detector[0].d_matrix, atol=1e-6)
    np.testing.assert_allclose(ours.goniometer.axis, reference.goniometer.axis)
    np.testing.assert_allclose(ours.scan.oscillation_deg, reference.scan.oscillation_deg, atol=1e-9)
    assert ours.beam.wavelength == reference.beam.wavelength
    word = f"reference_geometry={tmp_path / 'reference.expt'}"
    dials(tmp_path, "import", *images, word, "output.experiments=peer.expt")
    (peer,) = read_experiments(tmp_path / "peer.expt")
    (ours,) = read_experiments(run_step("import", *images, word).outputs["experiments"])
    np.testing.assert_allclose(ours.detector[0].d_matrix, peer.detector[0].d_matrix, atol=1e-6)
    np.testing.assert_allclose(ours.goniometer.axis, peer.goniometer.axis)
    assert ours.beam.wavelength == peer.beam.wavelength
    assert ours.scan.oscillation_deg == pytest.approx(peer.scan.oscillation_deg)
