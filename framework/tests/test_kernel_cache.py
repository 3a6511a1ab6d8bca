"""The cache of compiled kernels: its key, read-only homes, several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xtal import kernel_cache

USE = """
import sys
sys.path.insert(0, {folder!r})
from acme_kernels import double
print(double(21))
"""
KERNEL = "from xtal.jit import jit\n\n\n@jit\ndef double(x):\n    return 2 * x\n"


def process(folder: Path, **environment: str) -> subprocess.Popen[str]:
    base = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    code = USE.format(folder=str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**base, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(started: subprocess.Popen[str]) -> str:
    out, err = started.communicate(timeout=120)
    assert started.returncode == 0, err
    return out.strip()


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "acme_kernels.py").write_text(KERNEL)
    return folder


def test_the_key_follows_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "kernels.py"
    source.write_text("a")
    monkeypatch.setattr(kernel_cache, "kernel_sources", lambda: [source])
    first = kernel_cache._key()
    assert kernel_cache._key() == first
    source.write_text("b")
    assert kernel_cache._key() != first


def test_sources_of_the_core_and_of_plugins_are_seen() -> None:
    found = [str(p) for p in kernel_cache.kernel_sources()]
    assert all(p.endswith("kernels.py") for p in found)
    assert any("threshold_dispersion" in p for p in found)


def test_several_processes_may_start_at_once(kernel: Path, tmp_path: Path) -> None:
    started = [process(kernel, XTAL_CACHE=str(tmp_path / "cache")) for _ in range(2)]
    assert [done(p) for p in started] == ["42"] * 2
    (key,) = (tmp_path / "cache" / "kernels").iterdir()
    assert list(key.rglob("*.nbi")), "nothing was cached"
    assert done(process(kernel, XTAL_CACHE=str(tmp_path / "cache"))) == "42"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_home_that_cannot_be_written(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    assert done(process(kernel, XTAL_CACHE=str(tmp_path / "cache"))) == "42"


def test_a_cache_that_cannot_be_made(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert done(process(kernel, XTAL_CACHE=str(tmp_path / "file"))) == "42"


def test_what_nobody_uses_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    kernel_cache.remove_unused(tmp_path)
    assert new.is_dir() and not old.exists()
