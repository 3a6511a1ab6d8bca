"""Strong pixels and spots are DIALS 3.12's own.

Strong pixels must agree one by one, integer columns and boxes bit by bit. Centroids may differ by the
rounding of sums taken in another order (1e-9 px on these frames).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt
from scipy.spatial import cKDTree

from xtal.files import read_experiments, read_reflections, write_reflections
from xtal.plugins import default_plugins
from xtal.run.images import open_images
from xtal.table import Shoeboxes
from xtal.testing import simulated
from xtal.testing.data import shared_dir, truth_python
from xtal_threshold_dispersion.dispersion import Dispersion
from xtal_threshold_dispersion.options import DispersionOptions
from xtal_threshold_dispersion_extended.extended import DispersionExtended
from xtal_threshold_dispersion_extended.options import DispersionExtendedOptions

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.find_spots") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

PEER_MASKS = """
import sys
import numpy as np
from dials.algorithms.image.threshold import DispersionExtendedThreshold, DispersionThreshold
from dials.array_family import flex

data, found = np.load(sys.argv[1]), {}
for key in [k[6:] for k in data.files if k.startswith("image.")]:
    image = flex.double(np.ascontiguousarray(data["image." + key].astype(float)))
    mask = flex.bool(np.ascontiguousarray(data["mask." + key]))
    slow, fast, background, strong, least, threshold, gain = data["options." + key]
    for name, algorithm in (("dispersion", DispersionThreshold), ("extended", DispersionExtendedThreshold)):
        run = algorithm(image.all(), (int(slow), int(fast)), background, strong, threshold, int(least))
        result = flex.bool(image.accessor())
        run(image, mask, flex.double(image.accessor(), gain), result) if gain else run(image, mask, result)
        found[name + "." + key] = result.as_numpy_array()
np.savez(sys.argv[2], **found)
"""

# slow and fast half width, sigma_background, sigma_strong, min_local, global_threshold, gain (0: none)
OPTIONS = {
    "defaults": (3, 3, 6, 3, 2, 0, 0),
    "gain": (3, 3, 5, 2.5, 10, 3, 1.7),
    "window": (2, 4, 6, 3, 45, 0, 0),
    "smallest": (1, 1, 6, 3, 2, 0, 0),
}


def peer_python() -> str:
    """The interpreter that DIALS runs in, from the first line of one of its commands."""
    first = Path(str(shutil.which("dials.find_spots"))).read_text().splitlines()[0]
    return first.removeprefix("#!").strip()


@pytest.fixture(scope="module")
def frames() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A simulated frame with gaps, as integers of two kinds and as reals; a made-up crowded one."""
    fabio = pytest.importorskip("fabio")
    image = fabio.open(str(sorted(simulated("sim_small").glob("*.cbf"))[7])).data
    mask = image >= 0
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :260]
    crowd = rng.poisson(5 + 40 * (np.cos(x / 3) * np.cos(y / 4)) ** 8 * (x > 80)).astype(np.int32)
    crowd[rng.integers(0, 300, 50), rng.integers(0, 260, 50)] = 2**24 + 1
    return {
        "simulated": (image, mask),
        "unsigned": (np.where(mask, image, 65535).astype(np.uint16), mask),
        "reals": (image * 0.37 + 0.11, mask),
        "crowded": (crowd, rng.random(crowd.shape) > 0.02),
    }


def test_strong_pixels_agree_one_by_one(frames, tmp_path):
    cases = {f"{f}-{o}": (*frames[f], OPTIONS[o]) for f in frames for o in OPTIONS}
    arrays = {}
    for key, (image, mask, options) in cases.items():
        arrays |= {f"image.{key}": image, f"mask.{key}": mask, f"options.{key}": np.array(options, float)}
    np.savez(tmp_path / "in.npz", **arrays)
    script = tmp_path / "peer.py"
    script.write_text(PEER_MASKS)
    subprocess.run([peer_python(), str(script), str(tmp_path / "in.npz"), str(tmp_path / "out.npz")], check=True)
    peer, total = np.load(tmp_path / "out.npz"), 0
    for key, (image, mask, (slow, fast, background, strong, least, threshold, gain)) in cases.items():
        common = {
            "kernel_size": (slow, fast), "sigma_background": float(background), "sigma_strong": float(strong),
            "min_local": least, "global_threshold": float(threshold), "gain": gain or None,
        }  # fmt: skip
        for name, algorithm in (
            ("dispersion", Dispersion(DispersionOptions(**common))),
            ("extended", DispersionExtended(DispersionExtendedOptions(masked_is_background=True, **common))),
        ):
            ours = np.empty(image.shape, bool)
            algorithm.prepare(None, 0, mask)(image, mask, ours, 0)
            np.testing.assert_array_equal(ours, peer[f"{name}.{key}"], err_msg=f"{name} {key}")
            total += ours.sum()
    assert total > 10_000


