"""The step index on perfect and noisy spots of known crystals."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import evolve

from xtal.errors import AlgorithmFailed, OptionError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import (
    Beam,
    Crystal,
    Detector,
    Experiment,
    ExperimentList,
    Goniometer,
    Images,
    Panel,
    Scan,
    rotation_matrix,
)
from xtal.models.crystal import b_matrix
from xtal.physics.indexing import LatticeTrial, plane_shifts, same_lattice, score_lattice, shift_derivatives
from xtal.physics.lattice import apply_known_symmetry, reduced
from xtal.physics.prediction import predict_all
from xtal.physics.rays import map_to_reciprocal
from xtal.table import Flag, ReflectionTable
from xtal_steps_geometry import index_search
from xtal_steps_geometry.index_options import KnownSymmetryOptions
from xtal_steps_geometry.index_origin import Origin, warn_of_doubt
from xtal_steps_geometry.index_search import Sight, like_in_volume
from xtal_steps_geometry.index_sense import clearly_better, with_carried_over


def experiment(
    cell: Any, group: str, *, turn: float = 0.7, n: int = 90, wavelength: float = 0.98, distance: float = 150.0
) -> Experiment:
    panel = Panel((1, 0, 0), (0, -1, 0), (-86.0, 84.0, -distance), (1000, 1000), (0.172, 0.172))
    crystal = Crystal(rotation_matrix((0.3, -0.5, 0.8), turn) @ b_matrix(cell))
    crystal.space_group = group
    scan = Scan((1, n), (0.0, 0.5))
    return Experiment(Beam(wavelength), Detector([panel]), Goniometer((1, 0, 0)), scan, crystal, Images("i_###.cbf"))


def spots_of(truth: Experiment, d_min: float = 3.0, noise: float = 0.1, number: int = 0, seed: int = 1) -> Any:
    table = predict_all(truth, d_min)
    rng = np.random.default_rng(seed)
    n = len(table)
    out = ReflectionTable(n_rows=n)
    out["xyzobs.px.value"] = table["xyzcal.px"] + noise * rng.normal(size=(n, 3))
    out["xyzobs.px.variance"] = np.full((n, 3), noise**2)
    out["panel"] = table["panel"]
    out["id"] = np.full(n, number, np.int32)
    out["flags"] = np.full(n, int(Flag.STRONG), np.uint64)
    return out, np.asarray(table["miller_index"])


def save(folder: Path, experiments: list[Experiment], spots: ReflectionTable) -> None:
    bare = []
    for k, e in enumerate(experiments):
        new = copy.copy(e)
        new.crystal, new.identifier = None, f"scan-{k}"
        bare.append(new)
    spots.identifiers = {k: f"scan-{k}" for k in range(len(bare))}
    write_experiments(ExperimentList(bare), folder / "imported.expt")
    write_reflections(spots, folder / "strong.refl")


def check(folder: Path, truth: Experiment, hkl: np.ndarray, rows: Any = slice(None), number: int = 0) -> float:
    """Fraction of the true spots whose index is right, on the axes that were found."""
    found = read_experiments(folder / "indexed.expt")[number]
    table = read_reflections(folder / "indexed.refl")
    assert found.crystal is not None and truth.crystal is not None
    basis = np.linalg.inv(found.crystal.A) @ truth.crystal.A
    basis = np.rint(6 * basis) / 6
    h = np.asarray(table["miller_index"])[rows]
    return float(np.mean(np.all(h == np.rint(hkl @ basis.T), axis=1) & (np.asarray(table["id"])[rows] == number)))


@pytest.mark.parametrize(
    ("cell", "group"),
    [
        ((60, 70, 80, 90, 90, 90), "P 21 21 21"),
        ((40, 52, 61, 83, 97, 106), "P 1"),
        ((92, 47, 54, 90, 118, 90), "C 1 2 1"),
        ((79, 79, 79, 90, 90, 90), "I 2 3"),
        ((58, 58, 150, 90, 90, 120), "R 3:H"),
        ((57, 57, 140, 90, 90, 120), "P 61"),
    ],
)
def test_crystals_of_all_kinds_with_and_without_the_group(
    tmp_path: Path, run_step: Callable[..., Any], cell: Any, group: str
) -> None:
    truth = experiment(cell, group)
    spots, hkl = spots_of(truth)
    save(tmp_path, [truth], spots)
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    assert check(tmp_path, truth, hkl) > 0.99
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", f"space_group={group}")
    found = read_experiments(tmp_path / "indexed.expt")[0].crystal
    assert found is not None and found.space_group.hm == truth.crystal.space_group.hm  # type: ignore[union-attr]
    assert found.cell.is_compatible_with_spacegroup(found.space_group, 1e-4)
    h = np.asarray(read_reflections(tmp_path / "indexed.refl")["miller_index"])
    seen = h[np.any(h != 0, axis=1)].astype(np.int32)
    assert len(seen) > 0.99 * len(h)
    assert np.mean(found.space_group.operations().systematic_absences(seen)) < 0.01


def test_unit_cell_and_its_setting(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    truth = experiment((60, 80, 70, 90, 90, 90), "P 21 21 2")
    spots, _ = spots_of(truth)
    save(tmp_path, [truth], spots)
    files = (tmp_path / "imported.expt", tmp_path / "strong.refl")
    run_step("index", *files, "space_group=P21212", "unit_cell=60,80,70,90,90,90")
    found = read_experiments(tmp_path / "indexed.expt")[0].crystal
    assert found is not None
    np.testing.assert_allclose(found.cell.parameters, (60, 80, 70, 90, 90, 90), rtol=2e-3)
    run_step("index", *files, "unit_cell=80,60,70,90,90,90")
    found = read_experiments(tmp_path / "indexed.expt")[0].crystal
    assert found is not None and found.space_group.number == 1
    np.testing.assert_allclose(found.cell.parameters, (80, 60, 70, 90, 90, 90), rtol=2e-3)
    with pytest.raises(AlgorithmFailed, match="No lattice of the spots fits"):
        run_step("index", *files, "space_group=P4")
    with pytest.raises(OptionError, match="not a space group"):
        run_step("index", *files, "space_group=P77")
    for cell in ("60,70,80,90,90,0", "0,70,80,90,90,90", "60,70,80,120,120,120", "60,70,80,90,90,200"):
        with pytest.raises(OptionError, match="is no unit cell"):
            run_step("index", *files, f"unit_cell={cell}")


@pytest.mark.parametrize("given", ["10,12,14,90,90,90", "7,7,9,90,90,90", "100,120,140,90,90,90"])
def test_a_wrong_cell_is_told_at_once_with_the_crystals_own(
    tmp_path: Path, run_step: Callable[..., Any], given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cell that was given bounds the search: with a short one the best lattice was one of 600 Å and more."""
    truth = experiment((38.2, 79.1, 79.1, 90, 90, 90), "P 1", n=60)
    save(tmp_path, [truth], spots_of(truth)[0])
    compared: list[Any] = []
    monkeypatch.setattr(index_search, "apply_known_symmetry", lambda *lattice, **limits: compared.append(lattice))
    words = [f"unit_cell={given}", "beam_search.enable=False"]
    with pytest.raises(AlgorithmFailed, match="No lattice of the spots fits") as caught:
        run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", *words)
    named = caught.value.message.rpartition("primitive cell ")[2].rstrip(".").split()
    np.testing.assert_allclose([float(v) for v in named], (38.2, 79.1, 79.1, 90, 90, 90), rtol=0.01)
    assert len(compared) < 300  # of 124 lattices with 7 centrings each: comparing axes takes long


