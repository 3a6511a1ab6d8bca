"""Runs that are killed: only whole files are left, and the next run goes on from them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import gemmi
import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections
from xtal_steps_simulate.model import preset
from xtal_steps_simulate.simulate import simulate

XTAL = str(Path(sys.executable).parent / "xtal")
MOMENTS = ("imported.expt", "strong.refl", "indexed.refl", "refined.refl", "integrated.refl", "scaled.refl")
"""Files whose appearance starts the clock: a run is killed a random while later."""


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    simulate(preset("small", n_images=60), folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(images), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


def command(images: Path) -> list[str]:
    return [XTAL, "process", str(images / "small_#####.cbf"), "nproc=2"]


def interrupt(images: Path, folder: Path, moment: str, delay: float, kind: signal.Signals) -> int:
    """Start the chain and send a signal a while after a file appeared; its exit code."""
    # a shell that runs the tests in the background has SIGINT ignored, and children inherit that
    process = subprocess.Popen(
        command(images),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 120
    while process.poll() is None and not (folder / moment).exists() and time.monotonic() < limit:
        time.sleep(0.005)
    time.sleep(delay)
    if process.poll() is None:
        process.send_signal(kind)
    process.communicate(timeout=60)
    return process.returncode


def check_whole(folder: Path) -> None:
    """Every file under its final name can be read to its end."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.suffix == ".expt":
            assert len(read_experiments(path)) == 1
        elif path.suffix == ".refl":
            table = read_reflections(path)
            assert all(len(table[name]) == len(table) for name in table if name != "shoebox")
        elif path.suffix == ".mtz":
            assert gemmi.read_mtz_file(str(path)).nreflections > 0


def check_same(folder: Path, reference: Path) -> None:
    """The merged file is that of the run that nobody disturbed."""
    ours, theirs = (gemmi.read_mtz_file(str(f / "merged.mtz")) for f in (folder, reference))
    assert ours.column_labels() == theirs.column_labels()
    assert np.array_equal(ours.make_miller_array(), theirs.make_miller_array())
    assert np.allclose(ours.array, theirs.array, rtol=1e-6, atol=1e-6, equal_nan=True)


def go_on(images: Path, folder: Path) -> str:
    done = subprocess.run(command(images), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_runs_go_on(images, undisturbed, tmp_path, seed):
    draw = random.Random(seed)
    for _ in range(2):
        interrupt(images, tmp_path, draw.choice(MOMENTS), draw.uniform(0, 0.5), signal.SIGKILL)
        check_whole(tmp_path)
    text = go_on(images, tmp_path)
    assert "import: is done already" in text
    check_whole(tmp_path)
    check_same(tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 30))
def test_killed_at_many_moments(images, undisturbed, tmp_path, seed):
    draw = random.Random(seed)
    for _ in range(4):
        interrupt(images, tmp_path, draw.choice(MOMENTS), draw.uniform(0, 1.0), signal.SIGKILL)
        check_whole(tmp_path)
    go_on(images, tmp_path)
    check_same(tmp_path, undisturbed)


@pytest.mark.parametrize(
    ("moment", "delay", "done"),
    [("imported.expt", 0.2, "import"), ("indexed.refl", 0.05, "index"), ("refined.refl", 0.3, "refine")],
    ids=["spots", "refinement", "integration"],
)
def test_ctrl_c_leaves_whole_files_and_nothing_else(images, undisturbed, tmp_path, moment, delay, done):
    code = interrupt(images, tmp_path, moment, delay, signal.SIGINT)
    assert code == 130
    assert not [p.name for p in tmp_path.iterdir() if ".part" in p.name]
    check_whole(tmp_path)
    assert f"{done}: is done already" in go_on(images, tmp_path)
    check_same(tmp_path, undisturbed)


def test_a_spoilt_file_is_made_anew(images, undisturbed, tmp_path):
    """A disk that loses the end of a file: the step that wrote it and those after it run again."""
    go_on(images, tmp_path)
    path = tmp_path / "indexed.refl"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    text = go_on(images, tmp_path)
    assert "find_spots: is done already" in text
    assert "index: is done already" not in text
    check_whole(tmp_path)
    check_same(tmp_path, undisturbed)


def test_the_same_with_one_thread_and_the_serial_executor(images, undisturbed, tmp_path):
    done = subprocess.run([*command(images)[:-1], "executor=serial"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    check_same(tmp_path, undisturbed)
    check_same_tables_and_models(tmp_path, undisturbed)


def check_same_tables_and_models(folder: Path, reference: Path) -> None:
    """Every table and every model of every step: integers bit for bit, floats to 1e-6."""
    tables = sorted(path.name for path in reference.glob("*.refl"))
    assert len(tables) == 6, tables
    for name in tables:
        ours, theirs = read_reflections(folder / name), read_reflections(reference / name)
        assert ours.columns() == theirs.columns()
        for column in theirs:
            pair = (ours[column], theirs[column])
            arrays = [(p.data, p.mask, p.bbox) for p in pair] if column == "shoebox" else [(p,) for p in pair]
            for a, b in zip(*arrays, strict=True):
                if a.dtype.kind == "f":
                    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=f"{name} {column}")
                else:
                    np.testing.assert_array_equal(a, b, err_msg=f"{name} {column}")
    for path in sorted(reference.glob("*.expt")):
        close(json.loads((folder / path.name).read_text()), json.loads(path.read_text()), path.name)


def close(a: object, b: object, where: str) -> None:
    """Two JSON values are equal but for rounding; how they were made is left out."""
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"xtal"}:
            close(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for k, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{where}[{k}]")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-6), where
    else:
        assert a == b, where


def test_killed_simulation_has_no_truth_and_is_made_again(tmp_path):
    arguments = [XTAL, "run", "simulate", "preset=small", f"output.directory={tmp_path}"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not list(tmp_path.glob("small_0*.cbf")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    process.kill()
    process.wait()
    for path in tmp_path.glob("small_*.cbf"):
        assert path.read_bytes().rstrip().endswith(b"--CIF-BINARY-FORMAT-SECTION----\r\n;")
    if not (tmp_path / "truth.json").exists():
        assert len(list(tmp_path.glob("small_*.cbf"))) <= 90
    assert subprocess.run(arguments, capture_output=True).returncode == 0
    assert (tmp_path / "truth.json").exists()
    assert len(list(tmp_path.glob("small_*.cbf"))) == 90
