"""NXmx and DECTRIS masters, made here: frames by every way of storing them, geometry, damage."""

from __future__ import annotations

import bz2
import os
import warnings
import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from xtal.errors import DataError, ImageWarning
from xtal.testing import load_module
from xtal_format_nxmx.bitshuffle import Unpacking
from xtal_format_nxmx.chunks import usual_block
from xtal_format_nxmx.format import NXmx

made = load_module(Path(__file__).with_name("nxmx_files.py"))
SHAPE, frames, store, axis, nx = made.SHAPE, made.frames, made.store, made.axis, made.nx
write_nxmx, write_dectris, virtual, link = made.write_nxmx, made.write_dectris, made.virtual, made.link


def read(path: Path, frame: int) -> np.ndarray:
    source = NXmx().open(path)
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(frame, out)
    source.close()
    return out[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.LZ4()},
        {"chunks": (1, *SHAPE), "compression": "gzip"},
        {"chunks": (1, 100, 300), "compression": "gzip"},
        {"chunks": (1, 100, 300), "compression": "gzip", "shuffle": True},
        {"chunks": (2, 257, 515), "compression": hdf5plugin.Bitshuffle(cname="lz4")},
        {"chunks": None},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.Bitshuffle(cname="zstd")},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.Zstd()},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.Blosc()},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.Blosc2()},
        {"chunks": (1, *SHAPE), "compression": hdf5plugin.BZip2()},
    ],
    ids=["bslz4", "lz4", "gzip", "gzip tiles", "shuffled tiles", "several chunks", "plain", "bszstd", "zstd", "blosc",
         "blosc2", "bzip2"],
)  # fmt: skip
def test_frames_however_they_are_stored(tmp_path: Path, dtype: str, more: dict[str, Any]) -> None:
    data = frames(3, dtype)
    path = write_nxmx(tmp_path / "a_master.h5", 3)
    store(path, data, **more)
    for frame in range(3):
        got = read(path, frame)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, data[frame])


@pytest.mark.parametrize("one", hdf5plugin.get_filters(), ids=lambda one: one.filter_name)
def test_every_filter_that_the_library_knows(tmp_path: Path, one: Any) -> None:
    """Also those that lose digits: read is what the library reads."""
    path = write_nxmx(tmp_path / "a_master.h5", 2)
    kind = "float32" if one.filter_name in ("sperr", "sz", "sz3", "zfp") else "uint16"
    store(path, frames(2, "uint16").astype(kind), chunks=(1, *SHAPE), compression=one())
    with h5py.File(path) as file:
        dataset = file["entry/data/data"]
        filters = dataset.id.get_create_plist()
        assert filters.get_filter(0)[0] == one.filter_id
        wanted = dataset[...]
    for frame in range(2):
        np.testing.assert_array_equal(read(path, frame), wanted[frame])


def test_virtual_and_linked_data_in_other_files(tmp_path: Path) -> None:
    data = frames(5)
    path = write_nxmx(tmp_path / "a_master.h5", 5)
    store(tmp_path / "a_000001.h5", data[:3], "/entry/data/data")
    store(tmp_path / "a_000002.h5", data[3:], "/entry/data/data")
    layout = h5py.VirtualLayout((5, *SHAPE), "uint16")
    layout[:3] = h5py.VirtualSource("a_000001.h5", "/entry/data/data", (3, *SHAPE))
    layout[3:] = h5py.VirtualSource("a_000002.h5", "/entry/data/data", (2, *SHAPE))
    with h5py.File(path, "a") as file:
        file["entry/data"].create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(read(path, 4), data[4])
    (tmp_path / "a_000002.h5").unlink()
    with pytest.raises(DataError, match="a_000002"):
        NXmx().open(path)


def test_frames_of_two_files_in_turns(tmp_path: Path) -> None:
    """As writers do that share the frames of a detector between processes."""
    data = frames(6)
    path = write_nxmx(tmp_path / "a_master.h5", 6)
    layout = h5py.VirtualLayout((6, *SHAPE), "uint16")
    for k in range(2):
        store(tmp_path / f"a_{k}.h5", data[k::2])
        layout[k::2] = h5py.VirtualSource(f"a_{k}.h5", "/entry/data/data", (3, *SHAPE))
    virtual(path, layout)
    source = NXmx().open(path)
    assert len(source._frames.parts) == 6
    for frame in range(6):
        np.testing.assert_array_equal(read(path, frame), data[frame])


