"""Frames and masks of an experiment: templates, containers, stills, damage, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from toy_images import SHAPE, Source, Toy, experiment, formats, frame, write

from xtal.errors import DataError, PluginError
from xtal.models import Images
from xtal.run.images import file_of_template, open_images
from xtal.run.kernels import STRETCH, trusted_pixels


def test_a_template_reads_each_file_when_it_is_needed(tmp_path: Path) -> None:
    for z in range(4, 8):
        write(tmp_path / f"a_{z + 1:03}.toy", frame(z))
    e = experiment(Images(str(tmp_path / "a_###.toy")), first=5)
    with open_images(e, formats()) as reader:
        out = reader.allocate()
        for z in (7, 4):
            assert reader.read(z, out)[0] is out[0]
            np.testing.assert_array_equal(out[0], frame(z))
        (tmp_path / "a_006.toy").unlink()
        with pytest.raises(DataError, match=r"a_006\.toy"):
            reader.read(5, out)


def test_a_container_reads_the_frames_that_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", *(frame(z) for z in range(6)))
    whole = open_images(experiment(Images(str(path), indices=[0, 1, 2, 3, 4, 5]), n=6), formats())
    part = open_images(experiment(Images(str(path), indices=[4, 5]), first=5, n=2), formats())
    shared = open_images(experiment(Images(str(path), indices=[0, 1, 2, 3, 4, 5]), first=5, n=2), formats())
    for reader in (whole, part, shared):
        np.testing.assert_array_equal(reader.read(5)[0], frame(5))
    still = experiment(Images(paths=[str(path)], indices=[3]))
    still.scan = None
    np.testing.assert_array_equal(open_images(still, formats()).read(0)[0], frame(3))


def test_frames_read_ahead_are_handed_out_once(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", *(frame(z) for z in range(4)))
    with open_images(experiment(Images(str(path), indices=[0, 1, 2, 3])), formats()) as reader:
        reader.ahead = {1: [frame(11)], 2: [frame(12)]}
        np.testing.assert_array_equal(reader.read(1)[0], frame(11))
        out = reader.allocate()
        assert reader.read(2, out)[0] is out[0]
        np.testing.assert_array_equal(out[0], frame(12))
        assert not reader.ahead
        for z in range(4):
            np.testing.assert_array_equal(reader.read(z, out)[0], frame(z))


def test_masks_join_range_rectangles_format_file_and_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", *(frame(z) for z in range(4)))
    own = np.ones(SHAPE, dtype=bool)
    own[50, 60] = False
    np.save(tmp_path / "mask.npy", own)
    e = experiment(Images(str(path), indices=[0, 1, 2, 3], mask=str(tmp_path / "mask.npy")))
    e.detector[0].trusted_range = (3.0, 90.0)
    e.detector[0].mask = [(10, 0, 12, 100)]
    reader = open_images(e, formats())
    image = reader.read(2)
    expected = own & (image[0] >= 3) & (image[0] <= 90)
    expected[1, 1] = expected[2, 0] = False
    expected[:, 10:12] = False
    np.testing.assert_array_equal(reader.mask(2, image)[0], expected)
    assert not reader.static_mask()[0][50, 60]
    assert reader.static_mask()[0][2, 0]


def test_shadows_are_those_of_the_file_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for z in range(4):
        write(tmp_path / f"a_{z + 1:03}.toy", frame(z) + 1)
    monkeypatch.setattr(Source, "frame_mask", lambda self, k: [np.arange(SHAPE[1]) != int(self.path.stem[2:]) + k])
    reader = open_images(experiment(Images(str(tmp_path / "a_###.toy"))), formats())
    for z in range(4):
        assert np.flatnonzero(~reader.mask(z, reader.read(z))[0][20]).tolist() == [z + 1]


@pytest.mark.parametrize("bad", [None, 0, 1, STRETCH - 1, STRETCH, 2 * STRETCH + 5, "many"])
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "float32"])
def test_mask_kernel_equals_numpy(dtype: str, bad: int | str | None) -> None:
    rng, n = np.random.default_rng(1), 2 * STRETCH + 10
    image = rng.integers(0 if bad == "many" else 2, 12, n).astype(dtype)
    static = rng.random(n) < 0.7
    image[~static] = 99
    if isinstance(bad, int):
        static[bad], image[bad] = True, np.nan if dtype == "float32" else 12
    out = np.zeros(n, dtype=bool)
    differs = trusted_pixels(image, static, np.dtype(dtype).type(2), np.dtype(dtype).type(11), out)
    assert differs == (bad is not None)
    if differs:
        np.testing.assert_array_equal(out, static & (image >= 2) & (image <= 11))
    else:
        assert not out.any()


def test_static_masks_are_shared_where_a_frame_has_no_other_bad_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", frame(0), frame(1))
    e = experiment(Images(str(path), indices=[0, 1]), n=2)
    reader = open_images(e, formats())
    reader._container.frame_mask = lambda _: None  # type: ignore[union-attr, method-assign]  # none here
    room = reader.allocate_masks()
    assert reader.mask(0, reader.read(0), out=room)[0] is reader.static_mask()[0]
    before = reader.static_mask()[0].copy()
    del reader._container.frame_mask  # type: ignore[union-attr]  # it is a container
    shadowed = reader.mask(0, reader.read(0), out=room)[0]
    assert shadowed is room[0]
    assert (shadowed != before).any()
    np.testing.assert_array_equal(reader.static_mask()[0], before)


def test_marks_above_all_counts_are_bad_whatever_the_trusted_range(tmp_path: Path) -> None:
    image = frame(0)
    image[5, 5] = 65534
    path = write(tmp_path / "all.toy", image, image)
    e = experiment(Images(str(path), indices=[0, 1]), n=2)
    e.detector[0].trusted_range = (-1e9, 1e9)
    reader = open_images(e, formats())
    reader._first.value_limit = 65533  # type: ignore[attr-defined]
    assert not reader.mask(0, reader.read(0))[0][5, 5]


@pytest.mark.parametrize("limits", [(float("nan"), 9.0), (0.0, float("nan")), (5.0, 4.0), (-1e30, -1.0)])
def test_of_a_trusted_range_that_holds_no_value_no_pixel_is_good(tmp_path: Path, limits: tuple[float, float]) -> None:
    path = write(tmp_path / "all.toy", frame(0), frame(1))
    e = experiment(Images(str(path), indices=[0, 1]), n=2)
    e.detector[0].trusted_range = limits
    reader = open_images(e, formats())
    assert not reader.mask(0, reader.read(0))[0].any()


def test_threads_read_alike(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", *(frame(z) for z in range(20)))
    reader = open_images(experiment(Images(str(path), indices=list(range(20))), n=20), formats())
    with ThreadPoolExecutor(4) as pool:
        for z, got in enumerate(pool.map(lambda z: reader.read(z)[0], range(20))):
            np.testing.assert_array_equal(got, frame(z))


def test_templates() -> None:
    assert file_of_template("/a#b/x_####.cbf", 12) == Path("/a#b/x_0012.cbf")
    assert file_of_template("/a/x.h5", 12) == Path("/a/x.h5")


def test_a_detector_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "all.toy", frame(0), frame(1))
    e = experiment(Images(str(path), indices=[0, 1]), n=2)
    e.detector[0].image_size = (60, 60)
    with pytest.raises(DataError, match=r"all\.toy"):
        open_images(e, formats())


def test_the_most_specific_claim_wins_and_a_tie_names_both(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toy", frame(0))
    assert formats(a=Toy(3), b=Toy(5)).recognise(path)[0] == "b"
    with pytest.raises(PluginError, match="a and b"):
        formats(a=Toy(3), b=Toy(3)).recognise(path)
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(DataError, match="is no image"):
        formats().recognise(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(DataError, match="is empty"):
        formats().recognise(tmp_path / "empty")