@pytest.mark.parametrize(
    ("group", "cell"),
    [
        ("P 1", (40, 52, 61, 83, 97, 106)),
        ("P 1", (30, 31, 32, 62, 60, 58)),
        ("P 1", (30, 80, 90, 130, 100, 100)),
        ("C 1 2 1", (92, 47, 54, 90, 118, 90)),
        ("F 2 2 2", (40, 60, 90, 90, 90, 90)),
        ("R 3:H", (58, 58, 150, 90, 90, 120)),
        ("I 2 3", (79, 79, 79, 90, 90, 90)),
    ],
)
def test_no_lattice_of_a_known_cell_is_passed_over_for_its_volume(group: str, cell: Any) -> None:
    rng, accepted = np.random.default_rng(4), 0
    edges = slice(0, 3)
    for _ in range(40):
        near = np.array(cell, dtype=float)
        near[edges] *= 1 + 0.1 * (rng.uniform(-1, 1, 3) if group == "P 1" else rng.uniform(-1, 1))
        truth = Crystal(b_matrix(cell))
        truth.space_group = group
        bent = Crystal((np.eye(3) + 0.02 * rng.normal(size=(3, 3))) @ reduced(truth)[0].A)
        known = KnownSymmetryOptions(space_group=group, unit_cell=tuple(near))
        if apply_known_symmetry(bent, group, tuple(near)) is not None:
            accepted += 1
            assert like_in_volume(bent, known, group)
    assert accepted > 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("20,25,30,90,90,90", "of the spots have an index, with the primitive cell 31."),
        ("40,50,60,90,90,90", "is 2 times as large as the spots ask for: the primitive cell 31."),
        ("31,39,46,90,90,90", None),
    ],
)
def test_a_cell_that_explains_fewer_spots_or_is_larger_is_a_warning(
    tmp_path: Path, run_step: Callable[..., Any], given: str, words: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = experiment((31.2, 38.7, 46.1, 90, 90, 90), "P 1", n=60)
    save(tmp_path, [truth], spots_of(truth)[0])
    known = [f"unit_cell={given}", "space_group=P1", "beam_search.enable=False"]
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", *known)
    said = capsys.readouterr().err
    assert ("unit_cell=" in said) == (words is not None) and (words or "") in said


@pytest.mark.parametrize(("group", "n"), [("C2", 2), ("I 2 2 2", 4), ("F222", 2)])
def test_a_centred_group_on_a_primitive_lattice_is_an_error(
    tmp_path: Path, run_step: Callable[..., Any], group: str, n: int
) -> None:
    """A cell 2 or 4 times as large has that centring, but no spot lies on the points that are new in it."""
    truth = experiment((45, 60, 90, 90, 90, 90), "P 21 21 21", n=60)
    spots, _ = spots_of(truth)
    save(tmp_path, [truth], spots)
    files = (tmp_path / "imported.expt", tmp_path / "strong.refl")
    with pytest.raises(AlgorithmFailed, match=f"{n} times as large has it, and then {n - 1} of {n}") as caught:
        run_step("index", *files, f"space_group={group}")
    named = caught.value.message.partition("primitive cell ")[2].partition(", does")[0].split()
    np.testing.assert_allclose([float(v) for v in named], (45, 60, 90, 90, 90, 90), rtol=0.01)


def test_a_centred_group_whose_cell_has_weak_spots_of_its_own_is_taken(
    tmp_path: Path, run_step: Callable[..., Any]
) -> None:
    """One in 20 of the reflections that tell a C cell from the primitive one of half its volume was seen."""
    truth = experiment((92, 47, 54, 90, 118, 90), "C 1 2 1")
    spots, hkl = spots_of(truth)
    rng = np.random.default_rng(3)
    spots = spots.select(np.flatnonzero((hkl[:, 2] % 2 == 0) | (rng.uniform(size=len(hkl)) < 0.05)))
    save(tmp_path, [truth], spots)
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", "space_group=C2")
    found = read_experiments(tmp_path / "indexed.expt")[0].crystal
    assert found is not None and truth.crystal is not None
    assert found.cell.volume == pytest.approx(truth.crystal.cell.volume, rel=0.01)


def test_two_lattices_and_joint_scans(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    first = experiment((60, 70, 80, 90, 90, 90), "P 21 21 21")
    second = experiment((60, 70, 80, 90, 90, 90), "P 21 21 21", turn=1.5)
    (a, hkl_a), (b, hkl_b) = spots_of(first), spots_of(second, seed=2)
    save(tmp_path, [first], ReflectionTable.concatenate([a, b]))
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    told = (tmp_path / "xtal.index.log").read_text()
    assert "look for a further lattice with max_lattices=2" in told
    assert "beam_search.enable=True, farther off with beam_search.scope=8." in told
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", "max_lattices=3")
    experiments = read_experiments(tmp_path / "indexed.expt")
    assert len(experiments) == 2 and len({e.identifier for e in experiments}) == 2
    in_first = max(check(tmp_path, first, hkl_a, slice(0, len(hkl_a)), k) for k in (0, 1))
    in_second = max(check(tmp_path, second, hkl_b, slice(len(hkl_a), None), k) for k in (0, 1))
    assert min(in_first, in_second) > 0.95

    # Once more, from what has two lattices on one scan: it is one scan still.
    table = read_reflections(tmp_path / "indexed.refl")
    write_reflections(table.select(np.asarray(table["id"]) >= 0), tmp_path / "again.refl")
    (tmp_path / "indexed.expt").rename(tmp_path / "again.expt")
    run_step("index", tmp_path / "again.expt", tmp_path / "again.refl")
    (again,) = read_experiments(tmp_path / "indexed.expt")
    assert again.crystal.cell.parameters == pytest.approx(experiments[0].crystal.cell.parameters, abs=0.05)
    assert set(np.unique(read_reflections(tmp_path / "indexed.refl")["imageset_id"])) == {0}

    # Two scans of one crystal, from different starts.
    later = copy.copy(first)
    later.scan, later.beam, later.detector = Scan((1, 60), (100.0, 0.5)), copy.deepcopy(first.beam), first.detector
    b, hkl_b = spots_of(later, seed=3, number=1)
    save(tmp_path, [first, later], ReflectionTable.concatenate([a, b]))
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    experiments = read_experiments(tmp_path / "indexed.expt")
    assert len(experiments) == 2 and experiments[0].crystal is experiments[1].crystal
    assert check(tmp_path, later, hkl_b, slice(len(hkl_a), None), 1) > 0.99
    table = read_reflections(tmp_path / "indexed.refl")
    assert set(np.unique(table["imageset_id"])) == {0, 1}


def test_a_lattice_of_more_symmetry_than_its_group_is_said(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    truth = experiment((60, 60, 80, 90, 90, 90), "P 4")
    save(tmp_path, [truth], spots_of(truth)[0])
    files = (tmp_path / "imported.expt", tmp_path / "strong.refl")
    assert (
        run_step("index", *files, "space_group=P4")
        .summary[-1]
        .endswith("P 4: crystals of this kind can be indexed in 2 ways")
    )
    for plain in ([], ["space_group=P422"]):
        found = run_step("index", *files, *plain).summary
        assert not any("ways" in line for line in found), found


def test_scans_of_two_crystals_are_told_and_a_blank_one_costs_the_others_nothing(
    tmp_path: Path, run_step: Callable[..., Any]
) -> None:
    first = experiment((60, 70, 80, 90, 90, 90), "P 1")
    other = experiment((50, 55, 90, 90, 90, 90), "P 1", turn=1.5)
    other.images = Images("other_###.cbf")
    (a, hkl_a), (b, hkl_b) = spots_of(first), spots_of(other, number=1, seed=2)
    files = (tmp_path / "imported.expt", tmp_path / "strong.refl")
    save(tmp_path, [first, other], ReflectionTable.concatenate([a, b]))
    run_step("index", *files)
    told = (tmp_path / "xtal.index.log").read_text()
    assert "/other_###.cbf)" in told and "joint_indexing=False" in told
    assert "Of image set 0" not in told

    blank = copy.copy(other)
    blank.images = Images("blank_###.cbf")
    few = a.select(np.arange(6))
    few["id"] = np.full(6, 1, np.int32)
    b["id"] = np.full(len(b), 2, np.int32)
    save(tmp_path, [first, blank, other], ReflectionTable.concatenate([a, few, b]))
    run_step("index", *files, "joint_indexing=False")
    told = (tmp_path / "xtal.index.log").read_text()
    assert "1 of 3 scans left out" in told and "/blank_###.cbf): Only 6 spots" in told
    assert len(read_experiments(tmp_path / "indexed.expt")) == 2
    assert set(np.unique(read_reflections(tmp_path / "indexed.refl")["imageset_id"])) == {0, 1}
    assert check(tmp_path, first, hkl_a, slice(0, len(a)), 0) > 0.99
    assert check(tmp_path, other, hkl_b, slice(len(a), None), 1) > 0.99

    save(tmp_path, [other, blank], ReflectionTable.concatenate([few.select(np.arange(0)), few]))
    with pytest.raises(AlgorithmFailed, match="None of 2 scans could be indexed"):
        run_step("index", *files, "joint_indexing=False")


def test_too_few_spots_and_noise_say_why(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1")
    spots, _ = spots_of(truth)
    save(tmp_path, [truth], spots.select(np.arange(6)))
    with pytest.raises(AlgorithmFailed, match="6 spots"):
        run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    rng = np.random.default_rng(5)
    for n in (15, 60):
        noise = spots.select(np.arange(n))
        noise["xyzobs.px.value"][:] = rng.uniform((0, 0, 0), (1000, 1000, 90), (n, 3))
        save(tmp_path, [truth], noise)
        with pytest.raises(AlgorithmFailed, match="No lattice was found"):
            run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")


def test_spots_of_one_plane_do_not_tell_three_axes(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1")
    spots, hkl = spots_of(truth)
    save(tmp_path, [truth], spots.select(np.flatnonzero(hkl[:, 0] == 0)))
    with pytest.raises(AlgorithmFailed, match="one plane of the reciprocal lattice"):
        run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")


def test_columns_of_spots_without_index(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1")
    spots, _ = spots_of(truth)
    rng = np.random.default_rng(7)
    spots["xyzobs.px.value"][:50] = rng.uniform((0, 0, 0), (1000, 1000, 90), (50, 3))
    save(tmp_path, [truth], spots)
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    table = read_reflections(tmp_path / "indexed.refl")
    unindexed = np.asarray(table["id"]) < 0
    assert 20 < unindexed.sum() < 80
    assert np.all(np.asarray(table["miller_index"])[unindexed] == 0)
    assert not np.any(table.has_flags(Flag.INDEXED)[unindexed])
    for name in ("rlp", "s1", "xyzcal.px", "xyzcal.mm", "xyzobs.mm.value", "xyzobs.mm.variance", "entering"):
        assert name in table
    used = table.has_flags(Flag.USED_IN_REFINEMENT)
    difference = (np.asarray(table["xyzcal.px"]) - np.asarray(table["xyzobs.px.value"]))[used]
    assert np.all(np.sqrt(np.mean(difference**2, axis=0)) < 0.15)


def test_an_axis_that_turns_the_wrong_way_is_inverted_and_told(
    tmp_path: Path, run_step: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1", n=60)
    spots, hkl = spots_of(truth)
    files = (tmp_path / "imported.expt", tmp_path / "strong.refl")
    for axis, how in ((Goniometer((-1, 0, 0)), "with"), (truth.goniometer.inverted(), "without")):  # type: ignore[union-attr]  # it has one
        header = copy.copy(truth)
        header.goniometer = axis
        save(tmp_path, [header], spots)
        run_step("index", *files)
        told = " ".join(capsys.readouterr().err.split())
        assert "The rotation axis turned the wrong way" in told and f"import {how} invert_rotation_axis=True" in told
        assert check(tmp_path, truth, hkl) > 0.99
        found = read_experiments(tmp_path / "indexed.expt")[0].goniometer
        assert found is not None and found.is_inverted != axis.is_inverted
        np.testing.assert_array_equal(found.axis, (1, 0, 0))
    run_step("index", *files, "try_inverted_axis=False")
    assert "wrong way" not in capsys.readouterr().err
    assert check(tmp_path, truth, hkl) < 0.3


@pytest.mark.parametrize(("n", "noise"), [(1, 0.1), (4, 0.1), (60, 1.5)])
def test_an_axis_that_turns_the_right_way_stays(
    tmp_path: Path, run_step: Callable[..., Any], n: int, noise: float
) -> None:
    """Also where the scan is narrow, or the spots fit the lattice badly."""
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1", n=n)
    save(tmp_path, [truth], spots_of(truth, d_min=2.0, noise=noise)[0])
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    found = read_experiments(tmp_path / "indexed.expt")[0].goniometer
    assert found is not None and not found.is_inverted
    assert "wrong way" not in (tmp_path / "xtal.index.log").read_text()


def test_a_narrow_scan_indexed_in_one_sense_only_does_not_tell_the_sense() -> None:
    """The lattice found with the axis inverted is carried over to the axis as given, where it does better still."""
    truth = experiment((60, 70, 80, 90, 90, 90), "P 1", n=2)
    spots, _ = spots_of(truth, d_min=2.0)
    maps = []
    for axis in ((1, 0, 0), (-1, 0, 0)):
        header = copy.copy(truth)
        header.goniometer = Goniometer(axis)
        map_to_reciprocal(spots, ExperimentList([header]))
        maps.append(np.array(spots["rlp"]))
    rlp, turned = maps
    junk = Crystal(rotation_matrix((0.1, 0.9, 0.2), 0.4) @ b_matrix((45, 52, 61, 80, 95, 100))).A
    failed = Sight([LatticeTrial(junk, score_lattice(junk, rlp))], 100.0)
    middle = np.radians(2 * 0.5 / 2)
    wrong = rotation_matrix((1, 0, 0), 2 * middle) @ truth.crystal.A  # type: ignore[union-attr]  # it has one
    other = Sight([LatticeTrial(wrong, score_lattice(wrong, turned))], 100.0)
    assert clearly_better(other, failed, turned)
    mended = with_carried_over(failed, other, rlp, turned)
    assert isinstance(mended, Sight) and not clearly_better(other, mended, turned)
    assert same_lattice(mended.trials[0].A, truth.crystal.A)  # type: ignore[union-attr]  # the same


def share_indexed_from(
    folder: Path, run_step: Callable[..., Any], truth: Experiment, shift: tuple[float, float], **limits: float
) -> float:
    """Share of the spots of a crystal that are indexed right from a header whose detector is shifted, mm."""
    spots, hkl = spots_of(truth, **limits)
    header = copy.deepcopy(truth)
    header.detector[0].origin = header.detector[0].origin + np.array([*shift, 0.0])
    save(folder, [header], spots)
    run_step("index", folder / "imported.expt", folder / "strong.refl")
    return check(folder, truth, hkl)


@pytest.mark.parametrize(
    ("cell", "shift"),
    [
        ((60, 70, 80, 90, 90, 90), (1.0, -0.7)),
        ((38.2, 79.1, 79.1, 90, 90, 90), (-0.83, 0.62)),  # a cell of twice the volume explains the spots well
        ((38.2, 79.1, 79.1, 90, 90, 90), (0.9, 0.3)),  # one of five times the volume does
    ],
)
def test_beam_centre_that_is_off_is_found(
    tmp_path: Path, run_step: Callable[..., Any], cell: Any, shift: tuple[float, float]
) -> None:
    truth = experiment(cell, "P 1", n=60)
    assert share_indexed_from(tmp_path, run_step, truth, shift) > 0.98


def test_wide_images_do_not_make_the_cell_a_multiple(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    """Whose spots scatter by much of their spacing: a multiple of the cell has points near all of them."""
    truth = experiment((38.2, 79.1, 79.1, 90, 90, 90), "P 41 21 2", n=10)
    truth.scan = Scan((1, 10), (0.0, 2.0))
    spots, hkl = spots_of(truth, d_min=2.0)
    xyz = np.array(spots["xyzobs.px.value"])
    xyz[:, 2] = np.floor(xyz[:, 2]) + 0.5
    spots["xyzobs.px.value"] = xyz
    save(tmp_path, [truth], spots)
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    found = read_experiments(tmp_path / "indexed.expt")[0].crystal
    assert found is not None
    np.testing.assert_allclose(found.cell.parameters, (38.2, 79.1, 79.1, 90, 90, 90), rtol=5e-3)
    assert check(tmp_path, truth, hkl) > 0.7


def test_a_true_superstructure_stays(tmp_path: Path, run_step: Callable[..., Any]) -> None:
    """Of which few spots are seen that the smaller cell has not."""
    truth = experiment((38.2, 79.1, 158.2, 90, 90, 90), "P 2 2 2", n=30)
    spots, hkl = spots_of(truth, d_min=2.5)
    seen = (hkl[:, 2] % 2 == 0) | (np.arange(len(hkl)) % 8 == 0)
    save(tmp_path, [truth], spots.select(np.flatnonzero(seen)))
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl")
    assert check(tmp_path, truth, hkl[seen]) > 0.98


def test_beam_centre_is_sought_where_a_multiple_of_the_cell_loses_but_a_few_spots(
    tmp_path: Path, run_step: Callable[..., Any]
) -> None:
    """Eight pixels off, 83 % of the spots lie on a cell of twice the volume, which refinement does not mend."""
    truth = experiment((31.2, 38.7, 46.1, 90, 90, 90), "P 1", n=28)
    assert share_indexed_from(tmp_path, run_step, truth, (1.38, 0.24), d_min=2.2) > 0.98


@pytest.mark.parametrize("shift", [(3.9, 1.4), (-1.6, 3.8)])
def test_beam_centre_of_a_short_scan_that_is_off_by_24_pixels(
    tmp_path: Path, run_step: Callable[..., Any], shift: tuple[float, float]
) -> None:
    """Four spacings of spots: over 8° the spots lie on whole indices from many wrong origins, bent somewhat."""
    truth = experiment((38, 60, 79, 90, 90, 90), "P 1", n=16)
    assert share_indexed_from(tmp_path, run_step, truth, shift) > 0.98
    found = read_experiments(tmp_path / "indexed.expt")[0]
    assert np.abs(found.detector[0].origin - truth.detector[0].origin)[:2].max() < 0.3 * 0.172


def test_a_beam_centre_that_two_origins_fit_alike_is_told() -> None:
    told: list[str] = []
    context: Any = SimpleNamespace(warn=told.append)
    here, there = Origin(np.eye(3), np.zeros(3), 1e-4), Origin(np.eye(3), np.array([1.2, -0.4, 0.0]), 1.1e-4)
    warn_of_doubt(context, {(0, 0, 0): here, (0, 0, 1): there}, (0, 0, 0))
    assert "[0, 0, 1], the detector 1.20, -0.40 mm further" in told[0] and "to 0.110 x" in told[0]
    warn_of_doubt(context, {(0, 0, 0): here, (0, 0, 1): evolve(there, off=1.3e-4)}, (0, 0, 0))
    warn_of_doubt(context, {(0, 0, 0): here}, (0, 0, 0))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("search", "words"),
    [("auto", "the detector was moved by"), ("False", "The beam centre was off by whole spots")],
)
def test_one_image_whose_beam_centre_is_off_by_lattice_vectors(
    tmp_path: Path, run_step: Callable[..., Any], capsys: pytest.CaptureFixture[str], search: str, words: str
) -> None:
    """All spots get whole indices from the wrong origin too; only the right one leaves cell and detector straight."""
    truth = experiment((77, 77, 77, 90, 90, 90), "I 2 3", n=1, distance=100.0)
    spots, hkl = spots_of(truth, d_min=1.7)
    header = copy.deepcopy(truth)
    header.crystal = None
    spots["imageset_id"] = spots["id"]
    map_to_reciprocal(spots, ExperimentList([header]))
    slopes = shift_derivatives(spots, ExperimentList([header]))
    even = [(t, s) for t, s in plane_shifts(truth.crystal.A, slopes, 2) if t.sum() % 2 == 0]
    _, shift = min(even, key=lambda found: np.linalg.norm(found[1]))
    header.detector[0].origin = header.detector[0].origin + np.array([shift[0], -shift[1], 0.0])
    save(tmp_path, [header], spots)
    run_step("index", tmp_path / "imported.expt", tmp_path / "strong.refl", f"beam_search.enable={search}")
    assert words in capsys.readouterr().err
    assert check(tmp_path, truth, hkl) > 0.98
    found = read_experiments(tmp_path / "indexed.expt")[0]
    assert np.linalg.norm(found.detector[0].origin - truth.detector[0].origin) < 0.3
    assert np.abs(np.array(found.crystal.cell.parameters) / ((66.684,) * 3 + (109.471,) * 3) - 1).max() < 2e-3
