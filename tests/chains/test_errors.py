"""What a user meets when something is wrong: one sentence that names the culprit, what to do, exit code 1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.cli.process import CHAIN, distribute
from xtal.errors import OptionError
from xtal.options import split_tokens
from xtal.plugins import default_plugins
from xtal.testing import shared_dir

XTAL = str(Path(sys.executable).parent / "xtal")


def xtal(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([XTAL, *map(str, words)], cwd=folder, capture_output=True, text=True)


def refused(*words: object, folder: Path, names: str, code: int = 1) -> str:
    """Run, expect this exit code, no traceback, and a message that names the culprit; returns the message."""
    done = xtal(*words, folder=folder)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    message = done.stderr.strip()
    assert names in message, message
    first = message.splitlines()[0]
    assert first.startswith("Error: ")
    assert len(first) < 400
    assert len(message.splitlines()) >= 2, f"it says not what to do: {message}"
    return message


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """Folder with 12 images and what import and find_spots make of them."""
    folder = tmp_path_factory.mktemp("scan")
    done = xtal("run", "simulate", "preset=small", "n_images=12", "seed=3", "output.directory=images", folder=folder)
    assert done.returncode == 0, done.stderr
    assert xtal("run", "import", *images(folder), folder=folder).returncode == 0
    assert xtal("run", "find_spots", "imported.expt", folder=folder).returncode == 0
    return folder


def images(folder: Path) -> list[Path]:
    return sorted((folder / "images").glob("*.cbf"))


def test_a_file_that_is_no_image(tmp_path):
    (tmp_path / "notes.txt").write_text("these are my notes")
    refused("run", "import", "notes.txt", folder=tmp_path, names="notes.txt")
    refused("process", "notes.txt", folder=tmp_path, names="notes.txt")


def test_a_file_that_is_not_there(tmp_path):
    refused("run", "import", "nowhere_0001.cbf", folder=tmp_path, names="nowhere_0001.cbf")


def test_a_missing_data_file_behind_a_master(tmp_path):
    done = xtal(
        "run", "simulate", "preset=small", "n_images=3", "format=nxmx", "output.directory=images", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (master,) = (tmp_path / "images").glob("*master.h5")
    others = [p for p in (tmp_path / "images").glob("*.h5") if p != master]
    assert others, "the simulated master holds its own data: nothing is tested"
    for path in others:
        path.unlink()
    refused("process", master, folder=tmp_path, names=others[0].name)


def test_the_exit_code_is_that_of_the_error_with_a_real_master_too(tmp_path):
    """A master that stays open in the traceback of an error must not crash the interpreter when it leaves."""
    master = shared_dir() / "data" / "images" / "Therm_6_2.nxs"
    refused("process", master, folder=tmp_path, names="Therm_6_2_000001.h5")


def test_a_truncated_data_file_behind_a_master(tmp_path):
    words = ("preset=small", "n_images=3", "format=nxmx", "output.directory=images")
    assert xtal("run", "simulate", *words, folder=tmp_path).returncode == 0
    (data,) = (tmp_path / "images").glob("*_data_*.h5")
    os.truncate(data, data.stat().st_size // 2)
    for command in (("process",), ("run", "import")):
        refused(*command, tmp_path / "images" / "small_master.h5", folder=tmp_path, names=data.name)


def test_a_truncated_frame(scan, tmp_path):
    shutil.copytree(scan / "images", tmp_path / "images")
    victim = images(tmp_path)[5]
    assert xtal("run", "import", *images(tmp_path), folder=tmp_path).returncode == 0
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    refused("run", "find_spots", "imported.expt", folder=tmp_path, names=victim.name)
    assert not (tmp_path / "strong.refl").exists()


def test_too_few_spots(tmp_path):
    command = ["simulate", "preset=small", "n_images=2", "photons=0.01", "output.directory=images"]
    assert xtal("run", *command, folder=tmp_path).returncode == 0
    refused("process", *images(tmp_path), folder=tmp_path, names="spots")


def test_no_lattice_found(scan, tmp_path):
    """Spots scattered at random have no lattice."""
    from xtal.files import read_reflections, write_reflections

    table = read_reflections(scan / "strong.refl").select(np.arange(60))
    rng = np.random.default_rng(0)
    table["xyzobs.px.value"] = rng.uniform((20, 20, 0), (380, 380, 12), (len(table), 3))
    write_reflections(table, tmp_path / "noise.refl")
    message = refused("run", "index", scan / "imported.expt", "noise.refl", folder=tmp_path, names="attice")
    assert not (tmp_path / "indexed.refl").exists(), message


def test_reflections_of_another_experiment(scan, tmp_path):
    from xtal.files import read_reflections, write_reflections

    table = read_reflections(scan / "strong.refl")
    table.identifiers = dict.fromkeys(table.identifiers or {0: ""}, "somebody-else")
    write_reflections(table, tmp_path / "other.refl")
    message = refused("run", "index", scan / "imported.expt", "other.refl", folder=tmp_path, names="other.refl")
    assert "imported.expt" in message


def test_a_misspelt_option(scan):
    message = refused("run", "find_spots", "imported.expt", "min_spt_size=3", folder=scan, names="min_spt_size")
    assert "min_spot_size" in message
    refused("process", *images(scan), "d_mn=2", folder=scan, names="d_mn")


def test_a_bad_value(scan):
    message = refused("run", "find_spots", "imported.expt", "d_min=-3", folder=scan, names="spotfinder.filter.d_min=-3")
    assert "must be more than 0" in message


def test_an_option_that_several_steps_have_is_asked_back(scan):
    message = refused("process", *images(scan), "fix=all", folder=scan, names="fix")
    assert "index, refine have it" in message


@pytest.mark.parametrize(
    ("word", "steps"),
    [
        ("space_group=P43212", "index refine symmetry"),
        ("unit_cell=50,50,38,90,90,90", "index refine"),
        ("d_min=2", "find_spots index integrate symmetry scale merge"),
        ("axis=0,1,0", "import"),
        ("nproc=2", " ".join(CHAIN)),
        ("memory=2GB", " ".join(CHAIN)),
    ],
)
def test_shared_options_reach_every_step_that_has_them(word, steps):
    plugins = default_plugins()
    without = distribute(plugins, [])
    given = distribute(plugins, split_tokens([word])[0])
    assert [step for step in CHAIN if given[step] != without[step]] == steps.split()


def test_wrong_usage_has_its_own_exit_code(tmp_path):
    assert "find_spots" in refused("run", "find_spot", folder=tmp_path, names="find_spot", code=2)


def test_a_full_disk(scan, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    try:
        refused("run", "find_spots", scan / "imported.expt", folder=small, names="strong.refl")
        assert not (small / "strong.refl").exists()
        assert not [name for name in os.listdir(small) if "part" in name]
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    ("word", "step"),
    [("background=simple", "integrate"), ("threshold=dispersion", "find_spots"), ("index.method=fft3d", "index")],
)
def test_a_plugin_that_is_chosen_by_the_name_of_its_scope_goes_to_its_step(word, step):
    """As in ``xtal run``; the name is a part of others too, such as sigma_background and partiality_threshold."""
    plain = distribute(default_plugins(), [])
    found = distribute(default_plugins(), split_tokens([word])[0])
    assert [s for s in found if found[s] != plain[s]] == [step]


def test_a_name_of_several_steps_is_answered_with_all_of_them():
    with pytest.raises(OptionError) as caught:
        distribute(default_plugins(), split_tokens(["method=fft3d"])[0])
    assert "index.indexing.method.algorithm, scale.reflection_selection.method" in caught.value.advice
    with pytest.raises(OptionError, match=r"merge have it\. .*import\.executor\.algorithm.* and \d+ more\."):
        distribute(default_plugins(), split_tokens(["algorithm=x"])[0])


WRITTEN = (
    ("show", "output.png"),
    ("find_spots", "plot"),
    ("find_spots", "output.experiments"),
    ("find_spots", "hot_mask_prefix"),
    ("spot_counts_per_image", "plot"),
    ("spot_counts_per_image", "json"),
    ("find_spots_client", "plot"),
    ("find_spots_client", "json"),
    ("generate_mask", "plot"),
    ("generate_mask", "output.experiments"),
    ("estimate_gain", "output.gain_map"),
    ("detect_blanks", "output.plot"),
    ("export_bitmaps", "output.file"),
    ("export_bitmaps", "output.prefix"),
    ("merge_cbf", "output.image_prefix"),
)
"""Files that steps write besides their tables and experiment lists."""


@pytest.mark.parametrize(("step", "name"), WRITTEN)
def test_a_missing_folder_is_told_before_images_are_looked_at(run_step, tmp_path, step, name):
    (tmp_path / "image_0001.cbf").write_bytes(b"###CBF")
    with pytest.raises(OptionError, match=rf"{name}=none/x\.y: the folder none does not exist\. Create it first\."):
        run_step(step, "image_0001.cbf", f"{name}=none/x.y")
    assert [p.name for p in tmp_path.iterdir()] == ["image_0001.cbf"]


def test_process_looks_for_folders_before_the_first_step(scan):
    refused("process", *images(scan), "find_spots.plot=none/x.png", folder=scan, names="the folder none does not exist")
    assert not (scan / "xtal.process.json").exists()
