"""symmetry, scale, merge and export on drawn integrated intensities, through files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
import pytest

from xtal.errors import AlgorithmFailed, DataError, OptionError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import Crystal, ExperimentList, Scan, rotation_matrix
from xtal.models.crystal import b_matrix
from xtal.physics.symmetry import centric, epsilon, pack, representatives
from xtal.table import Flag, ReflectionTable
from xtal.testing import shared_dir, tiny_experiment

TURNED = np.array([[0, 1.0, 0], [0, 0, 1], [1, 0, 0]])
GROUP, CELL = gemmi.SpaceGroup("P 43 21 2"), gemmi.UnitCell(40, 40, 33, 90, 90, 90)


def truth() -> dict[int, float]:
    """True intensity of each unique reflection, absent ones included as 0."""
    unique = gemmi.make_miller_array(CELL, GROUP, 2.5)
    rng = np.random.default_rng(4)
    wilson = np.where(centric(unique, GROUP), rng.normal(size=len(unique)) ** 2, rng.exponential(size=len(unique)))
    return dict(zip(representatives(unique, GROUP)[0].tolist(), 500 * wilson * epsilon(unique, GROUP), strict=True))


def sweep(k: int, turned: np.ndarray, n_images: int = 120) -> tuple[Any, ReflectionTable]:
    """An experiment and its integrated table: every reflection about once, scales that drift."""
    rng = np.random.default_rng(k)
    grid = np.array(list(np.ndindex(33, 33, 27)), dtype=np.int32) - (16, 16, 13)
    d = np.asarray(CELL.calculate_d_array(np.ascontiguousarray(grid, dtype=np.int32)))
    hkl = grid[(d > 2.5) & np.isfinite(d) & (rng.random(len(d)) < 0.7)].astype(np.int32)
    hkl = hkl[np.any(hkl != 0, axis=1)]
    n, values = len(hkl), truth()
    d = np.asarray(CELL.calculate_d_array(hkl))
    z = rng.uniform(0, n_images, n)
    scale = (1 + 0.2 * np.sin(z / 20) + 0.1 * k) * np.exp(-1.5 * z / n_images / (2 * d**2))
    mean = np.array([values.get(key, 0.0) for key in representatives(hkl, GROUP)[0].tolist()]) * scale
    counts = rng.poisson(mean + 20.0) - 20.0
    experiment = tiny_experiment(n_images)
    experiment.scan, experiment.identifier = Scan((1, n_images), (0.0, 1.0)), f"sweep-{k}"
    experiment.crystal = Crystal(rotation_matrix((1, 2, 3), 0.7 + k) @ b_matrix(CELL)).change_basis(turned)
    s1 = rng.normal(size=(n, 3)) * 0.3 - (0, 0, 1)
    table = ReflectionTable({
        "id": np.full(n, k, np.int32), "miller_index": np.rint(hkl @ turned).astype(np.int32),
        "flags": np.full(n, int(Flag.INTEGRATED), np.uint64), "d": d, "panel": np.zeros(n, np.uint64),
        "s1": s1 / np.linalg.norm(s1, axis=1, keepdims=True), "partiality": np.ones(n),
        "lp": np.ones(n), "qe": np.ones(n),
        "xyzobs.px.value": np.column_stack([rng.uniform(0, 100, (n, 2)), z]),
        "xyzcal.px": np.column_stack([rng.uniform(0, 100, (n, 2)), z]),
        "intensity.prf.value": counts, "intensity.prf.variance": np.maximum(counts, 0) + 20.0,
        "intensity.sum.value": counts, "intensity.sum.variance": np.maximum(counts, 0) + 25.0,
    }, {k: experiment.identifier})  # fmt: skip
    return experiment, table


@pytest.fixture(scope="module")
def integrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps on permuted axes, in P1."""
    folder = tmp_path_factory.mktemp("integrated")
    parts = [sweep(k, TURNED) for k in range(2)]
    write_experiments(ExperimentList([e for e, _ in parts]), folder / "integrated.expt")
    write_reflections(ReflectionTable.concatenate([t for _, t in parts]), folder / "integrated.refl")
    return folder


def files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.expt", folder / f"{name}.refl"]


@pytest.fixture
def chain(integrated: Path, run_step: Any, tmp_path: Path) -> Path:
    """Folder with the outputs of symmetry, scale and merge."""
    run_step("symmetry", *files(integrated, "integrated"))
    run_step("scale", *files(tmp_path, "symmetrized"))
    run_step("merge", *files(tmp_path, "scaled"))
    return tmp_path


