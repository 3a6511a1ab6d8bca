"""Strong pixels of every image of the reference data, by each threshold: those of DIALS 3.12, pixel by pixel.

Where 3.12 errs, the halo of `dispersion_extended` around masked pixels, both ways are compared: told to count masked
pixels as background, we mark what 3.12 marks; told not to, what the definition marks, evaluated here with numpy.
Blurs of `radial_profile` are compared where nothing is masked: 3.12 lets the values of masked pixels into them.
"""

from __future__ import annotations

import bz2
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import minimum_filter

from xtal.files import read_experiments
from xtal.physics.spots.local import local_statistics
from xtal.plugins import default_plugins
from xtal.testing import shared_dir
from xtal_threshold_dispersion_extended.options import DispersionExtendedOptions
from xtal_threshold_radial_profile.options import RadialProfileOptions

PYTHON = "/usr/bin/python3"
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.find_spots") is None, reason="DIALS 3.12 is not installed: no peer"),
]
IMAGES = [
    "Cr8F8140k103.0026", "DLS_I03_smargon_0001.cbf.gz", "DLS_I23_P12M_thau_00001.cbf.gz",
    "TIMEPIX_SU_512-stdgoni_0001.img", "TIMEPIX_SU_516-stdgoni_0001.img", "Therm_6_2.nxs", "adsc_001.img.bz2",

    "dlsnxs2cbf_therm_0001.cbf.gz", "hit-20181213155134902.cbf", "idx-20130301060858401.cbf", "omega_scan_001.cbf",
    "phi_scan_001.cbf", "run2_1_00148.cbf.bz2", "s01f0001.cbf.bz2", "simtbx_FormatSMVJHSim_001.img.gz",
    "thau_3_2_0007.cbf.bz2", "thau_3_2_0019.cbf.bz2", "thaum_0500.cbf.gz",
]  # fmt: skip
"""Those that DIALS 3.12 reads by itself."""
FOLDERS = ["real_cred_lysozyme", "real_l_cysteine"]


def files() -> list[Path]:
    """Every image that DIALS reads, and one of each real set that it reads."""
    data = shared_dir() / "data"
    sets = [
        sorted(p for p in (data / f).rglob("*") if p.suffix in (".cbf", ".img", ".tif", ".gz", ".bz2")) for f in FOLDERS
    ]
    return [data / "images" / name for name in IMAGES] + [found[len(found) // 2] for found in sets if found]


def of_dials(path: Path, folder: Path) -> tuple[dict[str, np.ndarray], Path]:
    """What DIALS makes of an image."""
    import hdf5plugin

    out = folder / "theirs"
    if path.suffix == ".bz2":  # which the peer does not unpack
        plain = folder / path.stem
        plain.write_bytes(bz2.decompress(path.read_bytes()))
        path = plain
    script = Path(__file__).with_name("strong_pixels_of_dials.py")
    environment = {**os.environ, "HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([PYTHON, script, path, out], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, f"{path}: {done.stderr[-600:]}"
    return dict(np.load(f"{out}.npz")), Path(f"{out}.expt")


def strong(
    name: str, experiment: object, panel: int, image: np.ndarray, mask: np.ndarray, **options: object
) -> np.ndarray:
    """Our strong pixels of a panel."""
    kind = RadialProfileOptions if name == "radial_profile" else DispersionExtendedOptions
    chosen = kind(**options) if options else None
    algorithm = default_plugins().load("threshold", name, chosen)
    out = np.empty(image.shape, bool)
    algorithm.prepare(experiment, panel, mask)(image, mask, out, 0)
    return out


def by_definition(image: np.ndarray, mask: np.ndarray, o: DispersionExtendedOptions) -> np.ndarray:
    """`dispersion_extended` with masked pixels in no background (Winter et al. 2018), windows cut at the edges."""
    (ky, kx), used = o.kernel_size, mask & (image < 2**24)
    count, mean, variance = local_statistics(image.astype(float), used, (ky, kx))
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersed = variance / mean > 1 + o.sigma_background * np.sqrt(2 / np.maximum(count - 1, 1)) + 1e-9
    dispersed = np.where(mask, dispersed & (count >= 2) & (mean > 0), True)
    reach = min(ky, kx) - 1
    signal = minimum_filter(dispersed.astype(np.uint8), 2 * reach + 1, mode="constant", cval=1) > 0
    count, mean, _ = local_statistics(image.astype(float), used & ~signal, (ky + 2, kx + 2))
    mean = np.where(count >= 2, mean, 0.0)
    limit = mean + o.sigma_strong * np.sqrt(np.maximum(mean, 0))
    above = image >= limit - 1e-9
    return np.asarray(signal & mask & above & (image > o.global_threshold))


def agree(what: str, image: np.ndarray, ours: np.ndarray, expected: np.ndarray) -> None:
    """Sums of counts are exact; of values divided by a gain, or blurred, rounding decides where they lie on a limit."""
    differ = int((ours != expected).sum())
    allowed = 0 if np.array_equal(image, np.rint(image)) and "blur" not in what else ours.sum() / 200
    assert differ <= allowed, f"{what}: {differ} of {int(ours.sum())} strong pixels differ"


SOON = (0, 1, 3, 4, 8, 10)
"""Those that are compared in each run; the others, of up to 12 Mpixel, in the slow one."""


@pytest.mark.parametrize(
    "number",
    [pytest.param(n, marks=() if n in SOON else pytest.mark.slow) for n in range(len(IMAGES) + len(FOLDERS))],
)
def test_strong_pixels_are_those_of_dials(number: int, tmp_path: Path) -> None:
    theirs, expt = of_dials(files()[number], tmp_path)
    experiment = read_experiments(expt)[0]
    for panel in range(len(experiment.detector)):
        image, mask = theirs[f"image_{panel}"], theirs[f"mask_{panel}"]
        for name in ("dispersion", "radial_profile"):
            if f"{name}_{panel}" in theirs:
                agree(
                    f"{name}, panel {panel}",
                    image,
                    strong(name, experiment, panel, image, mask),
                    theirs[f"{name}_{panel}"],
                )
        for blur in ("narrow", "wide") if f"narrow_{panel}" in theirs and mask.all() else ():
            ours = strong("radial_profile", experiment, panel, image, mask, blur=blur)
            agree(f"radial_profile, {blur} blur", image, ours, theirs[f"{blur}_{panel}"])
        name, options = "dispersion_extended", DispersionExtendedOptions(masked_is_background=False)
        as_312 = strong(name, experiment, panel, image, mask, masked_is_background=True)
        agree(f"{name}, panel {panel}", image, as_312, theirs[f"{name}_{panel}"])
        if image[mask].size and image[mask].min() < 0:
            continue  # the definition is one of counts
        ours = strong(name, experiment, panel, image, mask, masked_is_background=False)
        agree(f"without the halo, panel {panel}", image, ours, by_definition(image, mask, options))
