"""The steps reindex and compare_orientation_matrices."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest

from xtal.errors import DataError, OptionError, UsageError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import Crystal, ExperimentList, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.symmetry import ChangeOfBasis
from xtal.table import Flag, ReflectionTable
from xtal.testing import tiny_experiment
from xtal_steps_geometry.reindex import _b_of, from_positions
from xtal_steps_geometry.reindex_options import ReferenceModelOptions
from xtal_steps_geometry.reindex_reference import correlation, from_structure

U = rotation_matrix((1, 2, 3), 0.5)


def crystal(group: str = "P 4", cell: tuple[float, ...] = (50, 50, 70, 90, 90, 90)) -> Crystal:
    return Crystal.from_gemmi(gemmi.UnitCell(*cell), group, U)


def data(folder: Path, name: str, model: Crystal, hkl: np.ndarray, values: np.ndarray) -> tuple[Path, Path]:
    e = tiny_experiment()
    e.crystal, e.identifier = model, name
    n = len(hkl)
    table = ReflectionTable(
        {
            "id": np.zeros(n, np.int32),
            "flags": np.full(n, int(Flag.INTEGRATED | Flag.INDEXED), np.uint64),
            "miller_index": hkl.astype(np.int32),
            "intensity.prf.value": values,
            "intensity.prf.variance": np.ones(n),
            "intensity.sum.value": values,
            "intensity.sum.variance": np.ones(n),
            "ub_matrix": np.tile(model.A.ravel(), (n, 1)),
            "u_matrix": np.tile(model.U.ravel(), (n, 1)),
        },
        {0: name},
    )
    write_experiments(ExperimentList([e]), folder / f"{name}.expt")
    write_reflections(table, folder / f"{name}.refl")
    return folder / f"{name}.expt", folder / f"{name}.refl"


def intensities(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices, and values with the symmetry of P 4 but not of P 4 2 2."""
    rng = np.random.default_rng(seed)
    hkl = rng.integers(-6, 7, (800, 3))
    hkl = hkl[np.any(hkl != 0, axis=1)]
    h, k, l = hkl.T
    values = 100 * (2 + np.cos(h * h + k * k + 0.3 * l * l) + np.sin(h * k * (h * h - k * k)))
    return hkl, values + 1


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return data(tmp_path, "a", crystal(), *intensities())


def test_crystal_indices_and_matrices_agree(run_step, pair):
    outputs = run_step("reindex", *pair, "change_of_basis_op=b,c,a").outputs
    (e,), table = read_experiments(outputs["experiments"]), read_reflections(outputs["reflections"])
    old = read_reflections(pair[1])["miller_index"]
    np.testing.assert_allclose(table["miller_index"] @ e.crystal.A.T, old @ crystal().A.T, atol=1e-12)
    np.testing.assert_allclose(table["ub_matrix"][0].reshape(3, 3), e.crystal.A, atol=1e-12)
    np.testing.assert_allclose(table["u_matrix"][0].reshape(3, 3), e.crystal.U, atol=1e-9)


def test_b_is_lower_triangular():
    cell = (40, 50, 70, 80, 95, 105)
    np.testing.assert_allclose(_b_of((U @ b_matrix(cell))[None])[0], b_matrix(cell), atol=1e-12)


def test_a_given_space_group_constrains_the_cell(run_step, tmp_path):
    odd = crystal("P 1", (50.2, 49.9, 70, 90.1, 89.9, 90.05))
    odd.A_at_scan_points = np.array([odd.A] * 11)
    pair = data(tmp_path, "odd", odd, *intensities())
    (e,) = read_experiments(run_step("reindex", *pair, "space_group=P43212").outputs["experiments"])
    assert e.crystal.space_group.xhm() == "P 43 21 2"
    cell = e.crystal.cell
    assert cell.a == pytest.approx(cell.b, abs=1e-9)
    assert (cell.alpha, cell.beta, cell.gamma) == pytest.approx((90, 90, 90))
    np.testing.assert_allclose(e.crystal.A_at_scan_points[3], odd.A, atol=1e-12)


