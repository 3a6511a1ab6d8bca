"""Masks, hot pixels, gain and blank images beside DIALS 3.12."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_mask, read_reflections, write_reflections
from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.generate_mask") is None, reason="DIALS 3.12 is not installed: no peer"),
]
XTAL = str(Path(sys.executable).parent / "xtal")


def run(folder: Path, *command: object, code: int = 0) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == code, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images imported by DIALS."""
    folder = tmp_path_factory.mktemp("mask_steps")
    run(folder, "dials.import", *sorted(simulated("sim_small").glob("*.cbf"))[:5])
    run(
        folder,
        "dials.import",
        shared_dir() / "data/images/TIMEPIX_SU_512-stdgoni_0001.img",
        "output.experiments=four.expt",
    )
    return folder


SHAPES = [
    ("border=7",),
    ("d_min=3.5",),
    ("d_max=12", "disable_parallax_correction=True"),
    ("resolution_range=4,5", "resolution_range=7,8"),
    ("untrusted.circle=240,200,50", "untrusted.rectangle=10,30,40,90"),
    ("untrusted.polygon=20,20,100,30,80,120,15,60", "untrusted.pixel=5,9"),
    ("ice_rings.filter=True",),
    ("ice_rings.filter=True", "ice_rings.width=0.01", "ice_rings.d_min=3", "d_min=2.5", "border=3"),
]


@pytest.mark.parametrize("words", SHAPES, ids=" ".join)
def test_masks_are_those_of_dials(folder: Path, words: tuple[str, ...]) -> None:
    (e,) = read_experiments(folder / "imported.expt")
    shapes = [e.detector[0].image_size[::-1]]
    run(folder, "dials.generate_mask", "imported.expt", *words, "output.mask=theirs.mask")
    run(folder, XTAL, "run", "generate_mask", "imported.expt", *words, "output.mask=ours.mask")
    (theirs,), (ours,) = (read_mask(folder / f"{who}.mask", shapes) for who in ("theirs", "ours"))
    assert not theirs.all()
    assert np.array_equal(theirs, ours), f"{int((theirs != ours).sum())} pixels differ"


def test_panels_are_masked_as_by_dials(folder: Path) -> None:
    """Words of DIALS's command line each open a region of their own, so that a panel's shape needs a file."""
    (folder / "shapes.phil").write_text(
        "untrusted {\n panel = 2\n circle = 100 50 20\n}\nuntrusted {\n panel = 3\n}\n"
        "d_min = 0.9\nborder = 2\noutput.mask = theirs4.mask\n"
    )
    run(folder, "dials.generate_mask", "four.expt", "shapes.phil")
    words = ("untrusted.panel=2", "untrusted.circle=100,50,20", "untrusted.panel=3", "d_min=0.9", "border=2")
    run(folder, XTAL, "run", "generate_mask", "four.expt", *words, "output.mask=ours4.mask")
    theirs, ours = (read_mask(folder / f"{who}4.mask", [(254, 254)] * 4) for who in ("theirs", "ours"))
    assert all(np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True))
    assert ours[2].any()
    assert not ours[3].any()


def test_masks_are_combined_applied_and_drawn(folder: Path) -> None:
    run(folder, XTAL, "run", "generate_mask", "imported.expt", "border=9", "output.mask=border.h5", "plot=mask.png")
    run(folder, XTAL, "run", "generate_mask", "imported.expt", "border.h5", "d_min=4", "merge_imageset_mask=True",
        "output.mask=both.mask", "output.experiments=with.expt")  # fmt: skip
    run(folder, XTAL, "run", "generate_mask", "imported.expt", "d_min=4", "output.mask=limit.mask")
    run(folder, "dials.apply_mask", "imported.expt", "mask=both.mask", "output.experiments=theirs_masked.expt")
    run(folder, XTAL, "run", "apply_mask", "imported.expt", "both.mask")
    run(folder, XTAL, "run", "apply_mask", "imported.expt", "input.mask=both.mask", "output.experiments=named.expt")
    (e,) = read_experiments(folder / "masked.expt")
    shapes = [e.detector[0].image_size[::-1]]
    border, limit, both = (read_mask(folder / n, shapes)[0] for n in ("border.h5", "limit.mask", "both.mask"))
    assert (both <= (border & limit)).all()
    assert (folder / "mask.png").read_bytes()[:4] == b"\x89PNG"
    for name in ("masked", "with", "named", "theirs_masked"):
        (e,) = read_experiments(folder / f"{name}.expt")
        assert Path(e.images.mask).name == "both.mask"
    text = run(folder, XTAL, "run", "apply_mask", "imported.expt", "both.mask", "border.h5", code=2)
    assert "2 masks for 1 set of images" in text


