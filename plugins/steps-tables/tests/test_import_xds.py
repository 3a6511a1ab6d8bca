"""The step import_xds, on folders written by the formulas of XDS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError, UsageError
from xtal.files import read_experiments, read_reflections
from xtal.plugins import default_plugins
from xtal.run.help import usage
from xtal.table import Flag
from xtal.testing import load_module
from xtal_steps_tables.xds_files import keywords

xds_run = load_module(Path(__file__).with_name("xds_run.py"))


@pytest.fixture
def run() -> xds_run.XdsRun:
    return xds_run.XdsRun(xds_run.experiment())


@pytest.fixture
def imported(run_step, tmp_path, run):
    """Import a folder with these files, and options; the experiment and the table (or None)."""

    def call(*words, **files):
        folder = run.write(tmp_path / "xds", **{"inp": run.xds_inp(), **files})
        outputs = run_step("import_xds", folder, *words).outputs
        (e,) = read_experiments(outputs["experiments"])
        table = read_reflections(outputs["reflections"]) if "reflections" in outputs else None
        return e, table

    return call


@pytest.mark.parametrize("source", ["xparm", "old", "gxparm", "integrate", "ascii"])
def test_the_geometry_comes_back(imported, run, source):
    """An experiment written in the frame of XDS and imported again is the same one."""
    texts = {
        "xparm": {"xparm": run.xparm()},
        "old": {"xparm": run.xparm(1)},
        "gxparm": {"gxparm": run.xparm()},
        "integrate": {"integrate": run.integrate_hkl(xds_run.integrate_rows(run))},
        "ascii": {"ascii": run.xds_ascii()},
    }[source]
    e, _ = imported(**texts)
    wanted = run.e
    np.testing.assert_allclose(e.beam.s0, wanted.beam.s0, atol=1e-7)
    np.testing.assert_allclose(e.goniometer.axis, wanted.goniometer.axis, atol=1e-7)
    np.testing.assert_allclose(e.detector[0].d_matrix, wanted.detector[0].d_matrix, atol=1e-4)
    np.testing.assert_allclose(e.crystal.A, wanted.crystal.A, atol=1e-7)
    assert e.crystal.space_group == wanted.crystal.space_group
    assert e.scan.image_range == (1, 10)
    assert e.scan.oscillation_deg == (0.0, 0.5)
    panel = e.detector[0]
    assert panel.trusted_range == (0, 60000)
    assert (panel.material, panel.thickness, panel.parallax) == ("Si", 0.32, True)
    assert panel.mu == pytest.approx(4.2, abs=0.1)
    assert panel.mask == [(10, 0, 13, 100)]
    assert e.beam.polarization_fraction == 0.98
    assert e.images.template.endswith("/xds/../img/x_####.cbf")


def test_scans_that_start_later(imported, run):
    text = run.xds_inp().replace("DATA_RANGE= 1 10", "DATA_RANGE= 4 6")
    e, _ = imported(inp=text, xparm=run.xparm())
    assert e.scan.image_range == (4, 6)
    assert e.scan.oscillation_deg == (1.5, 0.5)


def test_positions_of_xds_are_those_that_we_predict(imported, run):
    """X of XDS counts from 1 at the centre of the first pixel: half a pixel more than ours."""
    from xtal.physics.prediction import predict_all

    text = run.integrate_hkl(xds_run.integrate_rows(run))
    e, table = imported(inp=run.xds_inp().replace("DETECTOR=PILATUS", "DETECTOR=CCD"), integrate=text)
    predicted = predict_all(e, 2.4)
    places: dict[tuple[int, ...], list[np.ndarray]] = {}
    for hkl, place in zip(predicted["miller_index"].tolist(), predicted["xyzcal.px"], strict=True):
        places.setdefault(tuple(hkl), []).append(place)
    differences = [
        min((np.abs(p - place) for p in places.get(tuple(hkl), [])), key=np.sum, default=np.full(3, np.nan))
        for hkl, place in zip(table["miller_index"].tolist(), table["xyzcal.px"], strict=True)
    ]
    assert np.mean(np.isfinite(differences)) > 0.95
    assert np.nanmax(differences) < 2e-3


def test_columns_of_integrate_hkl(imported, run):
    rows = xds_run.integrate_rows(run)
    e, table = imported(integrate=run.integrate_hkl(rows))
    back = rows[:, 9] / 100 / rows[:, 8]
    np.testing.assert_array_equal(table["miller_index"], rows[:, :3])
    np.testing.assert_allclose(table["intensity.prf.value"], rows[:, 3] * back, rtol=1e-6)
    np.testing.assert_allclose(table["intensity.cor.variance"], rows[:, 4] ** 2, rtol=1e-6)
    variance = (rows[:, 4] * back) ** 2 / 4 - 1e-4 * (rows[:, 3] * back) ** 2
    variance = np.where(variance > 0, variance, (rows[:, 4] * back) ** 2)
    np.testing.assert_allclose(table["intensity.prf.variance"], variance, rtol=1e-5)
    seen = np.any(rows[:, 12:15] != 0, axis=1)
    np.testing.assert_array_equal(table.has_flags(Flag.NOT_SUITABLE_FOR_REFINEMENT), ~seen)
    np.testing.assert_array_equal(table.has_flags(Flag.STRONG), seen)
    assert table.has_flags(Flag.INTEGRATED | Flag.PREDICTED).all()
    np.testing.assert_array_equal(table["xyzobs.px.value"][~seen], table["xyzcal.px"][~seen])
    np.testing.assert_allclose(table["xyzobs.px.value"][seen], rows[seen, 12:15] - (0.5, 0.5, 0), atol=1e-6)
    np.testing.assert_allclose(table["d"], 1 / np.linalg.norm(rows[:, :3] @ e.crystal.A.T, axis=1), rtol=1e-9)
    np.testing.assert_array_equal(table["batch"], np.floor(rows[:, 7]) + 1)
    np.testing.assert_allclose(table["partiality"], rows[:, 9] / 100, rtol=1e-6)
    assert np.all((np.abs(table["zeta"]) <= 1) & (table["lp"] > 0) & (table["qe"] > 0))
    np.testing.assert_allclose(np.linalg.norm(table["s1"], axis=1), 1 / e.beam.wavelength)
    assert table.identifiers == {0: e.identifier}


def test_indices_follow_the_axes_of_the_models(imported, run):
    """Models from XPARM.XDS whose axes are those of INTEGRATE.HKL in another order."""
    rows = xds_run.integrate_rows(run)
    integrate = run.integrate_hkl(rows)
    run.real = run.real[[1, 2, 0]]
    e, table = imported("xds_file=XPARM.XDS", integrate=integrate, xparm=run.xparm())
    np.testing.assert_array_equal(table["miller_index"], rows[:, [1, 2, 0]])
    np.testing.assert_allclose(table["rlp"][1::3], table["miller_index"][1::3] @ e.crystal.A.T, atol=0.02)


def test_other_crystals_are_refused(imported, run):
    integrate = run.integrate_hkl(xds_run.integrate_rows(run))
    run.real = run.real * 1.3
    with pytest.raises(DataError, match="no whole sums"):
        imported("xds_file=XPARM.XDS", integrate=integrate, xparm=run.xparm())


SPOTS = "10.5 20.5 3.2 100. 1 2 3\n30.5 40.5 4.5 50. 0 0 0\n"


def test_spots(imported, run):
    _, table = imported(xparm=run.xparm(), spot=SPOTS)
    assert table["xyzobs.px.value"].tolist() == [[10, 20, 3.2], [30, 40, 4.5]]
    assert table["miller_index"].tolist() == [[1, 2, 3], [0, 0, 0]]
    assert table.has_flags(Flag.STRONG).all()
    assert Path("spot_xds.refl").exists()


def test_files_go_to_the_folder_that_their_names_have(imported, run):
    Path("out").mkdir()
    imported("output.reflections=out/a.refl", "output.experiments=out/a.expt", xparm=run.xparm(), spot=SPOTS)
    assert {p.name for p in Path("out").iterdir()} >= {"a.expt", "a.refl"}


def test_spots_without_an_index_can_go_and_columns_can_come(imported, run):
    _, table = imported("remove_invalid=True", "add_standard_columns=True", xparm=run.xparm(), spot=SPOTS)
    assert len(table) == 1
    assert table["xyzobs.mm.variance"].tolist() == [[1, 1, 1]]
    assert table["intensity.prf.value"].tolist() == [0]


def test_spots_may_have_no_index(imported, run):
    _, table = imported(xparm=run.xparm(), spot="10.5 20.5 3.2 100.\n")
    assert "miller_index" not in table


def test_crystals_of_blocks(imported, run):
    blocks = [(1, 4, 1.0), (5, 10, 1.01)]
    text = "".join(
        f"\n PROCESSING OF IMAGES {a:8} ... {b:8}\n"
        + "".join(f" COORDINATES OF UNIT CELL {n}-AXIS {xds_run.words(v * s, 6)}\n" for n, v in zip("ABC", run.real))
        for a, b, s in blocks
    )
    e, _ = imported("read_varying_crystal=True", xparm=run.xparm(), lp=text)
    points = e.crystal.A_at_scan_points
    assert len(points) == 11
    np.testing.assert_allclose(points[3], run.e.crystal.A, atol=1e-7)
    np.testing.assert_allclose(points[4], run.e.crystal.A / 1.01, atol=1e-7)
    np.testing.assert_allclose(points[10], points[9])
    with pytest.raises(DataError, match="says nothing of image 5"):
        imported("read_varying_crystal=True", xparm=run.xparm(), lp=text[: text.index("PROCESSING", 40)])
    with pytest.raises(DataError, match="one unit cell for each block"):
        imported("read_varying_crystal=True", xparm=run.xparm(), lp="nothing")


def test_segments_are_panels(imported, run):
    """Two halves of the detector, the second lifted by 2 mm and shifted by a pixel."""
    nx, ny = run.panel.image_size
    lines = [f"SEGMENT= 1 {nx // 2} 1 {ny}", "SEGMENT_ORGX= 0 SEGMENT_ORGY= 0 SEGMENT_DISTANCE= 0",
             "DIRECTION_OF_SEGMENT_X-AXIS= 1 0 0", "DIRECTION_OF_SEGMENT_Y-AXIS= 0 1 0",
             f"SEGMENT= {nx // 2 + 1} {nx} 1 {ny}", "SEGMENT_ORGX= 1 SEGMENT_ORGY= 0 SEGMENT_DISTANCE= 2",
             "DIRECTION_OF_SEGMENT_X-AXIS= 1 0 0", "DIRECTION_OF_SEGMENT_Y-AXIS= 0 1 0"]  # fmt: skip
    ascii_file = run.xds_ascii().replace("!END_OF_HEADER", "\n".join(f"!{x}" for x in lines) + "\n!END_OF_HEADER")
    e, table = imported(ascii=ascii_file, spot="10.5 20.5 3.2 100. 1\n80.5 40.5 4.5 50. 2\n")
    first, second = e.detector
    whole = run.panel
    np.testing.assert_allclose(first.origin, whole.origin, atol=1e-4)
    step = (nx // 2 - 1) * whole.pixel_size[0] * whole.fast_axis
    np.testing.assert_allclose(second.origin, whole.origin + step + 2 * whole.normal, atol=1e-4)
    assert second.raw_image_offset == (nx // 2, 0)
    assert first.mask == [(10, 0, 13, 100)]
    assert second.mask == []
    assert table["panel"].tolist() == [0, 1]
    assert table["xyzobs.px.value"][1].tolist() == [80 - nx // 2, 40, 4.5]
    with pytest.raises(DataError, match="names segment 3"):
        imported(ascii=ascii_file, spot="10.5 20.5 3.2 100. 3\n")


def test_keywords():
    found = keywords("A=1 B= 2 3 ! C=4\nREFINE(CORRECT)= \nMINIMUM_I/SIGMA=50\nA=5\n! D=1\nFRIEDEL'S_LAW=TRUE")
    assert found["A"] == ["1", "5"]
    assert found["B"] == ["2 3"]
    assert set(found) == {"A", "B", "REFINE(CORRECT)", "MINIMUM_I/SIGMA", "FRIEDEL'S_LAW"}


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "holds no INTEGRATE.HKL or XPARM"),
        ({"xparm": "nonsense"}, "is no XPARM"),
        ({"xparm": " XPARM.XDS\n1 2 3\n"}, "is no XPARM"),
        ({"integrate": "!OUTPUT_FILE=INTEGRATE.HKL\n!END_OF_HEADER\n"}, "lacks the keyword"),
        ({"inp": "DETECTOR=PILATUS\n"}, "lacks the keyword DATA_RANGE"),
        ({"spot": "1 2 3\n"}, "3 values in a line where"),
        ({"spot": "1 2 x 4\n"}, "cannot be read"),
        ({"spot": ""}, "holds no reflections"),
        ({"spot": "1 2 nan 4\n"}, "numbers are expected"),
    ],
)
def test_damaged_files_are_told(imported, run, files, match):
    needed = {} if not files or "xparm" in files or "integrate" in files else {"xparm": run.xparm()}
    with pytest.raises(DataError, match=match):
        imported(**{**needed, **files})


@pytest.mark.parametrize("number", ["300", "1e30"])
def test_a_space_group_that_is_none_is_told(imported, run, number):
    lines = run.xparm().splitlines()
    lines[3] = " ".join([number, *lines[3].split()[1:]])
    with pytest.raises(DataError, match="is not a space group"):
        imported(xparm="\n".join(lines) + "\n")


def test_the_folder_is_asked_for_by_its_name(run_step):
    step = default_plugins().find("step", "import_xds")
    assert usage(step) == "xtal run import_xds XDS_FOLDER [name=value ...]"
    with pytest.raises(UsageError, match="needs XDS_FOLDER"):
        run_step("import_xds", "read_varying_crystal=True")


def test_what_is_missing_is_told(run_step, run, tmp_path):
    folder = run.write(tmp_path / "xds", xparm=run.xparm())
    (folder / "xds.inp").write_text(run.xds_inp())
    with pytest.raises(DataError, match=r"Rename xds\.inp to XDS\.INP"):
        run_step("import_xds", folder)
    with pytest.raises(UsageError, match="neither INTEGRATE"):
        run_step("import_xds", folder / "XPARM.XDS")
