"""Files on which the HDF5 library hangs or crashes end in an error."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import h5py
import pytest

from xtal.errors import DataError
from xtal.files import hdf5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = [1, 2, 3]
    return tmp_path / "a.h5"


def hang(_name: str, _item: Any) -> None:
    while True:
        pass


def crash(_name: str, _item: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(("touch", "says"), [(hang, "circles"), (crash, "crashes")])
def test_a_child_takes_the_harm(path: Path, monkeypatch: pytest.MonkeyPatch, touch: Any, says: str) -> None:
    monkeypatch.setattr(hdf5, "_touch", touch)
    monkeypatch.setattr(hdf5, "SECONDS", 2)  # the system may stop it some hundredths before
    with pytest.raises(DataError, match=rf"a\.h5 is damaged: the HDF5 library .*{says}"):
        hdf5.look_over(str(path))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded by Linux's means")
def test_a_length_that_claims_more_than_the_file_holds_is_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_attributes", lambda _item: bytearray(4 * hdf5.MEMORY))
    with pytest.raises(DataError, match=r"a\.h5 is damaged: a length in it claims more"):
        hdf5.look_over(str(path))


def test_a_slow_disk_is_no_damage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_touch", lambda _name, _item: time.sleep(60))
    monkeypatch.setattr(hdf5, "PATIENCE", 1)
    hdf5.look_over(str(path))


def test_a_busy_machine_is_no_excuse(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_touch", hang)
    monkeypatch.setattr(hdf5, "PATIENCE", 1)
    monkeypatch.setattr(hdf5, "BUSY", 0.0)
    with pytest.raises(DataError, match="circles"):
        hdf5.look_over(str(path))


def test_a_verdict_is_remembered(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_touch", crash)
    for _ in range(2):
        with pytest.raises(DataError, match="crashes"):
            hdf5.look_over(str(path))
        monkeypatch.setattr(os, "fork", lambda: pytest.fail("it is looked at again"))


def test_a_file_is_looked_at_once_until_it_changes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    fork = os.fork
    monkeypatch.setattr(os, "fork", lambda: children.append(1) or fork())
    for _ in range(3):
        hdf5.look_over(str(path))
    assert len(children) == 1
    with h5py.File(path, "a") as file:
        file["entry/more"] = 1
    hdf5.look_over(str(path))
    assert len(children) == 2


def test_damage_that_python_sees_is_left_to_who_reads(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])
    hdf5.look_over(str(path))
    hdf5.look_over(str(path.with_name("none.h5")))
