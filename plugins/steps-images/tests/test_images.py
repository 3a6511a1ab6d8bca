"""Pictures and sums against obvious computations."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import fabio.compression
import numpy as np
import pytest
from PIL import Image

from xtal.errors import DataError
from xtal.models import Detector
from xtal.testing import tiny_experiment
from xtal_steps_images.cbf import MARK, Cbf, _with_loops, read_cbf, summed
from xtal_steps_images.colours import binned, colours, grey_levels
from xtal_steps_images.maps import display_map
from xtal_steps_images.merge_cbf import write_sum
from xtal_steps_images.mosaic import Mosaic, _turned
from xtal_steps_images.options import BitmapOptions, ResolutionRingOptions
from xtal_steps_images.rings import Rings, free_place, places


def cbf(pixels: np.ndarray, trailer: bytes = b"\0\0\r\n--end") -> bytes:
    data = bytes(fabio.compression.compByteOffset(pixels.astype(np.int64).ravel()))
    lines = [
        "###CBF: VERSION 1.5", "# Exposure_time 0.25 s", "# Count_cutoff 1000 counts", "# Start_angle 3.0 deg.",
        'conversions="x-CBF_BYTE_OFFSET"', f"X-Binary-Size: {len(data)}", "Content-MD5: old",
        f"X-Binary-Size-Fastest-Dimension: {pixels.shape[1]}",
        f"X-Binary-Size-Second-Dimension: {pixels.shape[0]}", "", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\x0c\x1a\x04\xd5" + data + trailer


def test_images_add_up_and_masked_pixels_stay_masked(tmp_path: Path) -> None:
    a, b = np.array([[1, -1, 2**31 - 2], [4, 5, 70000]]), np.array([[10, 7, 9], [-2, 0, 70000]])
    for name, pixels in (("a", a), ("b", b)):
        (tmp_path / f"{name}.cbf").write_bytes(cbf(pixels))
    write_sum([tmp_path / "a.cbf", tmp_path / "b.cbf"], tmp_path / "sum.cbf")
    found = read_cbf(tmp_path / "sum.cbf")
    assert found.pixels.tolist() == [[11, -1, 2**31 - 1], [-2, 5, 140000]]
    assert "# Exposure_time 0.500000 s" in found.text
    assert "# Count_cutoff 2000 counts" in found.text
    assert "# Start_angle 3.0 deg." in found.text
    assert found.trailer == b"\0\0\r\n--end"
    data = bytes(fabio.compression.compByteOffset(found.pixels.ravel().astype(np.int64)))
    assert base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() in found.text


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_images_add_up(tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]) -> None:
    paths = [tmp_path / f"{k}.cbf{ending}" for k in range(2)]
    for k, path in enumerate(paths):
        path.write_bytes(compress(cbf(np.arange(6).reshape(2, 3) + k)))
    write_sum(paths, tmp_path / "sum.cbf")
    assert read_cbf(tmp_path / "sum.cbf").pixels.tolist() == [[1, 3, 5], [7, 9, 11]]


def test_an_image_is_not_written_over(tmp_path: Path) -> None:
    content = cbf(np.ones((2, 2)))
    (tmp_path / "a.cbf").write_bytes(content)
    with pytest.raises(DataError, match="one of the images"):
        write_sum([tmp_path / "a.cbf"], tmp_path / "a.cbf")
    assert (tmp_path / "a.cbf").read_bytes() == content


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: b"P6 picture", "no CBF file"),
        (lambda c: c[:-30], "damaged"),
        (lambda c: c.replace(b"Fastest-Dimension: 20", b"Fastest-Dimension: 2000000000"), "damaged"),
        (lambda c: c.replace(b"X-Binary-Size-Second-Dimension", b"Other"), "does not say"),
    ],
)
def test_damaged_images_are_named(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    path = tmp_path / "a.cbf"
    path.write_bytes(spoil(cbf(np.arange(400).reshape(20, 20))))
    with pytest.raises(DataError, match=words) as caught:
        read_cbf(path)
    assert "a.cbf" in str(caught.value)


def test_loops_of_full_imgcif_add_up() -> None:
    rows = [
        "loop_", "_diffrn_scan_axis.scan_id", "_diffrn_scan_axis.axis_id", "_diffrn_scan_axis.angle_increment",
        "SCAN1 'GONIO omega' 0.1", "SCAN1 DET 0.0", "", "loop_", "_other.value", "0.1", "_diffrn_scan_frame.x 0.1",
    ]  # fmt: skip
    found = _with_loops("\r\n".join(rows), 3).split("\r\n")
    assert found[4] == "SCAN1 'GONIO omega' 0.300000"
    assert found[5] == "SCAN1 DET 0.000000"
    assert found[6:] == rows[6:]
    content = summed(Cbf("\r\n".join(rows), np.zeros((2, 2), np.int32), b""), np.zeros((2, 2), np.int32), 3)
    assert content.partition(MARK)[0].decode().split("\r\n") == found


def test_a_sum_of_one_is_the_image(tmp_path: Path) -> None:
    image = np.arange(12).reshape(3, 4)
    (tmp_path / "a.cbf").write_bytes(cbf(image))
    assert summed(read_cbf(tmp_path / "a.cbf"), image.astype(np.int32), 1).split(MARK)[1:] == cbf(image).split(MARK)[1:]


def test_maps_are_what_a_slow_loop_says() -> None:
    random = np.random.default_rng(2)
    image, mask = random.poisson(6, (12, 11)).astype(float), random.random((12, 11)) > 0.1
    image[4:6, 5:7] = 60
    for gain in (0.5, 1.0, 30.0):
        maps = {
            kind: display_map(image, mask, BitmapOptions(display=kind, gain=gain, global_threshold=20.0))
            for kind in ("mean", "variance", "dispersion", "sigma_b", "sigma_s", "global_threshold", "threshold")
        }
        for y, x in np.argwhere(mask):
            window = np.s_[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4]
            values = image[window][mask[window]]
            mean, variance, value = values.mean(), values.var(ddof=1), image[y, x]
            dispersed = variance / mean / gain > 1 + 6 * np.sqrt(2 / (len(values) - 1))
            strong = value > mean + 3 * np.sqrt(gain * mean)
            expected = {
                "mean": mean, "variance": variance, "dispersion": variance / mean, "sigma_b": dispersed,
                "sigma_s": strong, "global_threshold": value > 20, "threshold": dispersed and strong and value > 20,
            }  # fmt: skip
            for kind, wanted in expected.items():
                assert maps[kind][y, x] == pytest.approx(float(wanted), abs=1e-9), (kind, gain, y, x)
        assert maps["threshold"].any() == (gain < 30)


def test_brightness_saturation_and_quality_are_heeded(run_step: Any, tiny_scan: Path, tmp_path: Path) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:1])

    def drawn(name: str, *words: str) -> Any:
        run_step("export_bitmaps", "imported.expt", f"output.file={name}", *words)
        return np.asarray(Image.open(tmp_path / name).convert("RGB"), int)

    values = fabio.open(sorted(tiny_scan.glob("*.cbf"))[0]).data
    plain, dark = drawn("a.png"), drawn("b.png", "brightness=300", "png.compress_level=9")
    assert dark.sum() < plain.sum()
    assert (tmp_path / "b.png").stat().st_size < (tmp_path / "a.png").stat().st_size
    limit = float(np.quantile(values, 0.99))
    yellow = (drawn("c.png", f"saturation={limit}") == [254, 254, 1]).all(axis=2)
    np.testing.assert_array_equal(yellow, values > limit)
    sizes = []
    for quality in (10, 90):
        drawn("d.jpeg", "output.format=jpeg", f"jpeg.quality={quality}")
        sizes.append((tmp_path / "d.jpeg").stat().st_size)
    assert sizes[0] < 0.5 * sizes[1]


def test_rings_are_where_they_are_asked_for() -> None:
    experiment = tiny_experiment(size=(60, 50))
    mosaic = Mosaic(experiment.detector, experiment.beam, "image")
    asked = ResolutionRingOptions(show=True, d_spacings=(9.0, 5.5))
    ((rings, fill, _),) = Rings(experiment, mosaic, BitmapOptions(resolution_rings=asked)).sets
    assert [d for d, _ in rings] == [9.0, 5.5]
    assert fill == "red"
    ((even, _, _),) = Rings(experiment, mosaic, BitmapOptions(resolution_rings=ResolutionRingOptions(show=True))).sets
    steps = np.diff([d**-2 for d, _ in even])
    assert steps == pytest.approx(steps[0])
    assert len(even) == 5


def test_the_brightest_tenth_is_dark() -> None:
    values = np.arange(100.0).reshape(10, 10)
    grey = grey_levels(values, values, 100)
    assert grey.ravel()[90] == int(256 * 0.6)
    assert grey[0, 0] == 255
    rgb = colours(grey, "greyscale", values > 98, values < 1)
    assert rgb[0, 0].tolist() == [254, 1, 1]
    assert rgb[-1, -1].tolist() == [254, 254, 1]
    assert binned(values, 4).tolist() == [[33, 37], [73, 77]]


def test_panels_lie_side_by_side() -> None:
    experiment = tiny_experiment(size=(6, 4))
    first = experiment.detector[0]
    shift = first.fast_axis * first.pixel_size[0] * 8
    other = attrs.evolve(first, origin=first.origin + shift)
    mosaic = Mosaic(Detector([first, other]), experiment.beam, "lab")
    canvas = mosaic.place([np.full((4, 6), 1), np.full((4, 6), 2)], 0)
    assert canvas.shape == (4, 14)
    assert canvas[0].tolist() == [1] * 6 + [0] * 2 + [2] * 6


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ([[1, 0], [0, 1]], [[1, 2, 3], [4, 5, 6]]),
        ([[-1, 0], [0, -1]], [[6, 5, 4], [3, 2, 1]]),
        ([[0, 1], [1, 0]], [[1, 4], [2, 5], [3, 6]]),
        ([[0, -1], [1, 0]], [[4, 1], [5, 2], [6, 3]]),
    ],
)
def test_panels_are_turned(turn: list[list[int]], expected: list[list[int]]) -> None:
    assert _turned(np.array([[1, 2, 3], [4, 5, 6]]), np.array(turn)).tolist() == expected


def test_rings_pass_between_neighbours() -> None:
    x = np.arange(9.0)
    ((d, xy),) = places(np.tile(x, (3, 1)), [4.5**-0.5])
    assert d == 4.5**-0.5
    assert xy.tolist() == [[5, 0], [5, 1], [5, 2]]


def test_labels_of_rings_lie_on_the_picture_and_hide_no_other() -> None:
    y, x = np.mgrid[:60, :80]
    rings = [xy for _, xy in places(np.hypot(x - 40.0, y - 30.0) / 100, [(r / 100) ** -0.5 for r in (20, 25, 28, 45)])]
    taken: list[tuple[int, int, int, int]] = []
    for ring in rings:
        box = free_place(ring, (20, 9), (80, 60), taken)
        assert box is not None
        taken.append(box)
    painted = np.zeros((60, 80), int)
    for a, b, c, d in taken:
        painted[b:d, a:c] += 1
    assert painted.max() == 1
    assert painted.sum() == 4 * 20 * 9
    assert taken[0][1] == 11
    assert free_place(rings[0], (80, 60), (80, 60), taken) is None


def test_dials_names_of_options_work() -> None:
    from xtal.options import parse

    words = ["output.file=a.tiff", "output.format=tiff", "imageset_index=3", "imageset_index=5,7", "saturation=0"]
    o = parse(BitmapOptions, words)
    assert (o.output.file, o.output.format, o.imageset_index, o.saturation) == ("a.tiff", "tiff", (3, 5, 7), 0.0)


def test_a_folder_in_the_prefix_is_where_files_go(run_step: Any, tiny_scan: Path, tmp_path: Path) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:4])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    run_step("merge_cbf", "imported.expt", "output.image_prefix=a/s_")
    run_step("merge_cbf", "imported.expt", "merge_n_images=4", f"output.image_prefix={tmp_path}/b/")
    run_step("export_bitmaps", "imported.expt", "imageset_index=2", "output.prefix=a/p")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("[ab]/*")) == [
        "a/p0002.png", "a/s_1.cbf", "a/s_2.cbf", "b/1.cbf",
    ]  # fmt: skip
    assert not list(tmp_path.glob("*.cbf")) + list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("step", ["export_bitmaps", "merge_cbf"])
@pytest.mark.parametrize(("bad", "there"), [(3, ["1", "2"]), (2, ["1"]), (1, [])])
def test_a_bad_image_leaves_whole_files_and_is_named(
    run_step: Any, tiny_scan: Path, tmp_path: Path, step: str, bad: int, there: list[str]
) -> None:
    """Files that were written before are whole and stay, the error says which; nothing else is left."""
    images = [Path(shutil.copy(path, tmp_path)) for path in sorted(tiny_scan.glob("*.cbf"))[:4]]
    run_step("import", *images)
    content = images[bad - 1].read_bytes()
    images[bad - 1].write_bytes(content[: len(content) // 2])
    before = set(tmp_path.iterdir())
    words = ["merge_n_images=1"] if step == "merge_cbf" else []
    with pytest.raises(DataError) as caught:
        run_step(step, "imported.expt", *words)
    assert images[bad - 1].name in caught.value.message
    names = [f"sum_{n}.cbf" if step == "merge_cbf" else f"image000{n}.png" for n in there]
    assert {p.name for p in set(tmp_path.iterdir()) - before} - {f"xtal.{step}.log"} == set(names)
    said = ["Nothing was written.", "{} is written and whole.", "{} to {} (2 files) are written and whole."][len(names)]
    assert said.format(*names) in caught.value.advice
    for k, name in enumerate(names):
        if step == "merge_cbf":
            np.testing.assert_array_equal(read_cbf(tmp_path / name).pixels, read_cbf(images[k]).pixels)
        else:
            Image.open(tmp_path / name).load()


def test_one_sum_is_told_as_one(run_step: Any, tiny_scan: Path) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:4])
    (told,) = run_step("merge_cbf", "imported.expt", "merge_n_images=3").summary
    assert told == "sum_1.cbf: 1 image, the sum of 3; the last 1 is in none"