def test_chain_comes_back_to_the_truth(chain: Path) -> None:
    symmetrized = read_experiments(chain / "symmetrized.expt")
    assert {e.crystal.space_group.number for e in symmetrized} == {92}
    np.testing.assert_allclose(symmetrized[0].crystal.cell.parameters, CELL.parameters, rtol=1e-6)
    mtz = gemmi.read_mtz_file(str(chain / "merged.mtz"))
    assert mtz.spacegroup.number == 92
    labels = "H K L FreeR_flag IMEAN SIGIMEAN I(+) SIGI(+) I(-) SIGI(-) N(+) N(-) F SIGF F(+) SIGF(+) F(-) SIGF(-)"
    assert mtz.column_labels() == [*labels.split(), "DANO", "SIGDANO"]
    hkl, values = mtz.make_miller_array(), truth()
    true = np.array([values.get(k, np.nan) for k in representatives(hkl, GROUP)[0].tolist()])
    mean, sigma = mtz.column_with_label("IMEAN").array, mtz.column_with_label("SIGIMEAN").array
    d = np.asarray(CELL.calculate_d_array(hkl))
    use = np.isfinite(true) & (mean > 5 * sigma)
    fit = np.polyfit(d[use] ** -2, np.log(mean[use] / true[use]), 1, w=(mean / sigma)[use])
    k = np.exp(np.polyval(fit, d**-2))
    good = np.isfinite(true)
    error = (mean / k - true)[good]
    assert good.mean() > 0.99
    assert np.corrcoef(mean[good] / k[good], true[good])[0, 1] > 0.998
    assert np.median(np.abs(error / (sigma / k)[good])) * 1.4826 == pytest.approx(1.0, abs=0.12)


def test_scaled_files_say_what_was_done(chain: Path) -> None:
    table, experiments = read_reflections(chain / "scaled.refl"), read_experiments(chain / "scaled.expt")
    scaled = table.has_flags(Flag.SCALED)
    assert scaled.mean() > 0.99
    assert not np.any(scaled & table.has_flags(Flag.BAD_FOR_SCALING, any_of=True))
    assert np.all(table["inverse_scale_factor"] > 0)
    for experiment in experiments:
        assert experiment.scaling_model is not None and experiment.scaling_model["__id__"] == "physical"
        assert len(experiment.scaling_model["configuration_parameters"]["error_model_parameters"]) == 2


def test_export_unmerged_and_merged(chain: Path, run_step: Any) -> None:
    run_step("export", *files(chain, "scaled"), "format=mtz")
    mtz = gemmi.read_mtz_file(str(chain / "scaled.mtz"))
    table = read_reflections(chain / "scaled.refl")
    assert mtz.nreflections == int(table.has_flags(Flag.SCALED).sum())
    assert [b.number for b in mtz.batches] == [*range(1, 121), *range(201, 321)]
    batch = mtz.batches[130]
    assert batch.floats[36] == pytest.approx(10.0) and batch.floats[37] == pytest.approx(11.0)
    np.testing.assert_allclose(list(batch.floats)[:6], CELL.parameters, rtol=1e-5)
    u = np.array(list(batch.floats)[6:15])
    assert np.linalg.norm(u) == pytest.approx(np.sqrt(3), rel=1e-5)
    assert mtz.switch_to_original_hkl()
    original = {tuple(h) for h in mtz.make_miller_array().tolist()}
    assert original <= {tuple(h) for h in table["miller_index"].tolist()}
    run_step("export", *files(chain, "symmetrized"))
    labels = gemmi.read_mtz_file(str(chain / "integrated.mtz")).column_labels()
    assert labels[:9] == ["H", "K", "L", "M/ISYM", "BATCH", "IPR", "SIGIPR", "I", "SIGI"]
    run_step("export", *files(chain, "scaled"), "mtz.merged=true", "output.exported=again.mtz")
    ours, again = (gemmi.read_mtz_file(str(chain / name)) for name in ("merged.mtz", "again.mtz"))
    np.testing.assert_array_equal(np.array(ours), np.array(again))


