"""Pictures and sums of images beside DIALS 3.12."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import fabio
import numpy as np
import pytest
from PIL import Image

from xtal.testing import simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.export_bitmaps") is None, reason="DIALS 3.12 is not installed: no peer"),
]
XTAL = str(Path(sys.executable).parent / "xtal")


def run(folder: Path, *command: object) -> str:
    done = subprocess.run([str(w) for w in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    run(folder, "dials.import", *sorted(simulated("sim_small").glob("*.cbf"))[:5])
    return folder


PICTURES = [
    (),
    ("binning=2", "brightness=40"),
    ("colour_scheme=inverse_greyscale", "show_mask=True"),
    ("colour_scheme=rainbow",),
    ("colour_scheme=heatmap",),
    ("display=mean",),
    ("display=variance",),
    ("display=dispersion", "kernel_size=4,4"),
    ("display=sigma_b",),
    ("display=sigma_s", "nsigma_s=2"),
    ("display=threshold",),
    ("display=sigma_b", "gain=0.5"),
    ("display=sigma_s", "gain=2", "nsigma_s=1"),
    ("display=global_threshold", "global_threshold=5"),
]


@pytest.mark.parametrize("words", PICTURES, ids=" ".join)
def test_pictures_are_those_of_dials(folder: Path, words: tuple[str, ...]) -> None:
    run(folder, "dials.export_bitmaps", "imported.expt", *words, "imageset_index=2", "output.prefix=theirs")
    run(folder, XTAL, "run", "export_bitmaps", "imported.expt", *words, "imageset_index=2", "output.prefix=ours")
    theirs, ours = (np.asarray(Image.open(folder / f"{who}0002.png").convert("RGB"), int) for who in ("theirs", "ours"))
    assert theirs.shape == ours.shape
    assert len(np.unique(theirs)) > 1
    same = np.abs(theirs - ours).max(axis=2) <= 1
    if "show_mask=True" in words:  # DIALS 3.12 draws gaps and dead pixels of Pilatus images as values
        gaps = fabio.open(sorted(simulated("sim_small").glob("*.cbf"))[1]).data < 0
        assert gaps.sum() > 1000
        assert (ours[gaps] == [254, 1, 1]).all()
        same |= gaps
    near = same.mean()
    assert near > 0.9999, f"{near:.6f} of the pixels have the same colour"


@pytest.mark.parametrize("n", [2, 3])
def test_sums_are_those_of_dials(folder: Path, tmp_path: Path, n: int) -> None:
    (tmp_path / "theirs").mkdir()
    run(tmp_path / "theirs", "dials.merge_cbf", folder / "imported.expt", f"merge_n_images={n}")
    run(tmp_path, XTAL, "run", "merge_cbf", folder / "imported.expt", f"merge_n_images={n}")
    names = sorted(p.name for p in (tmp_path / "theirs").glob("*.cbf"))
    assert names == sorted(p.name for p in tmp_path.glob("*.cbf"))
    assert len(names) == 5 // n
    for name in names:
        theirs, ours = fabio.open(tmp_path / "theirs" / name), fabio.open(tmp_path / name)
        assert np.array_equal(theirs.data, ours.data)
    both = [run(tmp_path / sub, XTAL, "run", "show", names[0]) for sub in ("theirs", ".")]
    headers = [[line.split() for line in text.splitlines() if "/" not in line and "--" not in line] for text in both]
    assert headers[0][:-1] == headers[1][:-1]  # but for the time that it took
    assert len(headers[0]) > 10