def test_offset_comes_before_the_change_and_leaves_what_is_not_indexed(run_step, tmp_path):
    hkl = np.array([[1, 2, 3], [0, 0, 0], [4, 0, -1]])
    pair = data(tmp_path, "a", crystal(), hkl, np.ones(3))
    table = read_reflections(
        run_step("reindex", *pair, "hkl_offset=0,0,1", "change_of_basis_op=b,c,a").outputs["reflections"]
    )
    assert table["miller_index"].tolist() == [[2, 4, 1], [0, 0, 0], [0, 0, 4]]


def test_indices_that_are_not_whole_are_removed(run_step, tmp_path):
    pair = data(
        tmp_path, "a", crystal("C 1 2 1", (60, 50, 40, 90, 100, 90)), np.array([[1, 1, 0], [1, 2, 0]]), np.ones(2)
    )
    table = read_reflections(
        run_step("reindex", *pair, "change_of_basis_op=1/2a-1/2b,1/2a+1/2b,c").outputs["reflections"]
    )
    assert table["miller_index"].tolist() == [[0, 1, 0], [0, 0, 0]]
    assert table.has_flags(Flag.INDEXED).tolist() == [True, False]


@pytest.mark.parametrize("words", [["change_of_basis_op=auto"], []])
def test_the_orientation_of_a_reference_is_found(run_step, tmp_path, pair, words):
    small = rotation_matrix((0, 0, 1), 0.01)
    turned = ChangeOfBasis.parse("-b,a,c").crystal(Crystal(small @ crystal().A, "P 4"))
    other = data(tmp_path, "b", turned, *intensities())
    done = run_step("reindex", other[0], f"reference.experiments={pair[0]}", *words)
    (e,) = read_experiments(done.outputs["experiments"])
    np.testing.assert_allclose(e.crystal.A, small @ crystal().A, atol=1e-12)


def test_a_reference_of_another_crystal_is_refused(run_step, tmp_path, pair):
    for name, cell in (("b", (50, 50, 85, 90, 90, 90)), ("c", (50, 50, 70, 90, 98, 90))):
        other = data(tmp_path, name, crystal("P 2", cell), *intensities())
        with pytest.raises(DataError, match=r"50\.000 50\.000 70\.000.* is another than that of .*\.expt"):
            run_step("reindex", pair[0], f"reference.experiments={other[0]}")


def test_a_space_group_that_bends_the_cell_is_told(run_step, pair):
    run_step("reindex", pair[0], "space_group=P4")
    assert "does not fit" not in Path("xtal.reindex.log").read_text()
    run_step("reindex", pair[0], "space_group=P23")
    assert "The cell was 50.000 50.000 70.000 90.000 90.000 90.000: P23 does not fit it" in (
        Path("xtal.reindex.log").read_text()
    )


MONOCLINIC = (60, 50, 40, 90, 100, 90)


@pytest.mark.parametrize(
    ("group", "cell", "words", "told"),
    [
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=C2"], "refused"),
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=I4"], "refused"),
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=P2"], ""),
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=C222", "change_of_basis_op=a+b,-a+b,c"], ""),
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=F222", "change_of_basis_op=a+b,-a+b,c"], "refused"),
        ("P 4", (50, 50, 70, 90, 90, 90), ["space_group=P222", "change_of_basis_op=a+b,-a+b,c"], "1 of 2"),
        ("C 1 2 1", MONOCLINIC, ["space_group=C2"], ""),
        ("C 1 2 1", MONOCLINIC, ["space_group=P2"], "1 of 2"),
        ("C 1 2 1", MONOCLINIC, ["space_group=I2"], "refused"),
        ("C 1 2 1", MONOCLINIC, ["space_group=I2", "change_of_basis_op=-a-c,-b,c"], ""),
        ("C 1 2 1", MONOCLINIC, ["space_group=P1", "change_of_basis_op=1/2a-1/2b,1/2a+1/2b,c"], ""),
        ("C 1 2 1", MONOCLINIC, ["space_group=P2", "change_of_basis_op=1/2a,b,c"], ""),
    ],
)
def test_a_space_group_of_another_lattice_is_refused_a_denser_one_is_told(run_step, tmp_path, group, cell, words, told):
    pair = data(tmp_path, "a", crystal(group, cell), *intensities())
    if told == "refused":
        with pytest.raises(OptionError, match=r"is centred where the lattice of the crystal on the axes .* is not"):
            run_step("reindex", *pair, *words)
        assert not (tmp_path / "reindexed.expt").exists()
        return
    run_step("reindex", *pair, *words)
    log = Path("xtal.reindex.log").read_text()
    assert ("reflections predicted will be absent" in log) == bool(told)
    assert told in log


