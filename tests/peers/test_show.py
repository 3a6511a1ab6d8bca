"""What show prints beside what dials.show (DIALS 3.12) prints."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from xtal.testing import shared_dir, simulated

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.show") is None, reason="DIALS 3.12 is not installed: no peer to ask"),
]


@pytest.mark.parametrize("case", ["simulated", "panels"])
def test_statistics_of_images_are_the_peers(run_step: Any, case: str) -> None:
    images = sorted(simulated("sim_small").glob("*.cbf"))[:3]
    if case == "panels":
        images = [shared_dir() / "data/images/TIMEPIX_SU_512-stdgoni_0001.img"]
    run_step("import", *map(str, images))
    words = ["imported.expt", "image_statistics.show_raw=True", "image_statistics.show_corrected=True"]
    done = subprocess.run(["dials.show", *words], capture_output=True, text=True, check=True)
    theirs = re.findall(r"^(\S+): Min: (\S+) Q1: (\S+) Med: (\S+) Q3: (\S+) Max: (\S+)$", done.stdout, re.MULTILINE)
    run_step("show", *words)
    lines = (line.split() for line in Path("xtal.show.log").read_text().splitlines())
    ours = [tuple(line) for line in lines if len(line) == 6 and line[0] in {p.name for p in images}]
    assert len(theirs) == 2 * len(images)
    assert ours == theirs