def test_modules_put_together_by_a_virtual_dataset(tmp_path: Path) -> None:
    data = frames(2)
    path = write_nxmx(tmp_path / "a_master.h5", 2)
    layout = h5py.VirtualLayout((2, *SHAPE), "uint16")
    for k, half in enumerate((np.s_[:, :257], np.s_[:, 257:])):
        store(tmp_path / f"a_{k}.h5", data[half])
        layout[half] = h5py.VirtualSource(f"a_{k}.h5", "/entry/data/data", (2, 257, SHAPE[1]))
    virtual(path, layout)
    np.testing.assert_array_equal(read(path, 1), data[1])
    (tmp_path / "a_1.h5").unlink()
    with pytest.raises(DataError, match=r"a_1\.h5"):
        NXmx().open(path)


def test_a_missing_file_behind_two_virtual_datasets(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a_master.h5", 2)
    store(tmp_path / "c.h5", frames(2))
    for name, source in (("b.h5", "c.h5"), ("a_master.h5", "b.h5")):
        layout = h5py.VirtualLayout((2, *SHAPE), "uint16")
        layout[:] = h5py.VirtualSource(source, "/entry/data/data", (2, *SHAPE))
        with h5py.File(tmp_path / name, "a") as file:
            file.require_group("entry/data").create_virtual_dataset("data", layout)
    np.testing.assert_array_equal(read(path, 1), frames(2)[1])
    (tmp_path / "c.h5").unlink()
    with pytest.raises(DataError, match=r"c\.h5"):
        NXmx().open(path)


@pytest.mark.parametrize("how", ["a frame", "a virtual frame"])
def test_frames_never_written_are_errors_and_not_zeros(tmp_path: Path, how: str) -> None:
    path = write_nxmx(tmp_path / "a_master.h5", 3)
    if how == "a frame":
        with h5py.File(path, "a") as file:
            compression = hdf5plugin.Bitshuffle(cname="lz4")
            data = file["entry/data"].create_dataset(
                "data", (3, *SHAPE), "uint16", chunks=(1, *SHAPE), compression=compression
            )
            data[0] = data[2] = 1
    else:
        layout = h5py.VirtualLayout((3, *SHAPE), "uint16")
        for k in (0, 2):
            store(tmp_path / f"a_{k}.h5", frames(1))
            layout[k] = h5py.VirtualSource(f"a_{k}.h5", "/entry/data/data", (1, *SHAPE))[0]
        virtual(path, layout)
    read(path, 2)
    with pytest.raises(DataError, match=r"Frame 2 of .*a_master"):
        read(path, 1)


def test_links_out_of_the_folder_are_told_before_they_are_followed(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "run").mkdir()
    path = write_nxmx(tmp_path / "run" / "a_master.h5", 2)
    store(tmp_path / "raw" / "a.h5", frames(2))
    link(path, "../raw/a.h5")
    with pytest.warns(ImageWarning, match=r"a_master\.h5 takes its data from outside its folder: from .*raw"):
        np.testing.assert_array_equal(read(path, 1), frames(2)[1])


def test_nothing_outside_is_opened_before_it_is_told(tmp_path: Path) -> None:
    """Who turns the warning into an error has opened nothing, by whatever link: what is linked is no HDF5 file."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "raw" / "a.h5").write_text("an error would tell that this was opened")
    (tmp_path / "run" / "b.h5").symlink_to(tmp_path / "raw" / "a.h5")
    layout = h5py.VirtualLayout((2, *SHAPE), "uint16")
    layout[:] = h5py.VirtualSource("../raw/a.h5", "/entry/data/data", (2, *SHAPE))

    def signal(path: Path) -> None:
        link(path, "../raw/a.h5", "entry/data/away")
        with h5py.File(path, "a") as file:
            file["entry/data"].attrs["signal"] = "away/data"
            file["entry/data/data_000001"] = h5py.SoftLink("/entry/data/away")

    ways = (
        lambda path: link(path, "../raw/a.h5"),
        lambda path: link(path, str(tmp_path / "raw" / "a.h5")),
        lambda path: link(path, "b.h5"),
        lambda path: virtual(path, layout),
        signal,
    )
    for k, way in enumerate(ways):
        path = write_nxmx(tmp_path / "run" / f"{k}_master.h5", 2)
        way(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ImageWarning)
            with pytest.raises(ImageWarning, match="outside its folder"):
                NXmx().open(path)


def test_links_to_what_is_no_file_and_circles_are_errors(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a_master.h5", 2)
    os.mkfifo(tmp_path / "pipe.h5")
    link(path, "pipe.h5")
    with pytest.raises(DataError, match=r"pipe\.h5.* is no file"):
        NXmx().open(path)
    path = write_nxmx(tmp_path / "b_master.h5", 2)
    link(path, "b_master.h5")
    with pytest.raises(DataError, match="circle"):
        NXmx().open(path)


def test_pixels_in_raw_files_are_refused(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a_master.h5", 1)
    (tmp_path / "secret").write_bytes(bytes(2 * SHAPE[0] * SHAPE[1]))
    with h5py.File(path, "a") as file:
        external = [(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
        file["entry/data"].create_dataset("data", (1, *SHAPE), "uint16", external=external)
    with pytest.raises(DataError, match="not HDF5"):
        NXmx().open(path)


def test_a_linked_pixel_mask_and_a_missing_one(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    mask = np.zeros(SHAPE, np.uint32)
    mask[3, 5] = 1
    store(tmp_path / "meta.h5", mask, chunks=None)
    link(path, "meta.h5", "entry/instrument/detector/pixel_mask")
    good = NXmx().open(path).masks()
    assert good is not None
    np.testing.assert_array_equal(~good[0], mask == 1)
    (tmp_path / "meta.h5").unlink()
    with pytest.raises(DataError, match=r"meta\.h5"):
        NXmx().open(path).masks()


def test_several_modules_are_panels(tmp_path: Path) -> None:
    data = frames(2)
    path = write_nxmx(tmp_path / "a.nxs", 2, shape=(257, SHAPE[1]))
    store(path, data)
    with h5py.File(path, "a") as file:
        detector = file["entry/instrument/detector"]
        second = nx(detector, "module_2", "NXdetector_module")
        second["data_origin"], second["data_size"] = [257, 0], [257, SHAPE[1]]
        z = "/entry/instrument/detector/z"
        offset = "/entry/instrument/detector/module_2/offset"
        axis(second, "offset", 0.0, "translation", (1.0, 0.0, 0.0), "mm", z, offset=(40.0, -3.0, 1.0))
        axis(second, "fast_pixel_direction", 0.075, "translation", (-1.0, 0.0, 0.0), "mm", offset)
        axis(second, "slow_pixel_direction", 0.075, "translation", (0.0, -1.0, 0.0), "mm", offset)
        mask = np.zeros(SHAPE, np.uint32)
        mask[257:, :10] = 1
        detector["pixel_mask"] = mask
    source = NXmx().open(path)
    _, panels, _, _ = source.models()
    assert [p.image_size for p in panels] == [(1030, 257)] * 2
    assert [p.raw_image_offset for p in panels] == [(0, 0), (0, 257)]
    np.testing.assert_allclose(panels[1].origin, (-40.0, -3.0, -201.0))
    out = [np.empty(shape, source.dtype) for shape in source.shapes]
    source.read(1, out)
    np.testing.assert_array_equal(np.vstack(out), data[1])
    good = source.masks()
    assert good is not None
    assert [np.count_nonzero(~g) for g in good] == [0, 2570]


def test_whole_frames_and_frames_of_modules_in_one_virtual_dataset(tmp_path: Path) -> None:
    data = frames(3)
    path = write_nxmx(tmp_path / "a_master.h5", 3)
    layout = h5py.VirtualLayout((3, *SHAPE), "uint16")
    for k, part in enumerate((np.s_[:2], np.s_[2:, :257], np.s_[2:, 257:])):
        store(tmp_path / f"a_{k}.h5", data[part])
        layout[part] = h5py.VirtualSource(f"a_{k}.h5", "/entry/data/data", data[part].shape)
    virtual(path, layout)
    for frame in range(3):
        np.testing.assert_array_equal(read(path, frame), data[frame])


def test_linked_data_that_are_virtual_themselves(tmp_path: Path) -> None:
    path, second = tmp_path / "b_master.h5", tmp_path / "b_data_000002.h5"
    data = write_dectris(path)
    second.rename(tmp_path / "c.h5")
    layout = h5py.VirtualLayout((2, *SHAPE), "uint32")
    layout[:] = h5py.VirtualSource("c.h5", "/entry/data/data", (2, *SHAPE))
    with h5py.File(second, "w") as file:
        file.create_virtual_dataset("/entry/data/data", layout)
    for frame in range(4):
        np.testing.assert_array_equal(read(path, frame), data[frame])


def test_angles_frame_by_frame(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 4)
    store(path, frames(4))
    name = "entry/sample/turn/omega"
    with h5py.File(path, "a") as file:
        file[name][...] = [10.0, 10.501, 10.999, 11.5]
        file[name + "_end"] = np.array([10.5, 11.001, 11.499, 12.0])
    _, _, _, scan = NXmx().open(path).models()
    assert scan is not None
    assert scan.oscillation_deg == (10.0, 0.5)
    with h5py.File(path, "a") as file:
        file[name][...] = [10.0, 10.5, 12.0, 12.5]
        file[name + "_end"][...] = [10.5, 11.0, 12.5, 13.0]
    with pytest.warns(ImageWarning, match="uneven: steps from 0.5 to 1.5"):
        NXmx().open(path).models()
    with h5py.File(path, "a") as file:
        kept = dict(file[name].attrs)
        del file[name]
        file[name] = [10.0, 10.5]
        file[name].attrs.update(kept)
    with pytest.raises(DataError, match="4 images, but 2 angles"):
        NXmx().open(path).models()


@pytest.mark.parametrize("shape", [(10**12, 4, 4), (2, 10**6, 10**6)])
def test_claims_beyond_reason_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 2)
    with h5py.File(path, "a") as file:
        file["entry/data"].create_dataset("data", shape, "uint16", chunks=(1, 4, 4))
    with pytest.raises(DataError, match=r"a\.nxs claims"):
        NXmx().open(path)


@pytest.mark.parametrize(
    "data", [np.uint16(5), np.zeros(7, np.uint16), np.zeros((2, 2, 3, 4), np.uint16), h5py.Empty("u2")]
)
def test_data_of_other_dimensions_are_no_images(tmp_path: Path, data: Any) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 2)
    with h5py.File(path, "a") as file:
        file["entry/data/data"] = data
    with pytest.raises(DataError, match=r"a\.nxs"):
        NXmx().open(path)


def test_counts_of_floating_point(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1, "float32") + np.float32(0.5))
    assert NXmx().open(path).dtype == np.float32
    np.testing.assert_array_equal(read(path, 0), frames(1)[0] + 0.5)


def test_models(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 4)
    store(path, frames(4))
    beam, detector, goniometer, scan = NXmx().open(path).models()
    panel = detector[0]
    assert beam.wavelength == 1.0
    np.testing.assert_allclose(panel.origin, (-40.0, 20.0, -200.0))
    np.testing.assert_allclose([panel.fast_axis, panel.slow_axis], [(1, 0, 0), (0, -1, 0)])
    assert (panel.trusted_range, panel.thickness, panel.parallax) == ((0.0, 49999.0), 0.45, True)
    assert panel.image_size == (1030, 514)
    assert goniometer is not None
    assert (goniometer.names, goniometer.scan_axis) == (["phi", "omega"], 1)
    np.testing.assert_allclose(goniometer.axis, (1.0, 0.0, 0.0))
    assert scan is not None
    assert (scan.image_range, scan.oscillation_deg) == ((1, 4), (10.0, 0.5))


def test_a_negative_rotation_turns_the_axis(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 4, width=-0.5)
    store(path, frames(4))
    _, _, goniometer, scan = NXmx().open(path).models()
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axis, (-1.0, 0.0, 0.0))
    assert scan is not None
    assert scan.oscillation_deg == (-10.0, 0.5)


def test_a_saturation_that_is_no_number_is_none(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        del file["entry/instrument/detector/saturation_value"]
        file["entry/instrument/detector/saturation_value"] = float("nan")
    assert NXmx().open(path).models()[1][0].trusted_range == (0.0, 65533.0)


@pytest.mark.parametrize(
    ("lead", "more"),
    [
        ((), {}),
        ((), {"chunks": (100, 300), "compression": "gzip"}),
        ((1,), {"chunks": (1, 100, 300), "compression": "gzip", "shuffle": True}),
        ((1,), {"chunks": (1, *SHAPE), "compression": hdf5plugin.Bitshuffle(cname="lz4")}),
        ((), {"chunks": SHAPE, "compression": hdf5plugin.Bitshuffle(cname="lz4")}),
    ],
    ids=["plain", "gzip tiles", "shuffled tiles", "bslz4", "bslz4 of two dimensions"],
)
def test_marks_of_bad_pixels_are_no_counts_and_the_pixel_mask_is_used(
    tmp_path: Path, lead: tuple[int, ...], more: dict[str, Any]
) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        mask = np.zeros(SHAPE, np.uint32)
        mask[3, 5] = 1
        detector = file["entry/instrument/detector"]
        detector.create_dataset("pixel_mask", data=mask.reshape(*lead, *SHAPE), **more)
    source = NXmx().open(path)
    assert source.value_limit == 65533
    good = source.masks()
    assert good is not None
    assert good[0].sum() == good[0].size - 1
    assert not good[0][3, 5]


def test_a_damaged_tile_of_the_pixel_mask_names_the_file(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        mask = file["entry/instrument/detector"].create_dataset(
            "pixel_mask", data=np.zeros(SHAPE, np.uint32), chunks=(100, 300), compression="gzip"
        )
        mask.id.write_direct_chunk((200, 300), zlib.compress(bytes(100)))
    with pytest.raises(DataError, match=r"a\.nxs is truncated or damaged"):
        NXmx().open(path).masks()


def test_a_pixel_mask_that_was_never_written_marks_nothing(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        detector = file["entry/instrument/detector"]
        detector.create_dataset("pixel_mask", SHAPE, "uint32", chunks=(100, 300), compression="gzip")
    good = NXmx().open(path).masks()
    assert good is not None
    assert good[0].all()


def test_dectris_master(tmp_path: Path) -> None:
    path = tmp_path / "b_master.h5"
    data = write_dectris(path)
    assert NXmx().sniff(path.read_bytes()[:4096], path) == 5
    source = NXmx().open(path)
    _, detector, goniometer, scan = source.models()
    assert source.n_frames == 4
    np.testing.assert_allclose(detector[0].origin, (-40.0, 20.0, -200.0), rtol=1e-6)
    assert detector[0].trusted_range == (0.0, 12439.0)
    assert goniometer is not None
    assert goniometer.axis.tolist() == [1.0, 0.0, 0.0]
    assert scan is not None
    assert scan.oscillation_deg == (10.0, 0.1)
    np.testing.assert_array_equal(read(path, 3), data[3])
    (tmp_path / "b_data_000002.h5").unlink()
    with pytest.raises(DataError, match="b_data_000002"):
        NXmx().open(path)


def test_damaged_chunks_and_files_are_errors(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 1)
    store(path, frames(1))
    with h5py.File(path, "a") as file:
        dataset = file["entry/data/data"]
        _, chunk = dataset.id.read_direct_chunk((0, 0, 0))
        damaged = bytearray(chunk)
        damaged[12:16] = b"\xff\xff\xff\xff"
        dataset.id.write_direct_chunk((0, 0, 0), bytes(damaged))
    with pytest.raises(DataError, match=r"a\.nxs"):
        read(path, 0)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"a\.nxs"):
        NXmx().open(path)


CHUNKED = {"chunks": (1, *SHAPE)}
LYING = (2**40).to_bytes(8, "big")
FRAME = 2 * SHAPE[0] * SHAPE[1]
CUT_OFF_BLOSC = b"\2\1\x21\2" + FRAME.to_bytes(4, "little") + b"\0\x20\0\0" + b"\xff" * 40
CUT_OFF = FRAME.to_bytes(8, "big") + (8192).to_bytes(4, "big") + b"\0\0\0\x20" + bytes(32)


@pytest.mark.parametrize(
    ("filters", "chunk", "mask"),
    [
        ({"compression": "gzip"}, zlib.compress(bytes(10**7)), 0),
        ({"compression": "gzip", "shuffle": True}, zlib.compress(bytes(10**7)), 1),
        ({"compression": "gzip", "fletcher32": True}, b"abc", 0),
        ({"compression": "gzip", "fletcher32": True}, zlib.compress(bytes(10**7)) + bytes(4), 0),
        ({"shuffle": True}, b"too short", 0),
        ({"compression": hdf5plugin.Bitshuffle(cname="zstd")}, LYING + bytes(40), 0),
        ({"compression": hdf5plugin.LZ4()}, LYING + bytes(40), 0),
        ({"compression": hdf5plugin.Zstd()}, b"\x28\xb5\x2f\xfd\xe0" + LYING[::-1] + bytes(40), 0),
        ({"compression": hdf5plugin.Blosc()}, b"\x02\x01\x21\x02\xff\xff\xff\xff" + bytes(40), 0),
        ({"compression": hdf5plugin.Blosc2()}, b"\x9e\xa8b2frame\0" + bytes(20) + LYING + bytes(40), 0),
        ({"compression": hdf5plugin.BZip2()}, bz2.compress(bytes(10**7)), 0),
        ({"compression": hdf5plugin.Bitshuffle(cname="zstd")}, (2**28).to_bytes(8, "big") + CUT_OFF[8:], 0),
        ({"compression": hdf5plugin.Bitshuffle(cname="zstd")}, CUT_OFF, 0),
        ({"compression": hdf5plugin.Bitshuffle(cname="zstd")}, CUT_OFF[:8] + bytes(4) + CUT_OFF[12:], 0),
        ({"compression": hdf5plugin.LZ4()}, CUT_OFF, 0),
        ({"compression": hdf5plugin.LZ4()}, CUT_OFF[:8] + bytes(40), 0),
        ({"compression": hdf5plugin.Blosc()}, CUT_OFF_BLOSC, 0),
    ],
    ids=["deflate", "no shuffle", "fletcher32", "in fletcher32", "shuffle", "bszstd", "lz4", "zstd", "blosc", "blosc2",
         "bzip2", "bszstd too large", "bszstd cut off", "bszstd of usual blocks", "lz4 cut off", "lz4 of no blocks",
         "blosc cut off"],
)  # fmt: skip
def test_chunks_that_lie_are_refused_before_the_library_undoes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], chunk: bytes, mask: int
) -> None:
    """It would crash on some, and make room for gigabytes for others."""
    path = write_nxmx(tmp_path / "a.nxs", 2)
    with h5py.File(path, "a") as file:
        data = file["entry/data"].create_dataset("data", (2, *SHAPE), "uint16", **CHUNKED, **filters)
        data[1] = 7
        data.id.write_direct_chunk((0, 0, 0), chunk, mask)
    assert (read(path, 1) == 7).all()
    monkeypatch.setattr(h5py.Dataset, "read_direct", lambda *_: pytest.fail("the library read it"))
    with pytest.raises(DataError, match=r"Frame 1 of .*a\.nxs"):
        read(path, 0)


def test_values_that_are_no_numbers_name_file_and_place(tmp_path: Path) -> None:
    for name, value in (("vector", "x"), ("vector", [0.0, 0, 0]), ("offset", [1.0, 2]), ("units", "parsec")):
        path = write_nxmx(tmp_path / "a.nxs", 2)
        store(path, frames(2))
        with h5py.File(path, "a") as file:
            file["entry/instrument/detector/z"].attrs[name] = value
        with pytest.raises(DataError, match=r"/entry/instrument/detector/z of .*a\.nxs has"):
            NXmx().open(path).models()


def test_a_file_too_damaged_to_tell_is_claimed_and_told(tmp_path: Path) -> None:
    """Else it would be one that no format knows."""
    path = write_nxmx(tmp_path / "a.nxs", 2)
    path.write_bytes(path.read_bytes()[:3000])
    assert NXmx().sniff(path.read_bytes()[:4096], path) == 5
    with pytest.raises(DataError, match=r"a\.nxs is no HDF5 file that can be read, or is truncated"):
        NXmx().open(path)


def test_damage_within_the_structure_names_the_file(tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 2)
    store(path, frames(2))
    whole = path.read_bytes()
    for word in (b"SNOD", b"TREE", b"HEAP"):
        places = [k for k in range(len(whole)) if whole.startswith(word, k)]
        for at in places:
            path.write_bytes(whole[:at] + b"XXXX" + whole[at + 4 :])
            try:
                read(path, 1)
            except DataError as error:
                assert "a.nxs" in str(error)


def bitshuffled(data: np.ndarray, block: int) -> bytes:
    """Slow twin: planes of bits, in blocks of LZ4 that hold literals only."""

    def literals(raw: bytes) -> bytes:
        more = len(raw) - 15
        lengths = bytes([15 << 4]) + b"\xff" * (more // 255) + bytes([more % 255])
        return (lengths if more >= 0 else bytes([len(raw) << 4])) + raw

    item, flat = data.dtype.itemsize, data.ravel()
    parts = [data.nbytes.to_bytes(8, "big"), (block * item).to_bytes(4, "big")]
    whole = flat.size - flat.size % 8
    for start in range(0, whole, block):
        numbers = flat[start : min(start + block, whole)]
        bits = np.unpackbits(numbers.view(np.uint8).reshape(-1, item), axis=1, bitorder="little")
        packed = literals(np.packbits(bits.T, axis=1, bitorder="little").tobytes())
        parts += [len(packed).to_bytes(4, "big"), packed]
    return b"".join([*parts, flat[whole:].tobytes()])


def unpack(chunk: Any, out: Any, *sizes: int) -> None:
    """Fill ``out`` from a chunk in pieces of the sizes given, and the rest at once."""
    unpacking = Unpacking(chunk, out.dtype, out.size)
    for part in np.split(out, np.cumsum(sizes)):
        unpacking.read(part)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32"])
@pytest.mark.parametrize(("n", "block"), [(4096, 4096), (4096 + 8 * 71 + 5, 4096), (2000, 1000), (3, 8), (40, 8)])
def test_unpacking_against_a_slow_twin(dtype: str, n: int, block: int) -> None:
    rng = np.random.default_rng(n)
    data = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, n, dtype, endpoint=True)
    chunk = np.frombuffer(bitshuffled(data, block), np.uint8)
    out = np.zeros_like(data)
    unpack(chunk, out)
    np.testing.assert_array_equal(out, data)
    narrow = (data % 120).astype(dtype)
    narrow[::7] -= np.array(121).astype(dtype)  # all ones and nearly so in unsigned types
    for _ in range(20):
        out[:] = 0
        pieces = rng.integers(0, rng.integers(1, n) + 1, 40)
        unpack(np.frombuffer(bitshuffled(narrow, block), np.uint8), out, *pieces[np.cumsum(pieces) <= n])
        np.testing.assert_array_equal(out, narrow)
    for short in (chunk[:-1], chunk[:11], chunk[:0]):
        with pytest.raises(ValueError, match="damaged"):
            unpack(short, out)


def test_what_a_chunk_says_of_its_blocks_and_size() -> None:
    data = np.random.default_rng(1).poisson(3.0, 3 * 4096 + 5).astype(np.uint16)
    whole, out = bitshuffled(data, usual_block(2)), np.zeros_like(data)
    unpack(np.frombuffer(whole[:8] + bytes(4) + whole[12:], np.uint8), out)  # blocks of the usual size
    np.testing.assert_array_equal(out, data)
    unpacking = Unpacking(np.frombuffer(whole, np.uint8), data.dtype, data.size)
    unpacking.read(out)
    with pytest.raises(ValueError, match="damaged"):
        unpacking.read(out[:1])  # there are no more
    for head in ((data.nbytes + 2).to_bytes(8, "big") + whole[8:12], whole[:8] + (24).to_bytes(4, "big")):
        with pytest.raises(ValueError, match="damaged"):
            unpack(np.frombuffer(head + whole[12:], np.uint8), out)


def test_damaged_chunks_end_in_data_or_an_error() -> None:
    rng = np.random.default_rng(0)
    whole = bitshuffled(rng.poisson(3, 5000).astype(np.uint16), 1024)
    out = np.zeros(5000, np.uint16)
    for _ in range(2000):
        chunk = np.frombuffer(whole, np.uint8).copy()
        chunk[rng.integers(0, chunk.size if rng.random() < 0.5 else 32, 3)] = rng.choice([0, 255, 7, 16], 3)
        try:
            unpack(chunk[: rng.integers(1, chunk.size)] if rng.random() < 0.2 else chunk, out)
        except ValueError as error:
            assert "damaged" in str(error)


def test_conformance(conformance, tmp_path: Path) -> None:
    path = write_nxmx(tmp_path / "a.nxs", 2)
    store(path, frames(2))
    conformance("format", "nxmx", sample=path)
    master = tmp_path / "old_master.h5"  # its frames are in files beside it
    write_dectris(master)
    conformance("format", "nxmx", sample=master)
