"""Hot pixels, gain and blank images against what was put in, and against obvious computations."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from xtal.errors import AlgorithmFailed, DataError
from xtal.files import read_experiments, read_mask
from xtal.models import Scan
from xtal.physics.resolution import d_of_panel
from xtal.physics.spots.local import local_statistics
from xtal.plugins import default_plugins
from xtal.run.images import open_images
from xtal.table import Flag, MaskBit, ReflectionTable, Shoeboxes
from xtal_steps_spots.blanks_options import BlanksOptions
from xtal_steps_spots.detect_blanks import Blanks, analyses, by_counts
from xtal_steps_spots.estimate_gain import dispersions, robust_median
from xtal_steps_spots.find_hot_pixels import images_strong
from xtal_steps_spots.generate_mask import coarse, draw, numbered
from xtal_steps_spots.hot import hot_at


def test_local_statistics_agree_with_a_slow_loop() -> None:
    random = np.random.default_rng(3)
    image, mask = random.normal(1e6, 3.0, (9, 11)), random.random((9, 11)) > 0.3
    mask[:, :6] &= random.random((9, 6)) > 0.9  # windows of one good pixel, or none
    count, mean, variance = local_statistics(image, mask, (1, 2))
    for j in range(9):
        for i in range(11):
            window = np.s_[max(j - 1, 0) : j + 2, max(i - 2, 0) : i + 3]
            values = image[window][mask[window]]
            assert count[j, i] == len(values)
            assert mean[j, i] == pytest.approx(values.mean() if len(values) else 0.0, abs=1e-8)
            assert variance[j, i] == pytest.approx(values.var(ddof=1) if len(values) > 1 else 0.0, abs=1e-6)


def test_a_flat_image_does_not_vary_and_one_that_is_masked_has_no_mean() -> None:
    image = np.full((30, 30), 0.1)
    image[:, 13:] = 0.7
    _, mean, variance = local_statistics(image, image > 0, (2, 2))
    assert mean[4, 4] == pytest.approx(0.1)
    assert (variance >= 0).all()
    assert not np.any(local_statistics(image, image < 0, (2, 2)))


@pytest.mark.parametrize(("gain", "pedestal"), [(1.0, 0.0), (2.5, 0.0), (0.6, 100.0)])
def test_the_gain_that_was_put_in_is_found(gain: float, pedestal: float) -> None:
    image = np.random.default_rng(5).poisson(20, (200, 150)) * gain + pedestal
    mask = np.ones(image.shape, bool)
    image[::17, ::13] = 5000.0  # spots
    mask[80:110] = False
    found, _ = robust_median(dispersions([image], [mask], [pedestal], (2, 2)), "it")
    assert found == pytest.approx(gain, rel=0.05)


def test_the_gain_is_that_of_good_pixels_and_several_images_are_averaged(run_step, tiny_scan: Path) -> None:
    random = np.random.default_rng(6)
    mask = random.random((40, 30)) > 0.2
    assert len(dispersions([random.poisson(20, mask.shape)], [mask], [0.0], (2, 2))) == mask.sum()
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:3])
    run_step("estimate_gain", "imported.expt", "max_images=3")
    told = Path("xtal.estimate_gain.log").read_text()
    gains = [float(g) for g in re.findall(r"Estimated gain: ([\d.]+)", told)]
    ((mean, spread),) = re.findall(r"Average gain: ([\d.]+) \+/- ([\d.]+)", told)
    assert len(gains) == 3
    assert float(mean) == pytest.approx(np.mean(gains), abs=0.01)
    assert float(spread) == pytest.approx(np.std(gains, ddof=1), abs=0.01)


def test_no_scatter_is_an_error() -> None:
    with pytest.raises(AlgorithmFailed, match="vary too little"):
        robust_median(np.ones(100), "image 1")


def test_strong_pixels_of_boxes_are_counted() -> None:
    boxes = Shoeboxes.allocate(np.zeros(2, np.uint32), np.array([[2, 4, 1, 3, 0, 12], [2, 3, 1, 2, 14, 20]], np.int32))
    boxes.box(0)[1][:, 0, 1] = MaskBit.VALID | MaskBit.FOREGROUND
    boxes.box(0)[1][3, 1, 0] = MaskBit.VALID | MaskBit.FOREGROUND
    boxes.box(1)[1][:] = MaskBit.VALID
    counts = images_strong(boxes, (5, 6)).reshape(5, 6)
    assert counts[1, 3] == 12
    assert counts[2, 2] == 1
    assert counts.sum() == 13
    assert hot_at(counts.ravel(), 0.9, 13).tolist() == [1 * 6 + 3]
    assert hot_at(np.array([11, 12]), 0.9, 13).tolist() == [1]


@pytest.mark.parametrize(
    ("blank", "regions"),
    [([1, 0, 0, 1], [(0, 3), (7, 10)]), ([0, 1, 1, 0], [(2, 8)]), ([0, 0, 0, 0], []), ([1, 1, 1, 1], [(0, 10)])],
)
def test_runs_of_blanks_are_told_whole(blank: list[int], regions: list[tuple[int, int]]) -> None:
    blanks = Blanks(np.linspace(0, 10, 5), np.zeros(4), np.array(blank, bool), "")
    assert blanks.regions() == regions


@pytest.mark.parametrize("kind", ["", "absolute"])
def test_masks_are_written_where_the_options_say(run_step, tiny_scan: Path, tmp_path: Path, kind: str) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf")))
    run_step("find_spots", "imported.expt")
    (tmp_path / "out").mkdir()
    folder = tmp_path / "out" if kind else Path("out")
    assert run_step("generate_mask", "imported.expt", "border=2", f"output.mask={folder}/a.mask").outputs["mask"]
    run_step("find_hot_pixels", "imported.expt", "strong.refl", f"output.mask={folder}/b.mask")
    assert {p.name for p in (tmp_path / "out").glob("*.mask")} == {"a.mask", "b.mask"}
    assert not list(tmp_path.glob("*.mask"))


def test_masks_that_are_given_and_those_of_the_images_are_combined(run_step, tiny_scan: Path) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:2])
    run_step("generate_mask", "imported.expt", "border=20", "output.mask=border.h5")
    run_step("apply_mask", "imported.expt", "border.h5")
    run_step("generate_mask", "imported.expt", "untrusted.circle=100,90,15", "output.mask=circle.h5")
    words = ("d_min=4", "circle.h5", "output.mask=all.mask")
    run_step("generate_mask", "masked.expt", *words)
    (e,) = read_experiments(Path("masked.expt"))
    panel = e.detector[0]
    shape = panel.image_size[::-1]
    border, circle, two = (read_mask(Path(n), [shape])[0] for n in ("border.h5", "circle.h5", "all.mask"))
    limit = d_of_panel(panel, e.beam) > 4
    assert not limit.all()
    np.testing.assert_array_equal(two, circle & limit)
    run_step("generate_mask", "masked.expt", *words, "merge_imageset_mask=True")
    with open_images(e, default_plugins()) as reader:
        (own,) = reader.static_mask()
    np.testing.assert_array_equal(read_mask(Path("all.mask"), [shape])[0], circle & limit & own)
    assert (own <= border).all()
    assert (circle & limit & ~own).any()


def test_counts_at_the_limit_are_blank() -> None:
    z = np.repeat([0.5, 1.5, 2.5], [10, 1, 2])
    found = by_counts(z, np.arange(4.0), 0.1)
    assert found is not None
    assert found.blank.tolist() == [False, True, False]
    assert by_counts(z[:0], np.arange(4.0), 0.1) is None


@pytest.mark.parametrize(
    ("n", "shape", "rows", "columns"),
    [(1, (619, 487), 1, 1), (4, (254, 254), 2, 2), (24, (195, 2463), 12, 2), (3, (900, 30), 1, 3)],
)
def test_panels_are_drawn_in_a_picture_that_they_fill(
    n: int, shape: tuple[int, int], rows: int, columns: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure))
    draw([np.ones(shape, bool)] * n, tmp_path / "mask.png")
    grid = drawn[0].axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)
    panels = n * (drawn[0].get_figwidth() / columns) ** 2 * shape[0] / shape[1]
    assert panels > 0.4 * np.prod(drawn[0].get_size_inches())


def test_outliers_and_weak_reflections_show_nothing() -> None:
    """Four bins of five images: all indexed, outliers alone, weak ones, not quite as weak ones."""
    z = np.repeat([2.5, 7.5, 12.5, 17.5], 20)
    flags = np.full(80, Flag.STRONG | Flag.INDEXED | Flag.INTEGRATED_SUM | Flag.INTEGRATED_PRF, np.int64)
    flags[20:40] |= Flag.CENTROID_OUTLIER
    table = ReflectionTable(
        {
            "xyzobs.px.value": np.stack([z, z, z], axis=1),
            "flags": flags,
            "intensity.prf.value": np.repeat([100.0, 100.0, 9.0, 11.0], 20),
            "intensity.prf.variance": np.ones(80),
            "intensity.sum.value": np.full(80, 100.0),
            "intensity.sum.variance": np.ones(80),
        }
    )
    found = analyses(table, Scan((1, 20), (0.0, 0.4)), BlanksOptions())
    assert {what: blanks and blanks.regions() for what, blanks in found.items()} == {
        "strong": [],
        "indexed": [(5, 10)],
        "integrated": [(10, 15)],
    }


def test_names_are_numbered_and_pictures_keep_single_pixels() -> None:
    assert numbered("pixels.mask", 1) == ["pixels.mask"]
    assert numbered("out/pixels.mask", 10)[0::9] == ["out/pixels_01.mask", "out/pixels_10.mask"]
    mask = np.ones((2500, 1300), bool)
    mask[1234, 567] = False
    assert (~coarse(mask)).sum() == 1


def test_limits_that_leave_hardly_a_pixel_are_told_what_the_detector_covers(run_step, tiny_scan: Path) -> None:
    run_step("import", *sorted(tiny_scan.glob("*.cbf"))[:2])
    (experiment,) = read_experiments("imported.expt")
    d = d_of_panel(experiment.detector[0], experiment.beam)
    covers = f"the pixels of the detector are at {d.min():.2f} to {d.max():.4g} Å."
    nearest = np.sort(d, axis=None)[-4]
    run_step("generate_mask", "imported.expt", f"d_min={nearest}")
    told = Path("xtal.generate_mask.log").read_text()
    assert f"The mask leaves 3 of {d.size} pixels. Change d_min={nearest:g}: {covers}" in told
    with pytest.raises(DataError, match=re.escape(f"Change d_max=0.1: {covers}")):
        run_step("generate_mask", "imported.expt", "d_max=0.1")


def test_all_masks_of_several_scans_are_named(run_step, tiny_scan: Path) -> None:
    images = sorted(tiny_scan.glob("*.cbf"))
    run_step("import", *images[:2], *images[3:5])
    outcome = run_step("generate_mask", "imported.expt", "border=2", "plot=mask.png", "output.experiments=with.expt")
    names = ["pixels_1.mask", "mask_1.png", "pixels_2.mask", "mask_2.png", "with.expt"]
    assert [path.name for path in outcome.outputs.values()] == names
    assert [Path(e.images.mask).name for e in read_experiments("with.expt")] == ["pixels_1.mask", "pixels_2.mask"]
    told = Path("xtal.generate_mask.log").read_text()
    assert "Masked pixels of pixels_1.mask" in told and "Masked pixels of pixels_2.mask" in told
