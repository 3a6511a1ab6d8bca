"""reindex and compare_orientation_matrices beside DIALS 3.12 on the same files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xtal.files import read_experiments, read_reflections, write_reflections
from xtal.models import Crystal
from xtal.physics.symmetry import ChangeOfBasis, smallest_turn
from xtal.testing import shared_dir

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]

XTAL = str(Path(sys.executable).parent / "xtal")
SCALED = "l_cysteine_4_sweeps_scaled/scaled_30"
QUARTZ = "quartz_processed/scaled"


def slowly(*values: object) -> object:
    """One more case, for the slow suite."""
    return pytest.param(*values, marks=pytest.mark.slow)


def files(name: str) -> list[Path]:
    return [shared_dir() / "data" / "processed_dials" / f"{name}.{kind}" for kind in ("expt", "refl")]


def run(command: list[str], folder: Path, *words: object) -> str:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *map(str, words)], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{command} {words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def both(tmp_path: Path, step: str, *words: object) -> tuple[Path, Path, str, str]:
    theirs = run([f"dials.{step}"], tmp_path / "dials", *words)
    ours = run([XTAL, "run", step], tmp_path / "xtal", *words)
    return tmp_path / "dials", tmp_path / "xtal", theirs, ours


def same_crystals(a: Crystal, b: Crystal) -> None:
    np.testing.assert_allclose(a.A, b.A, atol=1e-9)
    assert (a.A_at_scan_points is None) == (b.A_at_scan_points is None)
    if a.A_at_scan_points is not None:
        np.testing.assert_allclose(a.A_at_scan_points, b.A_at_scan_points, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (SCALED, ["change_of_basis_op=b,c,a", "space_group=P222"]),
        (SCALED, ["change_of_basis_op=k,l,h", "hkl_offset=0,0,1"]),
        slowly(QUARTZ, ["change_of_basis_op=-y,x-y,z"]),
        slowly(SCALED, ["change_of_basis_op=-a,c,b", "space_group=P21"]),
        slowly(SCALED, ["change_of_basis_op=2a,b,c", "space_group=P1"]),
    ],
)
def test_crystals_and_indices_are_the_same(tmp_path, name, words):
    theirs, ours, _, _ = both(tmp_path, "reindex", *files(name), *words)
    (a,), (b,) = (read_experiments(folder / "reindexed.expt") for folder in (theirs, ours))
    same_crystals(a.crystal, b.crystal)
    assert a.crystal.space_group == b.crystal.space_group
    c, d = (read_reflections(folder / "reindexed.refl") for folder in (theirs, ours))
    # rows that were never indexed stay so; DIALS 3.12 adds the offset to them
    indexed = np.any(read_reflections(files(name)[1])["miller_index"] != 0, axis=1)
    np.testing.assert_array_equal(c["miller_index"][indexed], d["miller_index"][indexed])
    assert not d["miller_index"][~indexed].any()
    assert c.identifiers == d.identifiers
    for column in c:
        if column not in ("miller_index", "shoebox", "flags"):
            np.testing.assert_array_equal(c[column], d[column], err_msg=column)


@pytest.mark.slow
def test_a_reference_resolves_the_ambiguity_alike(tmp_path):
    """Quartz, P 31 2 1 on a hexagonal lattice: indexed the other way, then brought back."""
    expt, refl = files(QUARTZ)
    run([XTAL, "run", "reindex"], tmp_path / "turned", expt, refl, "change_of_basis_op=-a,-b,c")
    reference = [f"reference.experiments={expt}", f"reference.reflections={refl}"]
    turned = [tmp_path / "turned" / f"reindexed.{kind}" for kind in ("expt", "refl")]
    theirs, ours, _, ours_told = both(tmp_path, "reindex", *turned, *reference)
    (a,), (b,), (start,) = (read_experiments(p) for p in (theirs / "reindexed.expt", ours / "reindexed.expt", expt))
    cells = [smallest_turn(start.crystal, x.crystal).angle_deg for x in (a, b)]
    np.testing.assert_allclose(cells, 0, atol=1e-4)
    assert "1.0000" in ours_told


def test_orientations_are_matched_where_the_operator_is_not_its_own_inverse(tmp_path):
    """DIALS 3.12 finds the operator for the reference and applies it to the crystal: wrong for three-folds."""
    expt, refl = files(QUARTZ)
    run([XTAL, "run", "reindex"], tmp_path / "turned", expt, refl, "change_of_basis_op=b,-a-b,c")
    turned = [tmp_path / "turned" / f"reindexed.{kind}" for kind in ("expt", "refl")]
    theirs, ours, _, _ = both(tmp_path, "reindex", *turned, f"reference.experiments={expt}", "change_of_basis_op=auto")
    (start,) = read_experiments(expt)
    differences = []
    for folder in (theirs, ours):
        (e,) = read_experiments(folder / "reindexed.expt")
        differences.append(float(np.abs(e.crystal.A - start.crystal.A).max()))
    assert differences[1] < 1e-9
    assert differences[0] > 1e-3
    np.testing.assert_array_equal(
        read_reflections(ours / "reindexed.refl")["miller_index"], read_reflections(refl)["miller_index"]
    )


def turns(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation matrices, rotation vectors and angles between reflections that were printed."""
    text = text[text.index("Rotation matrix") :]
    rows = [list(map(float, row.split(","))) for row in re.findall(r"\{([-\d., ]+)\}", text)]
    vectors = [
        float(angle) * np.array(list(map(float, axis.split(","))))
        for angle, axis in re.findall(r"Rotation of (\S+) degrees about axis \((.*)\)", text)
    ]
    angles = list(map(float, re.findall(r"\): (\S+) deg", text)))
    return np.array(rows), np.array(vectors), np.array(angles)