def test_space_group_given(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    run_step("symmetry", *files(integrated, "integrated"), "space_group=P41212")
    assert read_experiments(tmp_path / "symmetrized.expt")[0].crystal.space_group.number == 92
    with pytest.raises(AlgorithmFailed, match="does not have the symmetry"):
        run_step("symmetry", *files(integrated, "integrated"), "space_group=P6")
    with pytest.raises(OptionError, match="not a space group"):
        run_step("symmetry", *files(integrated, "integrated"), "space_group=P99")


def test_ambiguities_are_said(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    """In the summary, which is what ``xtal process`` shows."""
    found = run_step("symmetry", *files(integrated, "integrated")).summary
    assert "P 41 21 2 or P 43 21 2 (the intensities cannot tell them apart)" in found[0]
    assert "ways" not in found[2]
    given = run_step("symmetry", *files(integrated, "integrated"), "space_group=P41").summary
    assert len(given) == 3
    assert given[1] == "Laue group 4/m by the option space_group, but the intensities are of 4/mmm"
    assert "ways" not in given[2]
    log = (tmp_path / "xtal.symmetry.log").read_text()
    assert "not 4/m as given" in log and "2 ways" in log and "do not differ in these intensities" in log
    assert "ways that differ in their intensities" not in log


def test_ambiguities_of_what_has_no_more_symmetry_are_said(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    """The lattice is tetragonal, the intensities are of 4/m alone."""
    table = read_reflections(integrated / "integrated.refl")
    h, k, _ = np.rint(table["miller_index"] @ np.linalg.inv(TURNED)).T
    other = h * k * (h * h - k * k) < 0
    for name in ("intensity.prf.value", "intensity.sum.value"):
        table[name] = np.where(other, 0.2, 1.0) * table[name]
    write_reflections(table, tmp_path / "lower.refl")
    given = run_step("symmetry", integrated / "integrated.expt", tmp_path / "lower.refl", "space_group=P4").summary
    assert given[2].endswith("; other crystals of this kind can be indexed in 2 ways")
    assert "ways that differ in their intensities" in (tmp_path / "xtal.symmetry.log").read_text()


def test_axial_reflections_that_were_seen_are_not_said_to_be_missing(run_step: Any, tmp_path: Path) -> None:
    """Six on the screw axis of real quartz, too strong to be absent and too weak to be there."""
    folder = shared_dir() / "data" / "processed_dials" / "quartz_processed"
    for name, told in (
        ("integrated", "kept from the input: the axial reflections seen (6) do not decide against P 3 2 1"),
        ("scaled", "P 3 2 1, not decided (axial reflections seen: 6): P 31 2 1 fits as well"),
    ):
        assert told in run_step("symmetry", *files(folder, name)).summary[0]
    log = (tmp_path / "xtal.symmetry.log").read_text()
    assert "are missing" not in log and "taken to be there" not in log


def test_screw_axes_that_were_not_observed_are_said(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    """Without reflections on an axis all groups of the Laue class fit; with few intensities two Laue groups do."""
    table = read_reflections(integrated / "integrated.refl")
    axial = (np.asarray(table["miller_index"]) == 0).sum(axis=1) >= 2
    write_reflections(table.select(np.flatnonzero(~axial)), tmp_path / "no_axes.refl")
    found = run_step("symmetry", integrated / "integrated.expt", tmp_path / "no_axes.refl").summary[0]
    assert "not decided (axial reflections seen: 0): " in found and "P 4 2 2" in found and found.endswith("as well")
    few = np.sort(np.random.default_rng(3).choice(len(table), 150, replace=False))
    write_reflections(table.select(few), tmp_path / "few.refl")
    found = run_step("symmetry", integrated / "integrated.expt", tmp_path / "few.refl").summary[1]
    assert "; not sure, next " in found


def test_cuts_are_flagged(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    run_step("scale", *files(integrated, "integrated"), "d_min=3.5", "exclude_images=1:100:120", "anomalous=false")
    table = read_reflections(tmp_path / "scaled.refl")
    out = table.has_flags(Flag.USER_EXCLUDED_IN_SCALING)
    assert np.all(out[table["d"] < 3.5])
    late = (table["id"] == 1) & (table["xyzobs.px.value"][:, 2] > 99)
    assert np.all(out[late]) and not np.all(out[(table["id"] == 1) & ~late])
    assert not np.any(table.has_flags(Flag.SCALED) & out)
    with pytest.raises(OptionError, match="experiment:first:last"):
        run_step("scale", *files(integrated, "integrated"), "exclude_images=3:1")


def test_combined_intensities_and_plain_errors(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    run_step("scale", *files(integrated, "integrated"), "intensity_choice=combine", "error_model=None",
             "outlier_rejection=None", "d_min=4")  # fmt: skip
    table = read_reflections(tmp_path / "scaled.refl")
    assert not table.has_flags(Flag.OUTLIER_IN_SCALING).any()


def test_merging_what_is_not_scaled_is_an_error(integrated: Path, run_step: Any) -> None:
    with pytest.raises(DataError, match="not scaled"):
        run_step("merge", *files(integrated, "integrated"))


def test_symmetry_of_what_is_not_integrated_is_an_error(integrated: Path, run_step: Any, tmp_path: Path) -> None:
    table = read_reflections(integrated / "integrated.refl")
    table["flags"] = np.full(len(table), int(Flag.INDEXED | Flag.STRONG), np.uint64)
    write_reflections(table, tmp_path / "indexed.refl")
    for step in ("symmetry", "scale"):
        with pytest.raises(DataError, match="not integrated"):
            run_step(step, integrated / "integrated.expt", tmp_path / "indexed.refl")


def test_partial_reflections_alone_stop_before_symmetry(run_step: Any, tmp_path: Path) -> None:
    experiment, table = sweep(0, np.eye(3), n_images=1)
    write_experiments(ExperimentList([experiment]), tmp_path / "integrated.expt")
    for partiality, fails in ((0.9, True), (1.0, False)):
        table["partiality"] = np.full(len(table), 0.9)
        table["partiality"][0] = partiality
        write_reflections(table, tmp_path / "integrated.refl")
        if fails:
            with pytest.raises(AlgorithmFailed, match=r"was seen whole on 1° of rotation.*collect a scan"):
                run_step("symmetry", *files(tmp_path, "integrated"))
        else:
            run_step("symmetry", *files(tmp_path, "integrated"))


def test_different_cells_are_told(run_step: Any, tmp_path: Path) -> None:
    parts = [sweep(k, np.eye(3)) for k in range(2)]
    crystal = parts[1][0].crystal
    crystal.A = crystal.A * 1.2
    write_experiments(ExperimentList([e for e, _ in parts]), tmp_path / "two.expt")
    write_reflections(ReflectionTable.concatenate([t for _, t in parts]), tmp_path / "two.refl")
    with pytest.raises(DataError, match="cells of experiments 0 and 1 differ"):
        run_step("symmetry", *files(tmp_path, "two"))
    run_step("scale", *files(tmp_path, "two"))
    assert "Warning: The cells of experiments 0 and 1 differ" in (tmp_path / "xtal.scale.log").read_text()


@pytest.mark.peer
@pytest.mark.skipif(shutil.which("dials.merge") is None, reason="DIALS 3.12 is not installed: no peer to ask")
def test_dials_merges_our_scaled_files_to_the_same_intensities(chain: Path, run_step: Any) -> None:
    command = ["dials.merge", "scaled.expt", "scaled.refl", "anomalous=True", "output.mtz=theirs.mtz"]
    subprocess.run(command, cwd=chain, check=True, capture_output=True)
    ours, theirs = (gemmi.read_mtz_file(str(chain / name)) for name in ("merged.mtz", "theirs.mtz"))
    keys = [pack(m.make_miller_array()) for m in (ours, theirs)]
    assert np.all(np.isin(keys[0], keys[1]))
    order = np.argsort(keys[1])
    at = order[np.searchsorted(keys[1][order], keys[0])]
    for label in ("IMEAN", "SIGIMEAN", "I(+)", "SIGI(+)", "I(-)", "SIGI(-)", "N(+)", "N(-)"):
        expected = theirs.column_with_label(label).array[at]
        np.testing.assert_allclose(ours.column_with_label(label).array, expected, rtol=1e-5, err_msg=label)
    f, theirs_f = ours.column_with_label("F(+)").array, theirs.column_with_label("F(+)").array[at]
    strong = ours.column_with_label("I(+)").array > 5 * ours.column_with_label("SIGI(+)").array
    np.testing.assert_allclose(f[strong], theirs_f[strong], rtol=1e-2)


@pytest.mark.parametrize("fewer", [1, 12, 150])
def test_few_observations_end_in_a_merged_file(
    integrated: Path, run_step: Any, tmp_path: Path, fewer: int, capsys: Any
) -> None:
    """A handful of intensities, and an experiment without any: what cannot be found out is said, nothing stops."""
    table = read_reflections(integrated / "integrated.refl")
    rows = np.flatnonzero(np.asarray(table["id"]) == 0)[5000 : 5000 + fewer]
    few = tmp_path / "few"
    few.mkdir()
    write_reflections(table.select(rows), few / "integrated.refl")
    shutil.copy(integrated / "integrated.expt", few)
    given = [] if fewer == 12 else ["space_group=P43212"]
    found = run_step("symmetry", *files(few, "integrated"), *given)
    run_step("scale", *files(tmp_path, "symmetrized"))
    run_step("merge", *files(tmp_path, "scaled"))
    said = "".join(capsys.readouterr())
    if fewer == 12:
        assert "12 intensities are too few" in said and "12 intensities are too few" in found.summary[0]
    assert "No reflection of experiment 1 is left" in said
    assert "Too few reflections were observed more than once for an error model" in said
    mtz = gemmi.read_mtz_file(str(tmp_path / "merged.mtz"))
    assert 0 < mtz.nreflections <= fewer
    assert mtz.spacegroup.number == (1 if fewer == 12 else 96)
