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