@pytest.fixture(scope="module")
def peer_spots(tmp_path_factory) -> Path:
    """Folder in which DIALS has found the spots of a simulated scan."""
    theirs = tmp_path_factory.mktemp("dials")
    images = sorted(map(str, simulated("sim_small").glob("*.cbf")))
    for command in (["dials.import", *images], ["dials.find_spots", "imported.expt", "nproc=1"]):
        subprocess.run(command, cwd=theirs, check=True, capture_output=True)
    return theirs


def test_tables_agree(run_step, tmp_path, peer_spots):
    as_theirs = ("masked_is_background=True", "warm_pixels=False", "min_spot_size=3")
    run_step("find_spots", peer_spots / "imported.expt", "nproc=2", *as_theirs)
    same_tables(read_reflections(tmp_path / "strong.refl"), read_reflections(peer_spots / "strong.refl"))


REACH = 7
"""Pixels from a masked one within which 3.12 errs: it shrinks regions by 2, and takes the background over 5."""


def test_tables_agree_off_the_halo(run_step, tmp_path, peer_spots):
    """By default ours has the spots beside masked pixels that 3.12 lacks; all others are the same."""
    run_step("find_spots", peer_spots / "imported.expt", "nproc=2", "warm_pixels=False")
    (experiment,) = read_experiments(peer_spots / "imported.expt")
    with open_images(experiment, default_plugins()) as reader:
        (mask,) = reader.mask(0, reader.read(0))
    distance = distance_transform_cdt(mask, metric="chessboard")
    tables = [read_reflections(folder / "strong.refl") for folder in (tmp_path, peer_spots)]
    ours, theirs = (
        t.select(np.array([distance[y0:y1, x0:x1].min() > REACH for x0, x1, y0, y1 in t["bbox"][:, :4]]))
        for t in tables
    )
    assert len(tables[0]) > len(tables[1])
    apart, at = cKDTree(ours["xyzobs.px.value"]).query(theirs["xyzobs.px.value"])
    same = (apart < 0.05) & (ours["n_signal"][at] == theirs["n_signal"])
    assert len(theirs) > 6000
    assert same.mean() > 0.999  # one or two reach the halo in our table alone
    for name in ("xyzobs.px.value", "xyzobs.px.variance", "intensity.sum.value"):
        np.testing.assert_allclose(ours[name][at[same]], theirs[name][same], rtol=1e-6, atol=1e-9, err_msg=name)


def same_tables(ours, theirs):
    assert len(ours) == len(theirs) > 8000
    assert ours.columns() == theirs.columns()
    assert ours.identifiers == theirs.identifiers
    for name in theirs:
        a, b = ours[name], theirs[name]
        if isinstance(b, Shoeboxes):
            for part in ("panel", "bbox", "offsets", "data", "mask", "background"):
                np.testing.assert_array_equal(getattr(a, part), getattr(b, part), err_msg=part)
            continue
        assert a.dtype == b.dtype
        if name.startswith("xyzobs"):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(a, b, err_msg=name)


HOT = 4
"""Code of hot pixels, which no file names, in the simulator's truth."""


def score(data: Path, table: Path) -> dict:
    """What the scorer says of a table."""
    command = [truth_python(), str(shared_dir() / "tools" / "compare_spots.py"), str(data), str(table), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sim_tetragonal", "sim_weak", "sim_ice", "sim_fine"])
def test_against_the_truth_we_are_at_least_as_good(name, run_step, tmp_path):
    """More found, fewer false; smaller errors in every bin of the spots that both may find, without pairs, which are
    weaker than all others; and what our own filter drops is not of a crystal."""
    data, theirs = simulated(name), tmp_path / "dials"
    theirs.mkdir()
    images = sorted(map(str, data.glob("*.cbf")))
    for command in (["dials.import", *images], ["dials.find_spots", "imported.expt", "nproc=2"]):
        subprocess.run(command, cwd=theirs, check=True, capture_output=True)
    run_step("find_spots", theirs / "imported.expt", "nproc=2", "warm_pixels=False", "output.reflections=all.refl")
    run_step("find_spots", theirs / "imported.expt", "nproc=2")
    ours, peer = score(data, tmp_path / "strong.refl"), score(data, theirs / "strong.refl")
    assert ours["found_fraction"] >= peer["found_fraction"]
    assert ours["false"] <= peer["false"]
    table = read_reflections(tmp_path / "strong.refl")
    write_reflections(table.select(table["n_signal"] > 2), tmp_path / "larger.refl")
    larger = score(data, tmp_path / "larger.refl")
    for a, b in zip(larger["bins"], peer["bins"], strict=True):
        assert a["found_fraction"] >= b["found_fraction"]
        assert np.all(np.array(a["error"]) <= 1.005 * np.array(b["error"]))  # both scatter by about a hundredth
    positions = [read_reflections(tmp_path / n)["xyzobs.px.value"] for n in ("all.refl", "strong.refl")]
    dropped = positions[0][~np.isin(positions[0].view("f8,f8,f8"), positions[1].view("f8,f8,f8"))[:, 0]]
    x, y, _ = dropped.astype(int).T
    status = np.load(data / "truth.npz")["pixel_status"][y, x]
    assert len(dropped) > 20
    assert (status == HOT).all()
