"""One fresh environment for all tests that install distributions."""

from __future__ import annotations

import importlib.util
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "minimal_plugin"


def call(*words: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that sees the packages of this one, with the example installed from its folder."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    packages = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    seen = {sysconfig.get_path("purelib"), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])}
    lines = [f"import site; site.addsitedir({path!r})" for path in sorted(seen)]
    (packages / "outer.pth").write_text("\n".join(lines) + "\n")
    source = folder.parent / "source"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    words = ["--no-deps", *(["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []), str(source)]
    if shutil.which("uv"):
        call("uv", "pip", "install", "-q", "--python", python, *words, cwd=source)
    elif importlib.util.find_spec("pip"):
        call(sys.executable, "-m", "pip", "install", "-q", "--target", packages, *words, cwd=source)
    else:
        pytest.skip("neither uv nor pip is there to install the example")
    return python


@pytest.fixture
def run() -> Callable[..., str]:
    """Runs a program to its end and gives its output; fails where it does."""
    return call
