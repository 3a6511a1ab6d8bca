"""find_spots as a command over real files: frames that are damaged on disk, runs that are killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from xtal.files import read_reflections
from xtal_steps_simulate.cbf import write_cbf
from xtal_steps_simulate.model import preset
from xtal_steps_simulate.simulate import simulate

XTAL = str(Path(sys.executable).parent / "xtal")
MODEL = preset("small", n_images=15)
FRAME = 6
"""The frame that is damaged, from 0."""


def find_spots(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [XTAL, "run", "find_spots", "imported.expt", *words], cwd=folder, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of a scan, each with its imported.expt and the strong.refl of the undamaged images."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("cbf", "nxmx")}
    for kind, folder in folders.items():
        simulate(MODEL, folder, kind)
        images = sorted(folder.glob("*.cbf")) or [folder / f"{MODEL.name}_master.h5"]
        subprocess.run([XTAL, "run", "import", *images], cwd=folder, check=True, capture_output=True)
        assert find_spots(folder).returncode == 0
    return folders


def copy_of(scan: Path, folder: Path) -> Path:
    """A copy of a scan whose images may be spoilt, with the strong.refl of an earlier run."""
    shutil.copytree(scan, folder)
    expt = folder / "imported.expt"
    expt.write_text(expt.read_text().replace(str(scan), str(folder)))
    return folder


def cbf(folder: Path) -> Path:
    return folder / f"{MODEL.name}_{FRAME + 1:05d}.cbf"


def data_file(folder: Path) -> Path:
    return folder / f"{MODEL.name}_data_000001.h5"


def truncated_cbf(folder: Path) -> None:
    whole = cbf(folder).read_bytes()
    cbf(folder).write_bytes(whole[: len(whole) // 2])


def missing_cbf(folder: Path) -> None:
    cbf(folder).unlink()


def masked_cbf(folder: Path) -> None:
    nx, ny = MODEL.image_size
    write_cbf(MODEL, FRAME, np.full((ny, nx), -1, np.int32), folder)


def truncated_chunk(folder: Path) -> None:
    with h5py.File(data_file(folder), "r+") as file:
        data, at = file["entry/data/data"], (FRAME, 0, 0)
        _, packed = data.id.read_direct_chunk(at)
        data.id.write_direct_chunk(at, packed[: len(packed) // 2])


def missing_chunk(folder: Path) -> None:
    with h5py.File(data_file(folder), "r+") as file:
        frames, name = file["entry/data/data"][:], "entry/data/data"
        del file[name]
        more = hdf5plugin.Bitshuffle(cname="lz4")
        new = file.create_dataset(name, frames.shape, frames.dtype, chunks=(1, *frames.shape[1:]), **more)
        for k, frame in enumerate(frames):
            if k != FRAME:
                new[k] = frame


def masked_frame(folder: Path) -> None:
    with h5py.File(data_file(folder), "r+") as file:
        file["entry/data/data"][FRAME] = 65535


DAMAGES = [
    pytest.param(kind, damage, marks=() if soon else pytest.mark.slow, id=damage.__name__)
    for kind, damage, soon in (
        ("cbf", truncated_cbf, True),
        ("cbf", missing_cbf, False),
        ("cbf", masked_cbf, False),
        ("nxmx", truncated_chunk, False),
        ("nxmx", missing_chunk, True),
        ("nxmx", masked_frame, True),
    )
]
"""One of each kind of damage is soon enough for every run; the others are for the slow one."""


def remains(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if ".part" in p.name]


@pytest.mark.parametrize(("kind", "damage"), DAMAGES)
def test_a_bad_frame_is_named_and_passed_over_on_request_only(
    scans: dict[str, Path], kind: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = copy_of(scans[kind], tmp_path / "scan")
    damage(folder)
    earlier = (folder / "strong.refl").read_bytes()
    stopped = find_spots(folder)
    assert stopped.returncode == 1
    assert "Traceback" not in stopped.stdout + stopped.stderr
    names = (f"Image {FRAME + 1} ", f"Frame {FRAME + 1} ", cbf(folder).name)
    assert any(name in stopped.stderr for name in names), stopped.stderr
    assert "skip_bad_images=True" in stopped.stderr
    assert (folder / "strong.refl").read_bytes() == earlier
    assert not remains(folder)

    done = find_spots(folder, "skip_bad_images=True")
    assert done.returncode == 0, done.stderr
    assert f"1 image passed over: image {FRAME + 1}: " in done.stdout + done.stderr
    ours, clean = (read_reflections(f / "strong.refl") for f in (folder, scans[kind]))
    first, last = ours["bbox"][:, 4], ours["bbox"][:, 5]
    assert not ((first <= FRAME) & (last > FRAME)).any()
    far = clean.select((clean["bbox"][:, 4] > FRAME + 1) | (clean["bbox"][:, 5] < FRAME))
    rows, expected = ({tuple(r) for r in np.c_[t["bbox"], t["n_signal"], t["xyzobs.px.value"]]} for t in (ours, far))
    assert len(expected) > 500
    assert expected <= rows


def killed(folder: Path, delay: float | None) -> bool:
    """Start the step and kill it after ``delay`` seconds, or (None) while it writes; whether that came in time."""
    command = [XTAL, "run", "find_spots", "imported.expt", "d_min=2.5"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + (60 if delay is None else delay)
    while process.poll() is None and time.monotonic() < end and (delay is not None or not remains(folder)):
        time.sleep(0.0005)
    process.send_signal(signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["cbf", pytest.param("nxmx", marks=pytest.mark.slow)])
def test_a_killed_run_loses_nothing(scans: dict[str, Path], kind: str, tmp_path: Path) -> None:
    folder = copy_of(scans[kind], tmp_path / "scan")
    old = {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".log"}
    begin = time.monotonic()
    assert find_spots(folder, "d_min=2.5", "output.reflections=other.refl").returncode == 0
    took = time.monotonic() - begin
    whole = (folder / "other.refl").read_bytes()
    assert whole != old["strong.refl"]
    in_time = 0
    for delay in (0.3 * took, 0.6 * took, 0.9 * took, None):
        for name in ("strong.refl", "strong.refl.made.json"):
            (folder / name).write_bytes(old[name])
        in_time += killed(folder, delay)
        assert (folder / "strong.refl").read_bytes() in (old["strong.refl"], whole)
        assert all((folder / n).read_bytes() == old[n] for n in old if not n.startswith("strong.refl"))
    assert in_time >= 2
    assert find_spots(folder, "d_min=2.5").returncode == 0
    assert (folder / "strong.refl").read_bytes() == whole
    assert not remains(folder)
