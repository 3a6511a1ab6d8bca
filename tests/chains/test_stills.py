"""Simulated stills of known cell, one by one, against the truth."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.testing import shared_dir, simulated
from xtal.testing.data import truth_python

XTAL = str(Path(sys.executable).parent / "xtal")
KNOWN = ("space_group=P43212", "unit_cell=79.1,79.1,38.2,90,90,90")
N = 20


@pytest.fixture(scope="module")
def score(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What the scorer says of the first stills, and what index printed."""
    folder, data = tmp_path_factory.mktemp("stills"), simulated("sim_stills")
    images = sorted(map(str, data.glob("*.cbf")))[:N]
    for words in (
        ["import", *images],
        ["find_spots", "imported.expt"],
        ["index", "imported.expt", "strong.refl", *KNOWN],
    ):
        done = subprocess.run([XTAL, "run", *words], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    scorer = [truth_python(), str(shared_dir() / "tools" / "compare_index.py"), str(data), "--json"]
    files = [str(folder / f"indexed.{kind}") for kind in ("expt", "refl")]
    scored = subprocess.run([*scorer, *files], capture_output=True, text=True, check=True)
    return json.loads(scored.stdout), done.stdout


@pytest.mark.slow
def test_every_still_is_indexed_right(score: tuple[dict[str, Any], str]) -> None:
    found, text = score
    crystals = found["crystals"]
    assert len(crystals) == N
    assert [c["lattice"] for c in crystals] == list(range(N))
    assert found["correct_fraction"] > 0.9995 and found["wrong_of_indexed"] < 5e-4
    assert all(abs(c["volume_ratio"] - 1) < 0.005 for c in crystals)
    off = np.abs([c["cell_error_percent"] for c in crystals])
    assert np.median(off) < 0.05 and off.max() < 0.15
    turned = [c["orientation"]["middle_deg"] for c in crystals]
    assert np.median(turned) < 0.01 and max(turned) < 0.03
    assert "Δψ (°)" in text and "z (images)" not in text