def test_the_indexing_is_chosen_by_correlation(run_step, tmp_path, pair):
    hkl, values = intensities(1)
    other = data(
        tmp_path, "b", ChangeOfBasis.parse("b,a,-c").crystal(crystal()), hkl[:, [1, 0, 2]] * (1, 1, -1), values
    )
    words = [f"reference.experiments={pair[0]}", f"reference.reflections={pair[1]}"]
    table = read_reflections(run_step("reindex", *other, *words).outputs["reflections"])
    group = gemmi.SpaceGroup("P 4")
    cc, n = correlation((table["miller_index"], values), intensities(), group)
    assert cc > 0.999
    assert n > 100
    # data that are right already stay
    table = read_reflections(run_step("reindex", *pair, *words).outputs["reflections"])
    np.testing.assert_array_equal(table["miller_index"], intensities()[0])


def test_an_mtz_can_be_the_reference(run_step, tmp_path, pair):
    hkl, values = intensities()
    unique, first = np.unique(hkl, axis=0, return_index=True)
    mtz = gemmi.Mtz(with_base=True)
    mtz.spacegroup = gemmi.SpaceGroup("P 4")
    mtz.set_cell_for_all(gemmi.UnitCell(50, 50, 70, 90, 90, 90))
    mtz.add_dataset("data")
    mtz.add_column("IMEAN", "J")
    mtz.set_data(np.column_stack([unique, values[first]]).astype(np.float32))
    mtz.write_to_file(str(tmp_path / "ref.mtz"))
    other = data(
        tmp_path, "b", ChangeOfBasis.parse("b,a,-c").crystal(crystal()), hkl[:, [1, 0, 2]] * (1, 1, -1), values
    )
    table = read_reflections(
        run_step("reindex", *other, f"reference.file={tmp_path / 'ref.mtz'}").outputs["reflections"]
    )
    assert correlation((table["miller_index"], values), (hkl, values), gemmi.SpaceGroup("P 4"))[0] > 0.999


def structure() -> gemmi.Structure:
    """A few hundred carbon atoms at random in P 4."""
    rng = np.random.default_rng(5)
    out = gemmi.Structure()
    out.cell, out.spacegroup_hm = gemmi.UnitCell(50, 50, 70, 90, 90, 90), "P 4"
    model, chain = gemmi.Model(1), gemmi.Chain("A")
    for k, position in enumerate(rng.random((60, 3)) * (25, 25, 70)):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(k + 1))
        atom = gemmi.Atom()
        atom.name, atom.element, atom.b_iso, atom.occ = "CA", gemmi.Element("C"), 30.0, 1.0
        atom.pos = gemmi.Position(*position)
        residue.add_atom(atom)
        chain.add_residue(residue)
    model.add_chain(chain)
    out.add_model(model)
    out.setup_cell_images()
    return out


def test_a_structure_can_be_the_reference(run_step, tmp_path):
    (hkl, values), group = from_structure(structure(), ReferenceModelOptions())
    assert group.xhm() == "P 4"
    structure().make_pdb_string()
    structure().write_pdb(str(tmp_path / "model.pdb"))
    moved = hkl[:, [1, 0, 2]] * (1, 1, -1)
    other = data(tmp_path, "b", crystal(), moved, values)
    table = read_reflections(
        run_step("reindex", *other, f"reference.file={tmp_path / 'model.pdb'}").outputs["reflections"]
    )
    assert correlation((table["miller_index"], values), (hkl, values), group)[0] > 0.99