def test_the_gain_is_near_that_of_dials(folder: Path) -> None:
    """Not the same: DIALS counts a ratio of 1 for every pixel whose window a gap or an edge cuts."""
    for name in ("imported.expt", "four.expt"):
        theirs = run(folder, "dials.estimate_gain", name, "max_images=3")
        ours = run(folder, XTAL, "run", "estimate_gain", name, "max_images=3")
        gains = [list(map(float, re.findall(r"Estimated gain: ([\d.]+)", text))) for text in (theirs, ours)]
        assert len(gains[0]) == len(gains[1]) == (3 if name == "imported.expt" else 1)
        assert gains[1] == pytest.approx(gains[0], abs=0.07)


def test_dials_takes_the_map_of_gains(folder: Path) -> None:
    told = run(folder, XTAL, "run", "estimate_gain", "four.expt", "output.gain_map=gain.pickle")
    (gain,) = re.findall(r"Estimated gain: ([\d.]+)", told)
    read = "import pickle, scitbx.array_family.flex; maps = pickle.load(open('gain.pickle', 'rb')); "
    told = run(folder, "/usr/bin/python3", "-c", read + "print([(m.all(), min(m), max(m)) for m in maps])")
    maps = ast.literal_eval(told)
    panels = read_experiments(folder / "four.expt")[0].detector
    assert [shape for shape, _, _ in maps] == [panel.image_size[::-1] for panel in panels]
    assert {f"{value:.2f}" for _, *values in maps for value in values} == {gain}
    run(folder, "dials.import", "four.expt", "lookup.gain=gain.pickle", "output.experiments=gained.expt")


def test_blank_images_are_those_of_dials(tmp_path: Path) -> None:
    """Of a whole scan, from which the reflections of some images were taken."""
    source = shared_dir() / "data/processed_dials/quartz_processed"
    table = read_reflections(source / "integrated.refl")
    z = table["xyzobs.px.value"][:, 2]
    first, last = read_experiments(source / "integrated.expt")[0].scan.array_range
    a, b = first + (last - first) * 0.4, first + (last - first) * 0.6
    write_reflections(table.select((z < a) | (z > b)), tmp_path / "holes.refl")
    words = (source / "integrated.expt", "holes.refl")
    run(tmp_path, "dials.detect_blanks", *words, "output.json=theirs.json")
    run(tmp_path, XTAL, "run", "detect_blanks", *words, "output.plot=blanks.png")
    theirs, ours = (json.loads((tmp_path / n).read_text()) for n in ("theirs.json", "blanks.json"))
    told = 0
    for what, figures in theirs.items():
        if figures is None:
            assert ours[what] is None
            continue
        told += 1
        assert ours[what]["blank_regions"] == figures["blank_regions"] != []
        if what == "integrated":  # DIALS's bins are then not whole images
            continue
        for key in ("x", "y", "xlow", "xhigh"):
            assert ours[what]["data"][0][key] == pytest.approx(figures["data"][0][key], rel=1e-6)
    assert told
    assert (tmp_path / "blanks.png").read_bytes()[:4] == b"\x89PNG"


def test_hot_pixels_are_those_that_are_strong_where_dials_masks_the_corner_of_their_box(tmp_path: Path) -> None:
    source = shared_dir() / "data/processed_dials/quartz_processed"
    words = (source / "imported.expt", source / "strong.refl")
    run(tmp_path, "dials.find_hot_pixels", *words, "output.mask=theirs.pickle")
    run(tmp_path, XTAL, "run", "find_hot_pixels", *words)
    (e,) = read_experiments(source / "imported.expt")
    shapes = [p.image_size[::-1] for p in e.detector]
    theirs, ours = (np.argwhere(~read_mask(tmp_path / n, shapes)[0]) for n in ("theirs.pickle", "hot_pixels.pickle"))
    boxes = read_reflections(source / "strong.refl")["shoebox"]
    deep = int(np.argmax(boxes.bbox[:, 5] - boxes.bbox[:, 4]))
    x0, _, y0, _, _, n_images = boxes.bbox[deep]
    strong = (boxes.box(deep)[1] & 4 > 0).sum(axis=0)
    assert theirs.tolist() == [[y0, x0]]
    assert strong[0, 0] == 1
    (y, x) = ours[0] - [y0, x0]
    assert len(ours) == 1
    assert strong[y, x] == n_images == 100
