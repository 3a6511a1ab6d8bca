"""Interchange files: round trips, damage, sharing, and what the peer makes of ours."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtal.errors import DataError, ImageWarning
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections, writing
from xtal.files.digest import digest
from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Group, Images, Panel, Scan
from xtal.table import Flag, ReflectionTable, Shoeboxes


def table(n: int = 5, seed: int = 0) -> ReflectionTable:
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 50, (n, 3))
    size = rng.integers(1, 4, (n, 3))
    bbox = np.stack([low, low + size], axis=2).reshape(n, 6).astype(np.int32)
    boxes = Shoeboxes.allocate(np.zeros(n, np.uint32), bbox)
    boxes.data[:] = rng.poisson(10, len(boxes.data))
    boxes.mask[:] = 5
    return ReflectionTable(
        {
            "miller_index": rng.integers(-9, 9, (n, 3)).astype(np.int32),
            "id": np.zeros(n, np.int32),
            "flags": np.full(n, int(Flag.STRONG), np.uint64),
            "panel": np.zeros(n, np.uint64),
            "bbox": bbox,
            "entering": rng.random(n) < 0.5,
            "d": rng.random(n),
            "xyzobs.px.value": rng.random((n, 3)),
            "ub_matrix": rng.random((n, 9)),
            "shoebox": boxes,
        },
        {0: "abc"},
    )


def experiments() -> ExperimentList:
    """Two panels in a tilted group, two scans that share the beam and the detector."""
    panel = {"image_size": (100, 120), "pixel_size": (0.1, 0.1)}
    tilt = np.array([[0.8, 0.0, 0.6], [0.0, 1.0, 0.0], [-0.6, 0.0, 0.8]])
    panels = [Panel(tilt[:, 0], -tilt[:, 1], [-5 + 11 * k, 6, -100], **panel, parallax=True, mu=3.9, thickness=0.32)
              for k in range(2)]  # fmt: skip
    detector = Detector(panels, Group(children=[Group(tilt[:, 0], -tilt[:, 1], [1, 2, -100], children=[0, 1])]))
    beam, crystal = Beam(0.9795, probe="electron"), Crystal(np.diag([0.1, 0.05, 0.02]), " P 2 2ab")
    scans = [Scan((1, 3), (10.0 * k, 0.25)) for k in range(2)]
    return ExperimentList(
        [
            Experiment(
                beam, detector, Goniometer((1, 0, 0)), scan, crystal, Images("/data/a_####.cbf"), identifier=f"e{k}"
            )
            for k, scan in enumerate(scans)
        ]
    )


def test_table_survives_a_round_trip(tmp_path):
    ours = table()
    assert write_reflections(ours, tmp_path / "a.refl") == digest(tmp_path / "a.refl")
    read = read_reflections(tmp_path / "a.refl")
    assert read.columns() == ours.columns()
    assert read.identifiers == {0: "abc"}
    for name in ours:
        if name == "shoebox":
            for field in ("panel", "bbox", "offsets", "data", "mask", "background"):
                np.testing.assert_array_equal(getattr(read[name], field), getattr(ours[name], field))
        else:
            np.testing.assert_array_equal(read[name], ours[name])
            assert read[name].dtype == ours[name].dtype
    write_reflections(read, tmp_path / "b.refl")
    assert (tmp_path / "a.refl").read_bytes() == (tmp_path / "b.refl").read_bytes()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_tables_are_refused_in_one_sentence(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage")
    path = folder / "a.refl"
    write_reflections(table(), path)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, 400))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        read = read_reflections(path)
        for name in read:
            read[name]
    except DataError as error:
        assert str(path) in str(error)


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "old.pickle").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(DataError, match="pickle"):
        read_reflections(tmp_path / "old.pickle")


def test_models_survive_a_round_trip_and_stay_shared(tmp_path):
    ours = experiments()
    write_experiments(ours, tmp_path / "a.expt")
    read = read_experiments(tmp_path / "a.expt")
    assert read[0].beam is read[1].beam
    assert read[0].detector is read[1].detector
    assert read[0].scan is not read[1].scan
    for a, b in zip(ours[0].detector, read[0].detector, strict=True):
        np.testing.assert_allclose(a.d_matrix, b.d_matrix, atol=1e-12)
        assert a.trusted_range == b.trusted_range
    np.testing.assert_allclose(ours[0].crystal.A, read[0].crystal.A, atol=1e-15)
    assert read[1].scan.oscillation_deg == (10.0, 0.25)
    assert read[0].beam.is_electron


def test_unknown_keys_survive(tmp_path):
    write_experiments(experiments(), tmp_path / "a.expt")
    content = json.loads((tmp_path / "a.expt").read_text())
    content["something"] = {"new": 1}
    content["beam"][0]["colour"] = "blue"
    content["scan"][0]["properties"]["dose"] = [1.0, 2.0, 3.0]
    (tmp_path / "b.expt").write_text(json.dumps(content))
    write_experiments(read_experiments(tmp_path / "b.expt"), tmp_path / "c.expt")
    again = json.loads((tmp_path / "c.expt").read_text())
    assert again["something"] == {"new": 1}
    assert again["beam"][0]["colour"] == "blue"
    assert again["scan"][0]["properties"]["dose"] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"__id__": "ExperimentList"}', '{"__id__": "ExperimentList", "experiment": [{"beam": 3}]}'],
)
def test_broken_experiment_lists_name_the_file(tmp_path, content):
    path = tmp_path / "broken.expt"
    path.write_text(content)
    with pytest.raises(DataError, match=r"broken\.expt"):
        read_experiments(path)


@pytest.mark.parametrize("wavelength", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_wavelength_that_is_none_is_told(tmp_path: Path, wavelength: float) -> None:
    detector = Detector([Panel([1, 0, 0], [0, -1, 0], [0, 0, -100], (9, 9), (0.1, 0.1), (0, 1e6))])
    write_experiments(ExperimentList([Experiment(Beam(wavelength), detector)]), tmp_path / "a.expt")
    with pytest.raises(DataError, match=r"a\.expt is no complete experiment list: a beam's wavelength is"):
        read_experiments(tmp_path / "a.expt")


def test_models_in_other_files_are_told_before_they_are_opened(tmp_path):
    """A list may name a file for each model; it may come from anybody."""
    (tmp_path / "list").mkdir()
    path = tmp_path / "list" / "a.expt"
    write_experiments(experiments(), path)
    content = json.loads(path.read_text())
    beam = tmp_path / "beam.json"
    for name in ("beam.json", "../beam.json"):
        content["experiment"][0]["beam"] = name
        path.write_text(json.dumps(content))
        (path.parent / name).write_text(json.dumps(content["beam"][0]))
        if name.startswith(".."):
            os.chmod(beam, 0)
            with warnings.catch_warnings():
                warnings.simplefilter("error", ImageWarning)
                with pytest.raises(ImageWarning, match=r"a\.expt takes its data from outside its folder"):
                    read_experiments(path)
        else:
            assert read_experiments(path)[0].beam.wavelength == 0.9795
    os.mkfifo(path.parent / "pipe")
    for name, says in (("pipe", "is no file"), ("none.json", "does not exist"), ("a\0b", "does not exist")):
        content["experiment"][0]["beam"] = name
        path.write_text(json.dumps(content))
        with pytest.raises(DataError, match=says):
            read_experiments(path)


def test_of_a_long_message_the_middle_is_left_out():
    error = DataError("The file a.expt says " + "x" * 10_000 + ", which is wrong.", advice="Copy it again.")
    assert str(error).startswith("The file a.expt says xxx")
    assert str(error).endswith("which is wrong. Copy it again.")
    assert len(str(error)) < 1600


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(DataError, match="disk is full"), writing(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_read_only_file_system_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)  # as there, also of a file that is not
    with pytest.raises(DataError, match=r"a\.txt cannot be written: Read-only"), writing(tmp_path / "a.txt"):
        refuse()


@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="living processes are told by /proc, which is not here")
def test_what_a_killed_run_left_is_removed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    for pid in (dead.pid, os.getpid(), 1):
        (tmp_path / f".a.{pid}.part.txt").write_text("half")
    with writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert sorted(os.listdir(tmp_path)) == [".a.1.part.txt", "a.txt"]


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS is not installed")
def test_dials_shows_our_files(tmp_path):
    write_experiments(experiments(), tmp_path / "a.expt")
    write_reflections(table(), tmp_path / "a.refl")
    shown = subprocess.run(["dials.show", "a.expt", "a.refl"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "P 2 2 21" in shown.stdout or "Space group: P" in shown.stdout
    assert "xyzobs.px.value" in shown.stdout