def test_bulk_solvent_weakens_low_resolution():
    dry, _ = from_structure(structure(), ReferenceModelOptions(k_sol=0))
    wet, _ = from_structure(structure(), ReferenceModelOptions())
    d = gemmi.UnitCell(50, 50, 70, 90, 90, 90).calculate_d_array(dry[0])
    change = np.abs(wet[1] - dry[1]) / dry[1].mean()
    assert change[d > 15].mean() > 2 * change[d < 3.2].mean() > 0


@pytest.mark.parametrize(
    ("words", "error", "match"),
    [
        (["change_of_basis_op=a,b"], OptionError, "no change of basis"),
        (["change_of_basis_op=-a,-b,-c"], OptionError, "left-handed"),
        (["change_of_basis_op=b,c,a", "space_group=Q5"], OptionError, "not a space group"),
        (["change_of_basis_op=2a,b,c"], OptionError, "does not hold"),
        (["reference.reflections=absent.refl"], OptionError, "needs reference.experiments"),
        (["change_of_basis_op=b,c,a", "reference.file=a.mtz"], OptionError, r"_op= and reference\.file= both"),
        (["change_of_basis_op=b,c,a", "reference.experiments=a.expt"], OptionError, "Leave one of them out"),
        (["reference.file=absent.mtz"], DataError, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(run_step, pair, words, error, match):
    with pytest.raises(error, match=match):
        run_step("reindex", *pair, *words)


def test_damaged_references_are_told(run_step, tmp_path, pair):
    for name in ("bad.mtz", "bad.cif", "bad.pdb"):
        (tmp_path / name).write_text("nonsense")
        with pytest.raises(DataError, match=name):
            run_step("reindex", *pair, f"reference.file={tmp_path / name}")


def test_something_is_needed(run_step, pair):
    with pytest.raises(UsageError, match="needs an experiment list"):
        run_step("reindex")
    with pytest.raises(OptionError, match="nothing to go by"):
        run_step("reindex", pair[0], "change_of_basis_op=auto")
    with pytest.raises(OptionError, match="nothing to go by"):
        run_step("reindex", pair[1], f"reference.experiments={pair[0]}")


def test_the_change_is_told_from_positions():
    e = tiny_experiment()
    rng = np.random.default_rng(0)
    n = 60
    table = ReflectionTable(
        {
            "id": np.zeros(n, np.int32),
            "panel": np.zeros(n, np.uint64),
            "xyzobs.px.value": np.column_stack([rng.uniform(5, 100, n), rng.uniform(5, 90, n), rng.uniform(0, 10, n)]),
            "miller_index": np.zeros((n, 3), np.int32),
        }
    )
    with pytest.raises(DataError, match="Too few"):
        from_positions(table, ExperimentList([e]))


def test_crystals_are_compared(run_step, tmp_path, pair):
    small = rotation_matrix((0, 1, 0), np.radians(3))
    other = data(
        tmp_path, "b", ChangeOfBasis.parse("-b,a,c").crystal(Crystal(small @ crystal().A, "P 4")), *intensities()
    )
    third = data(tmp_path, "c", Crystal(small @ small @ crystal().A, "P 4"), *intensities())
    run_step("compare_orientation_matrices", pair[0], other[0], third[0], "hkl=0,0,2")
    told = Path("xtal.compare_orientation_matrices.log").read_text()
    assert told.count("Rotation of 3.000 degrees about axis (0.000, 1.000, 0.000)") == 2
    assert told.count("Rotation of 6.000") == 1
    assert told.count("(0,0,2): ") == 3
    run_step("compare_orientation_matrices", pair[0], other[0], third[0], "comparison=sequential", "space_group=P1")
    assert Path("xtal.compare_orientation_matrices.log").read_text().count("Rotation of") == 2
    run_step("compare_orientation_matrices", pair[0], pair[0])  # two states of one data set
    told = Path("xtal.compare_orientation_matrices.log").read_text()
    assert "Rotation of 0.000 degrees" in told and "2 crystals, turned by 0.000° against one another" in told
    with pytest.raises(DataError, match="only one crystal"):
        run_step("compare_orientation_matrices", pair[0])
