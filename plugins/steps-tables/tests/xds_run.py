"""A folder as XDS leaves it, written from an experiment by the formulas of XDS itself (Kabsch 2010)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xtal.models import Experiment, rotation_matrix
from xtal.testing import tiny_experiment


def experiment() -> Experiment:
    """A tiny scan in the frame that importing from XDS gives: axis +X, the source as near to +Z as it can be."""
    e = tiny_experiment(10)
    e.beam.direction = np.array([0.01, 0.0, 1.0]) / np.linalg.norm([0.01, 0.0, 1.0])
    e.crystal.A = rotation_matrix((1, 2, 3), 0.3) @ e.crystal.A
    return e


def words(values: object, places: int = 9) -> str:
    return " ".join(f"{x:.{places}f}" for x in np.ravel(values))


class XdsRun:
    """Texts of the files; the frame of XDS has the detector's fast axis along x and its slow axis along y."""

    def __init__(self, e: Experiment) -> None:
        self.e, self.panel = e, e.detector[0]
        p = self.panel
        self.frame = np.array([p.fast_axis, p.slow_axis, np.cross(p.fast_axis, p.slow_axis)])
        self.axis, self.beam = self.frame @ e.goniometer.axis, self.frame @ e.beam.s0
        self.real = np.linalg.inv(e.crystal.A) @ self.frame.T
        self.distance = float(p.origin @ p.normal)
        foot = -np.array([p.origin @ p.fast_axis, p.origin @ p.slow_axis]) / p.pixel_size
        self.org = foot + 0.5  # XDS counts the first pixel's centre as 1, we as 0.5

    def header(self, *, axes: bool = True) -> list[str]:
        e, p = self.e, self.panel
        lines = [
            f"SPACE_GROUP_NUMBER= {e.crystal.space_group.number}",
            f"UNIT_CELL_CONSTANTS= {words(e.crystal.cell.parameters, 4)}",
            f"NX= {p.image_size[0]} NY= {p.image_size[1]} QX= {p.pixel_size[0]} QY= {p.pixel_size[1]}",
            f"STARTING_FRAME= {e.scan.image_range[0]}",
            f"STARTING_ANGLE= {e.scan.oscillation_deg[0]}",
            f"OSCILLATION_RANGE= {e.scan.oscillation_deg[1]}",
            f"ROTATION_AXIS= {words(self.axis)}",
            f"X-RAY_WAVELENGTH= {e.beam.wavelength}",
            f"INCIDENT_BEAM_DIRECTION= {words(self.beam)}",
            "DIRECTION_OF_DETECTOR_X-AXIS= 1.0 0.0 0.0",
            "DIRECTION_OF_DETECTOR_Y-AXIS= 0.0 1.0 0.0",
            f"ORGX= {self.org[0]:.6f} ORGY= {self.org[1]:.6f}",
            f"DETECTOR_DISTANCE= {self.distance:.6f}",
        ]
        if axes:
            lines += [f"UNIT_CELL_{n}-AXIS= {words(v, 6)}" for n, v in zip("ABC", self.real, strict=True)]
        return lines

    def xds_inp(self, *more: str) -> str:
        first, last = self.e.scan.image_range
        lines = [
            "! geometry, written by a test",
            "DETECTOR=PILATUS MINIMUM_VALID_PIXEL_VALUE=0 OVERLOAD=60000",
            "SENSOR_THICKNESS= 0.32  ! mm",
            "FRACTION_OF_POLARIZATION= 0.98",
            "POLARIZATION_PLANE_NORMAL= 0 1 0",
            "NAME_TEMPLATE_OF_DATA_FRAMES= ../img/x_????.cbf CBF",
            f"DATA_RANGE= {first} {last}",
            "UNTRUSTED_RECTANGLE= 10 14 0 101",
            "JOB= XYCORR INIT",
            "REFINE(INTEGRATE)= ORIENTATION",
            *self.header(axes=False),
            *more,
        ]
        return "\n".join(lines) + "\n"

    def xparm(self, version: int = 2) -> str:
        e, p = self.e, self.panel
        scan = f"{e.scan.image_range[0]} {words(e.scan.oscillation_deg, 4)} {words(self.axis)}"
        beam = f"{e.beam.wavelength} {words(self.beam)}"
        cell = f"{e.crystal.space_group.number} {words(e.crystal.cell.parameters, 4)}"
        axes = [words(v, 6) for v in self.real]
        nx, ny = p.image_size
        size = f"{nx} {ny} {words(p.pixel_size, 6)}"
        frame = ["1 0 0", "0 1 0", "0 0 1"]
        if version == 1:
            lines = [scan, beam, size, f"{self.distance:.6f} {words(self.org, 6)}", *frame, cell, *axes]
        else:
            segment = [f"1 1 {nx} 1 {ny}", "0 0 0 1 0 0 0 1 0"]
            head = [" XPARM.XDS    VERSION for a test", scan, beam, cell, *axes]
            lines = [*head, f"1 {size}", f"{words(self.org, 6)} {self.distance:.6f}", *frame, *segment]
        return "\n".join(lines) + "\n"

    def positions(self, hkl: np.ndarray, phi: np.ndarray) -> np.ndarray:
        """(n, 2) XDS's detector coordinates of reflections at rotation angles: X = ORGX + F S.X / (S.N QX)."""
        out = []
        for h, angle in zip(hkl, phi, strict=True):
            r = rotation_matrix(self.axis, angle) @ (np.linalg.inv(self.real) @ h)
            s = self.beam + r
            out.append(self.org + self.distance * s[:2] / s[2] / np.array(self.panel.pixel_size))
        return np.array(out)

    def integrate_hkl(self, rows: np.ndarray, *, model: str = "4.0 0.0001", items: int = 20) -> str:
        head = ["OUTPUT_FILE=INTEGRATE.HKL    DATE= 1-Jan-2026", *self.header()]
        head += ["NAME_TEMPLATE_OF_DATA_FRAMES=../img/x_????.cbf", "DETECTOR=PILATUS", "MINPK= 75.0", "CUT= 2.0"]
        head += ["PROFILE_FITTING= TRUE"]
        head += ["BEAM_DIVERGENCE_E.S.D.= 0.058", "REFLECTING_RANGE_E.S.D.= 0.157", f"VARIANCE_MODEL= {model}"]
        head += [f"NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD={items}", "END_OF_HEADER"]
        data = [" ".join([*(str(int(v)) for v in row[:3]), *(f"{v:.9g}" for v in row[3:])]) for row in rows]
        return "\n".join([*(f"!{line}" for line in head), *data, "!END_OF_DATA"]) + "\n"

    def xds_ascii(self) -> str:
        lines = ["FORMAT=XDS_ASCII    MERGE=FALSE    FRIEDEL'S_LAW=TRUE", *self.header(), "END_OF_HEADER"]
        return "\n".join(f"!{line}" for line in lines) + "\n!END_OF_DATA\n"

    def write(self, folder: Path, **files: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        names = {"inp": "XDS.INP", "xparm": "XPARM.XDS", "gxparm": "GXPARM.XDS", "integrate": "INTEGRATE.HKL",
                 "spot": "SPOT.XDS", "ascii": "XDS_ASCII.HKL", "lp": "INTEGRATE.LP"}  # fmt: skip
        for name, text in files.items():
            (folder / names[name]).write_text(text)
        return folder


def integrate_rows(run: XdsRun, seed: int = 0) -> np.ndarray:
    """Rows of INTEGRATE.HKL of predicted reflections; a third of them were not observed."""
    from xtal.physics.prediction import predict_all

    rng = np.random.default_rng(seed)
    run.panel.parallax = False
    predicted = predict_all(run.e, 2.5)
    predicted = predicted.select(np.argsort(predicted["xyzcal.px"][:, 2], kind="stable")[::7])
    hkl, z, n = predicted["miller_index"], predicted["xyzcal.px"][:, 2], len(predicted)
    xy = run.positions(hkl, run.e.scan.phi(z))
    rows = np.zeros((n, 20))
    rows[:, :3] = hkl
    rows[:, 3], rows[:, 4] = rng.normal(50, 40, n), rng.uniform(2, 20, n)
    rows[:, 5:8] = np.column_stack([xy, z - run.e.scan.array_range[0]])
    rows[:, 8], rows[:, 9], rows[:, 10], rows[:, 11] = rng.uniform(0.5, 2, n), rng.uniform(50, 100, n), 90, 9
    rows[:, 12:15] = rows[:, 5:8] + rng.normal(0, 0.1, (n, 3))
    rows[::3, 12:15] = 0
    return rows
