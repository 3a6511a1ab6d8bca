"""Every plugin of the repository keeps the contract of its kind (the kit that third parties use)."""

from __future__ import annotations

from pathlib import Path

import pytest

from xtal.hooks import KINDS
from xtal.plugins import default_plugins
from xtal.testing import check_format, shared_dir
from xtal.testing.test_installed import test_contract, test_no_plugin_is_broken

__all__ = ["test_contract", "test_no_plugin_is_broken"]


CHAIN = {
    "format": "cbf_mini nxmx smv",
    "threshold": "dispersion dispersion_extended",
    "indexing": "fft3d",
    "profile": "gaussian_rs",
    "background": "simple glm",
    "scaling": "physical",
    "exporter": "mtz",
    "step": "import show simulate find_spots index refine predict integrate symmetry scale merge export",
    "executor": "serial local",
}
"""What the chain from images to merged intensities is made of."""


@pytest.mark.parametrize("kind", KINDS)
def test_the_plugins_of_the_chain_are_installed(kind: str) -> None:
    missing = set(CHAIN[kind].split()) - set(default_plugins().names(kind))
    assert not missing, f"no {kind} is called {missing}"


def test_smv_on_a_real_file() -> None:
    folder = shared_dir() / "data" / "real_cred_lysozyme"
    found = sorted(folder.rglob("*.img*"))
    if not found:
        pytest.skip(f"no SMV images below {folder}")
    check_format("smv", found[0])


def test_nxmx_on_a_simulated_file(run_step, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run_step("simulate", "preset=small", "format=nxmx", "n_images=3", "output.directory=images")
    check_format("nxmx", next((tmp_path / "images").glob("*_master.h5")))
