"""Frames in bands of rows: the same pixels and masks as of whole frames, read at once or as rows come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_images import SHAPE, Source, Toy, experiment, formats, frame, write

from xtal.errors import DataError
from xtal.models import Images
from xtal.run import bands
from xtal.run.bands import Bands, cuts
from xtal.run.images import FrameReader, open_images


class Rows:
    """The rows of a frame; those from the 70th on of frame 3 are missing."""

    def __init__(self, source: Source, number: int) -> None:
        self.image = np.empty(SHAPE, np.uint16)
        source.read(number, [self.image])
        self.number, self.done = number, 0

    def read(self, out: Any) -> None:
        out[:] = self.image[self.done : self.done + len(out)]
        self.done += len(out)
        if self.number == 3 and self.done > 70:
            raise DataError("Frame 4 is damaged.")


class StreamSource(Source):
    """Hands out the rows of all frames but the second."""

    def stream(self, number: int) -> Rows | None:
        return None if number == 1 else Rows(self, number)


class StreamToy(Toy):
    def open(self, path: Path) -> Source:
        return StreamSource(path)


@pytest.fixture(params=[Toy, StreamToy])
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FrameReader:
    """Of four frames whose panel takes some bands, with bad pixels that differ from frame to frame."""
    monkeypatch.setattr(bands, "BAND_BYTES", 2 * SHAPE[1] * 13)
    path = write(tmp_path / "all.toy", *(frame(z) * (z + 1) for z in range(4)))
    e = experiment(Images(str(path), indices=[0, 1, 2, 3]))
    e.detector[0].trusted_range = (3.0, 90.0)
    return open_images(e, formats(toy=request.param()))


@pytest.mark.parametrize("halo", [0, 1, 3, 30, None])
def test_bands_are_parts_of_the_frame(reader: FrameReader, halo: int | None) -> None:
    searched = [np.random.default_rng(1).random(SHAPE) < 0.8]
    made = Bands(reader, [reader.static_mask()[0] & searched[0]], [halo])
    for z in (0, 1, 2, 0):
        (image,) = reader.read(z)
        good = reader.mask(z, [image])[0] & searched[0]
        done = 0
        for band in made.of(z):
            rows, own = band.cut.rows, band.cut.own
            assert own.start == done and (rows.start, rows.stop) == (
                (0, SHAPE[0]) if halo is None else (max(done - halo, 0), min(own.stop + halo, SHAPE[0]))
            )
            np.testing.assert_array_equal(band.image, image[rows])
            np.testing.assert_array_equal(band.mask, good[rows])
            np.testing.assert_array_equal(band.image[band.cut.inner], image[own])
            assert band.image.flags.c_contiguous and len(band.image) <= made.room[0][0]
            done = own.stop
        assert done == SHAPE[0]


def test_a_frame_that_is_left_in_the_middle_does_not_matter_to_the_next(reader: FrameReader) -> None:
    made = Bands(reader, reader.static_mask(), [2])
    for k, _ in enumerate(made.of(2)):
        if k == 3:
            break
    found = np.concatenate([band.image[band.cut.inner].copy() for band in made.of(0)])
    np.testing.assert_array_equal(found, frame(0))


def test_damage_is_told_when_it_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND_BYTES", 2 * SHAPE[1] * 13)
    path = write(tmp_path / "all.toy", *(frame(z) for z in range(4)))
    reader = open_images(experiment(Images(str(path), indices=[0, 1, 2, 3])), formats(toy=StreamToy()))
    with pytest.raises(DataError, match="Frame 4 is damaged"):
        list(Bands(reader, reader.static_mask(), [0]).of(3))


def test_frames_read_ahead_come_in_bands_too(reader: FrameReader) -> None:
    reader.ahead = {2: [frame(50)]}
    made = Bands(reader, reader.static_mask(), [3])
    np.testing.assert_array_equal(np.concatenate([b.image[b.cut.inner].copy() for b in made.of(2)]), frame(50))


def test_bands_are_of_like_height_and_no_smaller_than_their_halos_allow() -> None:
    for slow, fast, item, halo in [(4362, 4148, 4, 10), (2167, 2070, 2, 10), (195, 487, 4, 10), (7, 60000, 8, 3)]:
        heights = [cut.own.stop - cut.own.start for cut in cuts((slow, fast), item, halo)]
        assert sum(heights) == slow and max(heights) - min(heights) <= 1
        assert len(heights) == 1 or min(heights) >= min(bands.HALOS * halo, slow)
        assert len(cuts((slow, fast), item, None)) == 1
