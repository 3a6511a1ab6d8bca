"""Masks: every form comes back as it was written, and nothing in a file is trusted."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.errors import DataError
from xtal.files.masks import read_mask, write_mask
from xtal.files.masks_pickle import _double, dump_masks, load_masks
from xtal.testing import load_module

_made = load_module(Path(__file__).with_name("mask_files.py"))
SHAPES, THEIRS = _made.SHAPES, _made.THEIRS


@pytest.fixture
def masks() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.random(shape) < 0.7 for shape in SHAPES]


def same(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(a.dtype == bool and np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["m.h5", "m.mask", "m.pickle"])
def test_what_is_written_is_read(tmp_path: Path, masks: list[np.ndarray], name: str) -> None:
    write_mask(tmp_path / name, masks)
    assert same(read_mask(tmp_path / name, SHAPES), masks)


def test_the_own_form_is_as_documented(tmp_path: Path, masks: list[np.ndarray]) -> None:
    write_mask(tmp_path / "m.h5", masks)
    with h5py.File(tmp_path / "m.h5") as file:
        assert dict(file.attrs) == {"format": "xtal mask", "version": 1, "meaning": "1 good, 0 masked"}
        assert list(file) == ["panel_000", "panel_001"]
        assert file["panel_001"].dtype == np.uint8
        assert np.array_equal(file["panel_001"][()], masks[1])


def test_numpy_files_are_read(tmp_path: Path, masks: list[np.ndarray]) -> None:
    np.save(tmp_path / "one.npy", np.asfortranarray(masks[0]))
    assert same(read_mask(tmp_path / "one.npy", SHAPES[:1]), masks[:1])
    np.savez(tmp_path / "two.npz", p9=masks[0], p10=masks[1])
    assert same(read_mask(tmp_path / "two.npz", SHAPES), masks)


@pytest.mark.parametrize("protocol", THEIRS)
def test_masks_of_dials_are_read(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "pixels.mask").write_bytes(THEIRS[protocol])
    first, second = read_mask(tmp_path / "pixels.mask", SHAPES)
    assert np.argwhere(~first).tolist() == [[0, 3]]
    assert np.argwhere(~second).tolist() == [[0, 3]]


class Trap:
    """What an unpickler would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run",)


@pytest.mark.parametrize("content", [Trap(), [1, 2], {"a": 1}, 7, (), "text"])
def test_other_pickles_are_refused_and_not_run(
    tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]
) -> None:
    for protocol in range(5):
        (tmp_path / "m.mask").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DataError, match=r"m\.mask"):
            read_mask(tmp_path / "m.mask", SHAPES)
    assert "run" not in capsys.readouterr().out


def test_masks_of_another_detector_are_refused(tmp_path: Path, masks: list[np.ndarray]) -> None:
    np.save(tmp_path / "m.npy", masks[0])
    np.save(tmp_path / "whole.npy", masks[0].astype(np.uint8))
    np.savez(tmp_path / "m.npz", *masks)
    write_mask(tmp_path / "m.h5", masks)
    write_mask(tmp_path / "m.mask", masks)
    for name in ("m.npy", "whole.npy", "m.npz", "m.h5", "m.mask"):
        for shapes in ([(4, 6)], [(4, 5), (7, 3)], [(4, 5)] * 3):
            with pytest.raises(DataError, match=name.replace(".", r"\.")):
                read_mask(tmp_path / name, shapes)
    with pytest.raises(DataError, match="ending"):
        write_mask(tmp_path / "m.tif", masks)


def test_sizes_in_headers_are_not_trusted(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|b1", "fortran_order": False, "shape": (10**6, 10**6)})
    (tmp_path / "m.npy").write_bytes(head.getvalue())
    with zipfile.ZipFile(tmp_path / "m.npz", "w") as archive:
        archive.writestr("a.npy", head.getvalue())
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        file.create_dataset("panel_000", (10**6, 10**6), np.uint8, chunks=(1000, 1000))
    (tmp_path / "m.mask").write_bytes(
        dump_masks([np.ones((40, 50), bool)]).replace(b"J\x32\0\0\0", b"J\xff\xff\xff\x7f")
    )
    for name in ("m.npy", "m.npz", "m.h5", "m.mask"):
        with pytest.raises(DataError):
            read_mask(tmp_path / name, [(40, 50)])


def test_headers_of_numpy_that_are_damaged_or_unpack_to_gigabytes_are_refused(tmp_path: Path) -> None:
    damaged = b"\x93NUMPY\x01\x00\x06\x00{'a':\n"
    (tmp_path / "m.npy").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "m.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(10**7))
    for name, says in (("m.npy", r"m\.npy cannot be read"), ("m.npz", "longer than that of any array")):
        with pytest.raises(DataError, match=says):
            read_mask(tmp_path / name, [(40, 50)])


def test_an_empty_panel_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        file["panel_000"] = h5py.Empty("u1")
    with pytest.raises(DataError, match="the detector has 40 x 50"):
        read_mask(tmp_path / "m.h5", [(40, 50)])


def test_links_in_hdf5_are_not_followed(tmp_path: Path, masks: list[np.ndarray]) -> None:
    write_mask(tmp_path / "other.h5", masks)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        file["panel_000"] = h5py.ExternalLink("other.h5", "/panel_000")
        file["panel_001"] = h5py.ExternalLink("other.h5", "/panel_001")
    with pytest.raises(DataError, match="links"):
        read_mask(tmp_path / "m.h5", SHAPES)


@pytest.mark.parametrize(
    "chunk", [zlib.compress(bytes(10**7)), zlib.compress(bytes(1999)), zlib.compress(bytes(2000))[:-4]]
)
def test_chunks_that_are_cut_off_or_unpack_to_another_size_are_refused(tmp_path: Path, chunk: bytes) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        panel = file.create_dataset("panel_000", (40, 50), np.uint8, chunks=(40, 50), compression="gzip")
        panel.id.write_direct_chunk((0, 0), chunk)
    with pytest.raises(DataError, match=r"another size|damaged"):
        read_mask(tmp_path / "m.h5", [(40, 50)])


def test_any_chunks_are_read(tmp_path: Path) -> None:
    mask = np.random.default_rng(2).random((40, 50)) < 0.5
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs.update({"format": "xtal mask", "version": 1})
        file.create_dataset("panel_000", data=mask.astype(np.uint8), chunks=(17, 13), compression="gzip")
    assert same(read_mask(tmp_path / "m.h5", [(40, 50)]), [mask])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(THEIRS)), st.data())
def test_damaged_pickles_end_in_a_mask_or_one_kind_of_error(protocol: int, data: st.DataObject) -> None:
    content = bytearray(THEIRS[protocol])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["change", "cut", "double"]))
        if how == "change":
            content[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del content[at : at + data.draw(st.integers(1, 9))]
        else:
            content[at:at] = content[at : at + 20]
        if not content:
            return
    try:
        masks = load_masks(io.BytesIO(bytes(content)), SHAPES)
    except ValueError:
        return
    assert [m.shape for m in masks] == SHAPES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, b"\x02\x80\x02\x01"),
        (0.75, b"\x02\xc0\x00"),
        (0.29, b"\x08\x94z\xe1G\xae\x14x\x82\x01"),
        (300.5, b"\x03\x96@\x02\t"),
        (1e-9, b"\x08\x89p_A6\xb4\xa8\x82\x1d"),
    ],
)
def test_doubles_are_written_as_flex_of_dials_writes_them(value: float, expected: bytes) -> None:
    assert _double(value) == expected
