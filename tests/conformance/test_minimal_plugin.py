"""The third party's plugin of ``examples/``: installed into a fresh environment, seen, used, and conforming."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "minimal_plugin"


def run(*words: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that sees the packages of this one, with the example installed from its folder."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    seen = {sysconfig.get_path("purelib"), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])}
    lines = [f"import site; site.addsitedir({path!r})" for path in sorted(seen)]
    (packages / "outer.pth").write_text("\n".join(lines) + "\n")
    source = folder.parent / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    words = ["--no-deps", *(["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []), str(source)]
    if shutil.which("uv"):
        run("uv", "pip", "install", "-q", "--python", python, *words, cwd=source)
    elif importlib.util.find_spec("pip"):
        run(sys.executable, "-m", "pip", "install", "-q", "--target", packages, *words, cwd=source)
    else:
        pytest.skip("neither uv nor pip is there to install the example")
    return python


def test_it_is_short() -> None:
    lines = [
        line
        for path in sorted((EXAMPLE / "src").rglob("*.py"))
        for line in path.read_text().splitlines()
        if line.strip()
    ]
    assert len(lines) < 40


def test_it_is_seen(fresh: Path, tmp_path: Path) -> None:
    out = run(fresh, "-m", "xtal.cli", "plugins", "list", cwd=tmp_path)
    assert re.search(r"threshold +brightest +acme-xtal-threshold 0\.1\.0", out)
    assert "n_sigma = 6" in run(fresh, "-m", "xtal.cli", "plugins", "info", "brightest", cwd=tmp_path)


def test_it_is_used_by_find_spots(fresh: Path, tiny_scan: Path, tmp_path: Path) -> None:
    first = sorted(tiny_scan.glob("*.cbf"))[:5]
    run(fresh, "-m", "xtal.cli", "run", "import", *first, cwd=tmp_path)
    words = ("run", "find_spots", "imported.expt", "threshold=brightest", "n_sigma=5")
    out = run(fresh, "-m", "xtal.cli", *words, cwd=tmp_path)
    assert "threshold.algorithm = brightest" in out and "brightest.n_sigma = 5" in out
    assert (tmp_path / "strong.refl").stat().st_size > 1000
    assert "acme-xtal-threshold 0.1.0" in (tmp_path / "strong.refl.made.json").read_text()


def test_its_own_tests_pass(fresh: Path, tmp_path: Path) -> None:
    tests = shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    out = run(fresh, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests, cwd=tmp_path)
    assert "1 passed" in out


def test_the_site_can_deny_it(fresh: Path, tmp_path: Path) -> None:
    policy = str(ROOT / "examples" / "site" / "site.toml")
    out = run(fresh, "-m", "xtal.cli", "plugins", "list", cwd=tmp_path, XTAL_SITE=policy)
    assert re.search(r"denied +threshold-brightest +\(acme-xtal-threshold\)", out)
    assert "policy: " in out
