"""Data that tests use; where they are missing a test skips and says so."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xtal.models import Experiment
    from xtal.table import ReflectionTable


def _skip(why: str) -> None:
    import pytest

    pytest.skip(why)


def shared_dir() -> Path:
    """Folder of reference data and tools shared by the project, or skip.

    It is the folder that ``$XTAL_SHARED`` names, or ``shared`` beside the checkout.
    """
    candidates = [Path(os.environ["XTAL_SHARED"])] if os.environ.get("XTAL_SHARED") else []
    for parent in Path(__file__).resolve().parents:
        candidates.append(parent / "shared")
    for path in candidates:
        if (path / "tools" / "simulate_truth.py").is_file():
            return path
    _skip("the shared reference data are missing: set XTAL_SHARED to their folder")
    raise AssertionError


def load_module(path: Path) -> ModuleType:
    """A Python file as a module: what several tests share stands beside them and is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def truth_python() -> str:
    """A Python that runs the truth tools: ``$XTAL_TRUTH_PYTHON``, else this one."""
    return os.environ.get("XTAL_TRUTH_PYTHON", sys.executable)


@cache
def simulated(name: str) -> Path:
    """Data folder of a preset of the truth simulator; made on first use (cached in the home folder), or skip."""
    script = shared_dir() / "tools" / "simulate_truth.py"
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [truth_python(), str(script), name], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        _skip(f"the truth simulator cannot make {name}: {done.stderr.strip().splitlines()[-1:]}")
    return Path(done.stdout.strip().splitlines()[-1])


def tiny_experiment(n_images: int = 10, size: tuple[int, int] = (120, 100)) -> Experiment:
    """A small rotation experiment with a crystal: 1 Å beam, one panel, 0.5 degree per image.

    Parameters
    ----------
    n_images
        Images of the scan.
    size
        (fast, slow) pixels of 0.2 mm, 60 mm from the sample.
    """
    from xtal.models import Beam, Crystal, Detector, Experiment, Goniometer, Panel, Scan
    from xtal.models.crystal import b_matrix

    pixel = 0.2
    origin = (-size[0] * pixel / 2, size[1] * pixel / 2, -60.0)
    panel = Panel((1, 0, 0), (0, -1, 0), origin, size, (pixel, pixel), (0, 60000))
    crystal = Crystal(b_matrix((40, 50, 60, 90, 90, 90)), " P 2 2ab")
    crystal.space_group = "P 21 21 21"
    return Experiment(
        beam=Beam(1.0),
        detector=Detector([panel]),
        goniometer=Goniometer(),
        scan=Scan((1, n_images), (0.0, 0.5)),
        crystal=crystal,
        identifier="tiny",
    )


def observations(experiment: Experiment, n: int = 400, seed: int = 2) -> ReflectionTable:
    """Integrated observations of a tiny experiment, all over the detector and the scan."""
    import numpy as np

    from xtal.table import Flag, ReflectionTable

    rng = np.random.default_rng(seed)
    panel, scan = experiment.detector[0], experiment.scan
    assert scan is not None and experiment.crystal is not None
    xyz = np.column_stack([rng.uniform(5, s - 5, n) for s in panel.image_size] + [rng.uniform(0, scan.n_images, n)])
    s1 = panel.s1(xyz[:, :2], experiment.beam.wavelength)
    phi = scan.phi(xyz[:, 2])
    intensity = rng.exponential(500.0, n)
    bbox = np.column_stack([np.floor(xyz[:, k]) + o for k in range(3) for o in (-2, 3)]).astype(np.int32)
    table = ReflectionTable(identifiers={0: experiment.identifier}, n_rows=n)
    table["miller_index"] = rng.integers(1, 8, (n, 3)).astype(np.int32)
    table["id"] = np.zeros(n, dtype=np.int32)
    table["panel"] = np.zeros(n, dtype=np.uint64)
    table["s1"] = s1
    table["xyzobs.px.value"] = table["xyzcal.px"] = xyz
    mm = panel.px_to_mm(xyz[:, :2])
    table["xyzobs.mm.value"] = table["xyzcal.mm"] = np.column_stack([mm, phi])
    table["d"] = 1 / np.linalg.norm(s1 - experiment.beam.s0, axis=1)
    table["bbox"] = bbox
    table["entering"] = np.zeros(n, dtype=bool)
    table["partiality"] = np.ones(n)
    table["lp"] = table["qe"] = np.ones(n)
    for kind in ("sum", "prf"):
        table[f"intensity.{kind}.value"] = intensity
        table[f"intensity.{kind}.variance"] = intensity + 20.0
    table["intensity.scale.value"] = intensity
    table["intensity.scale.variance"] = intensity + 20.0
    table["inverse_scale_factor"] = np.ones(n)
    table["inverse_scale_factor_variance"] = np.full(n, 1e-4)
    table["background.mean"] = np.full(n, 2.0)
    table["background.sum.value"], table["background.sum.variance"] = np.full(n, 50.0), np.full(n, 60.0)
    table["num_pixels.foreground"] = np.full(n, 25, dtype=np.int32)
    table["zeta"] = np.full(n, 0.8)
    flags = Flag.PREDICTED | Flag.OBSERVED | Flag.INDEXED | Flag.INTEGRATED | Flag.SCALED
    table["flags"] = np.full(n, int(flags), dtype=np.uint64)
    return table
