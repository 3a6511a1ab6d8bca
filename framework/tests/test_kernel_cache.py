"""The cache of compiled kernels: its key, edited kernels, what is read-only, several processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xtal import kernel_cache

USE = "from acme.chain_kernels import quadruple; print(quadruple(21))"
KERNEL = "from xtal.jit import jit\n\n\n@jit\ndef double(x):\n    return 2 * x\n"
CALLER = """from acme.acme_kernels import double
from xtal.jit import jit


@jit
def quadruple(x):
    return double(double(x))
"""
ALL_SORTS = """import math
import numpy as np
from xtal.jit import jit


@jit
def hashed(text):
    return hash(text)


@jit
def multiplied(a):
    return np.dot(a, a).sum() + np.linalg.solve(a, a).sum()


@jit
def drawn(seed):
    np.random.seed(seed)
    return np.random.normal() + math.erf(0.5) + np.exp(np.array([0.1, 0.2])).sum()


@jit
def gathered(n):
    found, names = [0.5], {1: "one"}
    for i in range(n):
        found.append(float(i))
        names[i] = str(i) + "!"
    return sorted(found)[-1], names[1], np.sort(np.array(found))[0], 2**n % 7


@jit
def refused(n):
    if n < 0:
        raise ValueError("negative")
    return n
"""
USE_ALL = """import sys
import numpy as np
from acme import acme_kernels as k
try:
    k.refused(-1)
except ValueError as error:
    print(error)
print(k.drawn(3), k.multiplied(np.array([[2.0, 1.0], [1.0, 3.0]])))
print("numba.np.polynomial.polynomial_core" in sys.modules)
print(k.gathered(5))
print("numba.np.polynomial.polynomial_core" in sys.modules)
"""
USE_HASHED = "from acme.acme_kernels import hashed; print(hashed('text'))"
READ_ONLY = 'for d in $FOLDERS; do mount --bind "$d" "$d" && mount -o remount,ro,bind "$d" || exit 77; done; exec "$@"'
"""A shell's words: bind folders read-only (for root as well), then run the rest."""


def process(
    folder: Path, use: str = USE, *, read_only: tuple[Path, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """Use the kernels of the package in ``folder`` in a process of its own."""
    base = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    words = [sys.executable, "-B", "-c", use]
    if read_only:
        private = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        words = [*private, "sh", "-c", READ_ONLY, "sh", *words]
        environment["FOLDERS"] = " ".join(map(str, read_only))
    return subprocess.Popen(
        words,
        env={**base, "PYTHONPATH": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(started: subprocess.Popen[str]) -> str:
    out, err = started.communicate(timeout=120)
    if started.returncode == 77 or "unshare" in err:
        pytest.skip(f"folders cannot be bound read-only here: {err.strip()}")
    assert started.returncode == 0, err
    return out.strip()


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Folder of an installed package with a kernel that calls another."""
    folder = tmp_path / "source"
    (folder / "acme").mkdir(parents=True)
    (folder / "acme" / "__init__.py").write_text("")
    (folder / "acme" / "acme_kernels.py").write_text(KERNEL)
    (folder / "acme" / "chain_kernels.py").write_text(CALLER)
    metadata = folder / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[xtal]\nacme = acme\n")
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


def test_an_edited_kernel_is_never_stale(kernel: Path, tmp_path: Path) -> None:
    """Not even where size and time of its file stay, and where only a kernel that calls it is used."""
    cache = {"XTAL_CACHE": str(tmp_path / "cache")}
    assert done(process(kernel, **cache)) == "84"
    source = kernel / "acme" / "acme_kernels.py"
    before = source.stat()
    source.write_text(KERNEL.replace("2 * x", "3 * x"))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert source.stat().st_size == before.st_size
    assert done(process(kernel, **cache)) == "189"
    source.write_text(KERNEL)
    assert done(process(kernel, **cache)) == "84"


def test_kernels_are_loaded_with_as_much_of_numba_as_they_need(kernel: Path, tmp_path: Path) -> None:
    (kernel / "acme" / "acme_kernels.py").write_text(ALL_SORTS)
    settings = {"XTAL_CACHE": str(tmp_path / "cache"), "PYTHONHASHSEED": "7"}
    compiled, loaded, again = (done(process(kernel, USE_ALL, **settings)).splitlines() for _ in range(3))
    assert compiled.pop(2) == "True"
    assert loaded.pop(2) == again.pop(2) == "False", "what numba compiles with was imported"
    assert compiled == loaded == again
    assert loaded[0] == "negative"
    assert loaded[-1] == "True", "a name that was not known yet was not looked for"
    first, second = (done(process(kernel, USE_HASHED, **settings)) for _ in range(2))
    assert first == second
    settings["PYTHONHASHSEED"] = "8"
    assert done(process(kernel, USE_HASHED, **settings)) != first, "hashes of text are of one process"
    assert done(process(kernel, USE_ALL, **settings)).splitlines()[3] == loaded[2]


def test_a_read_only_installation(kernel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    installed = (kernel, Path(sys.prefix), Path(kernel_cache.__file__).parent)
    assert done(process(kernel, read_only=installed, XTAL_CACHE=str(cache))) == "84"
    compiled = sorted(cache.rglob("*.nb?"))
    assert len({p.name.split("-")[0] for p in compiled}) == 2, "not both kernels were cached"
    times = [p.stat().st_mtime_ns for p in compiled]
    assert done(process(kernel, read_only=installed, XTAL_CACHE=str(cache))) == "84"
    assert sorted(cache.rglob("*.nb?")) == compiled
    assert [p.stat().st_mtime_ns for p in compiled] == times, "the kernels were compiled again"
    assert not list(kernel.rglob("*.nb?"))


def test_several_processes_may_start_at_once(kernel: Path, tmp_path: Path) -> None:
    started = [process(kernel, XTAL_CACHE=str(tmp_path / "cache")) for _ in range(2)]
    assert [done(p) for p in started] == ["84"] * 2
    (key,) = (tmp_path / "cache" / "kernels").iterdir()
    assert list(key.rglob("*.nbi")), "nothing was cached"
    assert done(process(kernel, XTAL_CACHE=str(tmp_path / "cache"))) == "84"


def test_a_home_that_cannot_be_written(kernel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    assert done(process(kernel, read_only=(cache,), XTAL_CACHE=str(cache))) == "84"
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_made(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert done(process(kernel, XTAL_CACHE=str(tmp_path / "file"))) == "84"


def test_what_nobody_uses_goes(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    kernel_cache.remove_unused(tmp_path)
    assert new.is_dir() and not old.exists()


def test_compiling_is_told_once_and_only_while_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is over hears nothing more: its terminal or log may be closed."""
    monkeypatch.setattr(kernel_cache, "_told", False)
    monkeypatch.setattr(kernel_cache, "_tell", None)
    said: list[str] = []
    with pytest.raises(ZeroDivisionError), kernel_cache.announced_by(said.append):
        raise ZeroDivisionError
    kernel_cache.compiling()
    assert said == []
    with kernel_cache.announced_by(said.append):
        with kernel_cache.announced_by(lambda text: said.append(text.upper())):
            pass
        kernel_cache.compiling()
        kernel_cache.compiling()
    assert said == [kernel_cache.COMPILING]
