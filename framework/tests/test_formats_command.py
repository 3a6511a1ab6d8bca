"""xtal formats: the list, and why a file is read as it is; bounds of compressed files."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.cli.formats import main
from xtal.errors import DataError, UsageError
from xtal.files import notes, raw


def smv(path: Path, **keys: object) -> Path:
    values = {
        "HEADER_BYTES": "  512", "SIZE1": 4, "SIZE2": 3, "PIXEL_SIZE": 0.1, "DISTANCE": 100, "WAVELENGTH": 1.25,
        "OSC_START": 5, "OSC_RANGE": 0.5, "BEAM_CENTER_X": 0.2, "BEAM_CENTER_Y": 0.1, **keys,
    }  # fmt: skip
    text = "{\n" + "".join(f"{k}={v};\n" for k, v in values.items() if v is not None) + "}\n"
    path.write_bytes(text.encode().ljust(512) + bytes(24))
    return path


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert "smv " in listed
    assert main(["list"]) == 0
    assert capsys.readouterr().out == listed


def test_explain_says_who_was_asked_what_was_read_and_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(smv(tmp_path / "a_1.img", DISTANCE=None))]) == 0
    out = capsys.readouterr().out
    assert "Read by smv" in out
    assert "cbf_mini 0" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "WAVELENGTH 1.25" in lines
    assert "rotation axis 1, 0, 0 the header names none" in lines
    assert "distance geometry.detector.distance=" in lines
    assert "nan" not in out


def test_explain_a_file_that_nobody_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "letter.img"
    path.write_text("Dear colleague")
    assert main(["explain", str(path)]) == 1
    assert "letter.img is no image" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "by"),
    [
        ("a.nxs.gz", gzip.compress(b"\x89HDF\r\n\x1a\n" + bytes(100)), "gz"),
        ("a.h5.bz2", bz2.compress(b"\x89HDF\r\n\x1a\n" + bytes(100)), "bz2"),
        ("a.cbf.xz", lzma.compress(b"###CBF"), "xz"),
        ("a.zip", b"PK\x03\x04" + bytes(100), "zip"),
    ],
)
def test_what_must_be_unpacked_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes, by: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["explain", str(tmp_path / name)]) == 1
    assert f"{name} is packed by {by}, which is not undone here. Unpack it." in capsys.readouterr().out


def test_wrong_usage() -> None:
    with pytest.raises(UsageError, match="explain"):
        main(["explain"])
    with pytest.raises(UsageError, match="lits"):
        main(["lits"])


def test_notes_are_heard_once_and_only_by_who_listens() -> None:
    notes.read("a", 1.0, "A")
    with notes.listening() as heard:
        notes.read("a", 0.1 + 0.2, "A")
        notes.read("a", 0.3, "A")
        notes.assumed("b", (1, 2), "so it is")
    assert [(n.kind, n.value) for n in heard] == [("read", "0.3"), ("assumed", "1, 2")]


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_the_head_of_a_file_is_that_of_its_content(tmp_path: Path, compress) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(compress(bytes(range(200))))
    assert raw.read_head(path, 50) == bytes(range(50))
    assert raw.read_head(path) == bytes(range(200))


@pytest.mark.parametrize(
    ("slow", "fast", "n_bytes", "fits"),
    [
        (2**13, 2**14, 4, True),
        (2**13, 2**14, 2, True),
        (2**13 + 1, 2**14, 2, False),  # widened to four bytes
        (2**13, 2**14, 8, False),
        (0, 9, 4, False),
        (-3, -3, 4, False),
    ],
)
def test_images_larger_than_any_are_refused(slow: int, fast: int, n_bytes: int, fits: bool) -> None:
    if fits:
        raw.check_claim(Path("a.img"), slow, fast, n_bytes)
        return
    with pytest.raises(DataError, match=f"claims {fast} x {slow} pixels"):
        raw.check_claim(Path("a.img"), slow, fast, n_bytes)


def test_pixels_become_those_of_the_first_file_of_the_scan() -> None:
    path, out = Path("a.img"), np.empty((2, 2), np.uint16)
    raw.fill(out, np.array([[-5, 0], [65535, 70000]], np.int64), path)
    assert out.tolist() == [[0, 0], [65535, 65535]]
    real = np.empty((2, 2), np.float32)
    raw.fill(real, np.array([[0.5, 1], [2, 3]]), path)
    assert real.tolist() == [[0.5, 1], [2, 3]]
    with pytest.raises(DataError, match="pixels of type float32"):
        raw.fill(out, real, path)
    with pytest.raises(DataError, match=r"a\.img has 4 x 1 pixels"):
        raw.fill(out, out.reshape(1, 4), path)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
def test_compressed_files_unpack_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress) -> None:
    path = tmp_path / "a.img.packed"
    path.write_bytes(compress(b"one ") + compress(b"two"))
    assert bytes(raw.read_whole(path)) == b"one two"
    path.write_bytes(compress(b"one") + bytes(16))
    assert bytes(raw.read_whole(path)) == b"one"
    path.write_bytes(compress(b"one")[:-3])
    with pytest.raises(DataError, match="truncated"):
        raw.read_whole(path)
    monkeypatch.setattr(raw, "PIECE", 7)
    path.write_bytes(compress(bytes(range(50))) + compress(b"two"))
    assert bytes(raw.read_whole(path)) == bytes(range(50)) + b"two"
    monkeypatch.setattr(raw, "LARGEST", 1000)
    path.write_bytes(compress(bytes(1000)))
    assert len(raw.read_whole(path)) == 1000
    path.write_bytes(compress(bytes(1001)))
    with pytest.raises(DataError, match="unpacks to more"):
        raw.read_whole(path)


@pytest.mark.parametrize(("library", "compress"), [("inflater", gzip.compress), ("bz2.BZ2Decompressor", bz2.compress)])
def test_what_follows_each_of_many_streams_is_not_copied_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, compress: Callable[[bytes], bytes]
) -> None:
    path, content = tmp_path / "a.img.packed", np.random.default_rng(1).bytes(6_000_000)
    path.write_bytes(b"".join(compress(content[i : i + 60_000]) for i in range(0, len(content), 60_000)))
    streams: list[Any] = []
    make = raw.inflater if library == "inflater" else bz2.BZ2Decompressor

    def kept(*arguments: int) -> Any:
        streams.append(make(*arguments))
        return streams[-1]

    monkeypatch.setattr(f"xtal.files.raw.{library}", kept)
    assert bytes(raw.read_whole(path)) == content
    assert len(streams) == 100
    assert sum(len(s.unused_data) for s in streams) < 5 * len(content)
