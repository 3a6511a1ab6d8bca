"""What is known of Diamond's detectors by serial number. Real images: tests/peers/test_formats.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.files.raw import read_head
from xtal.testing import load_module
from xtal_format_cbf_mini.source import CbfMini
from xtal_format_site_diamond.mini import DiamondMini
from xtal_format_site_diamond.p12m import P12M, ROW_STEP, bad_rectangles

made = load_module(Path(__file__).with_name("diamond_files.py"))
BARREL, write = made.BARREL, made.write


def test_rows_around_the_barrel(tmp_path: Path) -> None:
    path = write(tmp_path / "a_1.cbf", "PILATUS 12M, S/N 120-0100", BARREL)
    assert (P12M().sniff(read_head(path), path), DiamondMini().sniff(read_head(path), path)) == (8, 0)
    source = P12M().open(path)
    _, detector, goniometer, _ = source.models()
    for panel in detector:
        assert abs(abs(panel.normal @ (panel.origin - [0, 0, -10])) - 250) < 1e-9, "every row touches the barrel"
    # where the beam was ideal it meets row 12
    assert [panel.intersect(np.array([[0.0, 0, -1]]))[1][0] for panel in detector].index(True) == 12
    assert goniometer is not None
    assert goniometer.names == ["PHI", "KAPPA", "OMEGA"]
    np.testing.assert_allclose(goniometer.angles_deg, [20, 30, 10])
    out = [np.empty(shape, np.int32) for shape in source.shapes]
    source.read(0, out)
    for j, row in enumerate(out):
        np.testing.assert_array_equal(row, ((np.arange(195) + j * ROW_STEP) % 100)[:, None].repeat(2463, axis=1))


def test_the_axis_of_i23_was_reversed_before_april_2016(tmp_path: Path) -> None:
    path = write(tmp_path / "a_1.cbf", "PILATUS 12M, S/N 120-0100", BARREL, "2016-03-31T12:00:00")
    goniometer = P12M().open(path).models()[2]
    assert goniometer is not None
    np.testing.assert_array_equal(goniometer.axis, [-1, 0, 0])


def test_bad_modules_by_date() -> None:
    day = 86400.0
    assert bad_rectangles(1567468800 - day) == {}  # September 2019
    assert bad_rectangles(1567468800 + day) == {15: [(988, 0, 1475, 195)], 17: [(0, 0, 487, 195)]}
    assert bad_rectangles(1582243200 + day)[15] == [(1976 + 60, 0, 1976 + 120, 97)]  # February 2020
    assert bad_rectangles(1656633600 + day) == {}  # July 2022
    assert len(bad_rectangles(1725148800 + day)[21]) == 5  # September 2024


def test_another_array_is_no_p12m(tmp_path: Path) -> None:
    path = write(tmp_path / "a_1.cbf", "PILATUS 12M, S/N 120-0100", (407, 487))
    with pytest.raises(DataError, match=r"a_1\.cbf"):
        P12M().open(path).models()


@pytest.mark.parametrize(
    ("detector", "more", "axis", "names"),
    [
        ("PILATUS3 6M, S/N 60-0119", {}, (0, 1, 0), []),
        ("PILATUS3 6M, S/N 60-0119", {"axis": "+FAST"}, (-1, 0, 0), []),
        ("PILATUS3 6M, S/N 60-0114", {}, (0, 1, 0), []),
        ("PILATUS3 6M, S/N 60-0126", {}, (1, 0, 0), []),
        ("PILATUS 6M, S/N 60-0100 Diamond", {}, (1, 0, 0), ["GON_PHI", "GON_KAPPA", "GON_OMEGA"]),
        ("EIGER 16M XR4i S/N 160-0001 Diamond", {}, (1, 0, 0), ["GON_PHI", "GON_CHI", "GON_OMEGA"]),
    ],
)
def test_goniometers_by_serial_number(
    tmp_path: Path, detector: str, more: dict[str, object], axis: tuple[int, ...], names: list[str]
) -> None:
    path = write(tmp_path / "a_1.cbf", detector, (407, 487), **more)
    assert DiamondMini().sniff(read_head(path), path) == 8 > CbfMini().sniff(read_head(path), path)
    goniometer = DiamondMini().open(path).models()[2]
    assert goniometer is not None
    np.testing.assert_allclose(goniometer.axis, axis, atol=1e-12)
    assert goniometer.names == names


def test_on_the_mini_kappa_the_crystal_is_turned(tmp_path: Path) -> None:
    """I03: F is the rotation by phi, then by kappa: the kappa axis itself is turned by neither, once phi is 0."""
    path = write(tmp_path / "a_1.cbf", "PILATUS3 6M, S/N 60-0126", (407, 487))
    goniometer = DiamondMini().open(path).models()[2]
    assert goniometer is not None
    fixed = goniometer.fixed_rotation
    np.testing.assert_allclose(fixed @ fixed.T, np.eye(3), atol=1e-12)
    trace = 1 + 2 * np.cos(np.radians(30))
    turn = fixed @ np.linalg.inv(np.array([[1, 0, 0], [0, 0.93969262, -0.34202014], [0, 0.34202014, 0.93969262]]))
    assert np.trace(turn) == pytest.approx(trace, abs=1e-6)


def test_before_a_detector_came_there_nothing_is_known(tmp_path: Path) -> None:
    path = write(tmp_path / "a_1.cbf", "PILATUS 6M, S/N 60-0119", (407, 487), "2014-01-02T03:04:05")
    assert DiamondMini().sniff(read_head(path), path) == 0


def test_conformance(conformance, tmp_path: Path) -> None:
    conformance("format", "diamond_mini", sample=write(tmp_path / "a_1.cbf", "PILATUS3 6M, S/N 60-0126", (407, 487)))
    conformance("format", "diamond_p12m", sample=write(tmp_path / "b_1.cbf", "PILATUS 12M, S/N 120-0100", BARREL))
