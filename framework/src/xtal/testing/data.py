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
