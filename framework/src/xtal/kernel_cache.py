"""Where compiled kernels are kept: known without importing numba.

One folder per user, keyed by the content of all installed kernel sources, numba's version
and the processor: it is never stale, and a read-only installation works. Numba itself
replaces index files atomically, so that processes that start at once do no harm.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path

UNUSED_DAYS = 30
COMPILING = "First use of these kernels: kernels are compiled once, which takes some seconds."

_tell: Callable[[str], None] | None = None
_told = False


@contextlib.contextmanager
def announced_by(tell: Callable[[str], None]) -> Iterator[None]:
    """Let ``tell`` say that kernels are compiled, when they are and nobody has said so in this process."""
    global _tell
    before, _tell = _tell, tell
    try:
        yield
    finally:
        _tell = before


def compiling() -> None:
    """Called when a kernel is about to be compiled (`xtal.jit`)."""
    global _told
    if _tell is not None and not _told:
        _told = True
        _tell(COMPILING)


@cache
def cache_directory() -> Path:
    """The folder of this installation's compiled kernels; not made here."""
    return _base() / _key()


def _base() -> Path:
    base = os.environ.get("XTAL_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "xtal"
    )
    return Path(base) / "kernels"


def _key() -> str:
    h = hashlib.blake2b(digest_size=10)
    h.update(f"numba {version('numba')} {_processor()} {platform.python_version()}".encode())
    for path in sorted(kernel_sources()):
        h.update(path.name.encode() + b"\0" + path.read_bytes())
    return h.hexdigest()


def kernel_sources() -> list[Path]:
    """All modules named ``*kernels.py`` of xtal and of the packages ``xtal_*``."""
    found = list(Path(__file__).parent.rglob("*kernels.py"))
    for name in _packages():
        spec = find_spec(name)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            found += Path(folder).rglob("*kernels.py")
    return found


def _packages() -> list[str]:
    """Import names of the distributions that offer plugins."""
    return sorted({point.value.partition(":")[0].partition(".")[0] for point in entry_points(group="xtal")})


def _processor() -> str:
    """Name of the processor (compiled code is made for its instructions)."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith(("model name", "Model")):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def prepare_cache() -> None:
    """Make the folder and tell numba of it; where none can be written, a temporary one serves this process."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    path = cache_directory()
    new = not path.is_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
        os.utime(path)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        path = Path(tempfile.mkdtemp(prefix="xtal-kernels-"))
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    elif new:
        remove_unused(path.parent)
    os.environ["NUMBA_CACHE_DIR"] = str(path)


def remove_unused(base: Path, days: float = UNUSED_DAYS) -> None:
    """Remove folders of other versions that nobody used for some time (each use sets the time)."""
    limit = time.time() - days * 86400
    for path in base.iterdir():
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < limit:
                shutil.rmtree(path, ignore_errors=True)