@pytest.mark.parametrize("words", [["comparison=pairwise"], slowly(["comparison=sequential", "space_group=P222"])])
def test_rotations_between_crystals_are_the_same(tmp_path, words):
    (scaled, _), (quartz, _), (insulin, _) = files(SCALED), files(QUARTZ), files("insulin_processed/indexed")
    _, _, theirs, ours = both(tmp_path, "compare_orientation_matrices", scaled, insulin, quartz, *words)
    for a, b in zip(turns(theirs)[:2], turns(ours)[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=0.06)


@pytest.mark.slow
def test_angles_between_reflections_use_the_columns_of_a(tmp_path):
    """DIALS 3.12 takes the rows of A for a*, b* and c*: its angles are those of no reflections."""
    (first, _), (second, _) = files(SCALED), files("insulin_processed/indexed")
    (a,), (b,) = read_experiments(first), read_experiments(second)
    _, _, theirs, ours = both(tmp_path, "compare_orientation_matrices", first, second, "hkl=1,0,0", "hkl=1,1,1")
    change = smallest_turn(a.crystal, b.crystal).change
    wanted = []
    for hkl in ((1, 0, 0), (1, 1, 1)):
        u, v = a.crystal.A @ hkl, b.crystal.change_basis(change.basis).A @ hkl
        wanted.append(np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))))
    np.testing.assert_allclose(turns(ours)[2], wanted, atol=0.006)
    assert np.abs(turns(theirs)[2] - wanted).max() > 1


@pytest.mark.slow
def test_dials_reads_a_setting_without_a_name(tmp_path):
    expt, refl = files(SCALED)
    run([XTAL, "run", "reindex"], tmp_path / "ours", expt, refl, "change_of_basis_op=a-b,a+b,c")
    shown = run(["dials.show"], tmp_path / "ours", "reindexed.expt", "reindexed.refl")
    assert re.search(r"9\.877.*9\.877.*12\.14", shown)
    run(
        ["dials.reindex"],
        tmp_path / "back",
        tmp_path / "ours" / "reindexed.expt",
        "change_of_basis_op=1/2a+1/2b,-1/2a+1/2b,c",
    )
    (a,), (b,) = read_experiments(expt), read_experiments(tmp_path / "back" / "reindexed.expt")
    same_crystals(a.crystal, b.crystal)


def test_spots_are_reindexed_to_fit_the_experiments(tmp_path):
    """``change_of_basis_op=auto`` with one data set, where DIALS 3.12 stops with a traceback."""
    expt, refl = files(SCALED)
    table = read_reflections(refl)
    wanted = table["miller_index"]
    moved = table.select(np.arange(len(table)))
    moved["miller_index"] = ChangeOfBasis.parse("b,c,a").hkl(wanted)[0]
    write_reflections(moved, tmp_path / "moved.refl")
    run([XTAL, "run", "reindex"], tmp_path / "ours", expt, tmp_path / "moved.refl", "change_of_basis_op=auto")
    found = read_reflections(tmp_path / "ours" / "reindexed.refl")
    np.testing.assert_array_equal(found["miller_index"], wanted)
    assert not (tmp_path / "ours" / "reindexed.expt").exists()
