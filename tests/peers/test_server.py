"""The server beside that of DIALS 3.12: the same figures and the same XML for the same images."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from xtal.plugins import default_plugins
from xtal.testing import shared_dir, simulated
from xtal_steps_server.replies import as_xml
from xtal_steps_server.server import Service

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("dials.find_spots_server") is None, reason="DIALS 3.12 is not installed: no peer"),
]
AS_THEIRS = ";masked_is_background=True"
"""DIALS 3.12 loses strong pixels beside masked ones."""
REAL = ("thau_3_2_0007.cbf.bz2", "thaum_0500.cbf.gz", "DLS_I23_P12M_thau_00001.cbf.gz", "phi_scan_001.cbf")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where DIALS's server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    folder = tmp_path_factory.mktemp("theirs")
    with subprocess.Popen(["dials.find_spots_server", f"port={number}", "nproc=1"], cwd=folder) as server:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", number)).close()
                break
            except OSError:
                time.sleep(0.1)
        yield number
        server.kill()


def image(name: str) -> Path:
    return (
        sorted(simulated("sim_small").glob("*.cbf"))[3] if name == "sim_small" else shared_dir() / "data/images" / name
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, "") for name in ("sim_small", *REAL)),
        ("sim_small", ";d_min=3"),
        ("sim_small", ";ice_rings.filter=False"),
    ],
)
def test_figures_are_those_of_dials(port: int, name: str, words: str) -> None:
    path = image(name)
    with urlopen(f"http://127.0.0.1:{port}{path}{words}", timeout=120) as answer:
        theirs = json.load(answer)
    status, ours, _ = Service(default_plugins(), [], 1, 1).reply(f"{path}{words}{AS_THEIRS}")
    assert status == 200
    assert ours.pop("image") == theirs.pop("image") == str(path)
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert (theirs["n_spots_total"] > 50) == (name != "phi_scan_001.cbf")


def test_the_xml_is_that_of_dials_client(port: int, tmp_path: Path) -> None:
    path = image("sim_small")
    command = ["dials.find_spots_client", f"port={port}", str(path)]
    theirs = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    _, ours, _ = Service(default_plugins(), [], 1, 1).reply(f"{path}{AS_THEIRS}")
    assert as_xml(ours) == theirs.strip()
