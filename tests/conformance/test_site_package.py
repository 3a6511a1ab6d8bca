"""The facility's package of ``examples/site``: installed, its format wins by serial number, its policy holds."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "site"
Run = Callable[..., str]


def test_it_is_installed_and_holds(run: Run, fresh: Path, tiny_scan: Path, tmp_path: Path) -> None:
    if not shutil.which("uv"):
        pytest.skip("uv is not there to install the package")
    source = shutil.copytree(EXAMPLE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__"))
    has = subprocess.run([str(fresh), "-c", "import hatchling"], capture_output=True, check=False).returncode == 0
    words = ["--no-deps", *(["--no-build-isolation"] if has else []), str(source)]
    run("uv", "pip", "install", "-q", "--python", fresh, *words, cwd=tmp_path)
    try:
        _check(run, fresh, min(tiny_scan.glob("*.cbf")), tmp_path)
    finally:
        run("uv", "pip", "uninstall", "-q", "--python", fresh, "acme-xtal-site", cwd=tmp_path)


def _check(run: Run, python: Path, image: Path, folder: Path) -> None:
    where = "import acme_site; print(acme_site.__path__[0] + '/site.toml')"
    policy = run(python, "-c", where, cwd=folder).strip()
    content = image.read_bytes()
    ours = re.sub(rb"S/N [^\r\n,]*", b"S/N 99-0001", content, count=1)
    assert ours != content, "the images of simulate should name a serial number"
    (folder / "ours_0001.cbf").write_bytes(ours)
    (folder / "other_0001.cbf").write_bytes(content)
    axes = {}
    for name in ("ours", "other"):
        words = ("run", "import", f"{name}_0001.cbf", f"output.experiments={name}.expt")
        out = run(python, "-m", "xtal.cli", *words, cwd=folder, XTAL_SITE=policy)
        assert "nproc = 2   (from " in out
        axes[name] = json.loads((folder / f"{name}.expt").read_text())["goniometer"][0]["rotation_axis"]
    assert axes["ours"] == [-1.0, 0.0, 0.0] and axes["other"] == [1.0, 0.0, 0.0]
    out = run(python, "-m", "xtal.cli", "plugins", "list", cwd=folder, XTAL_SITE=policy)
    assert "acme-xtal-site 0.1.0" in out and "denied  threshold-brightest" in out
