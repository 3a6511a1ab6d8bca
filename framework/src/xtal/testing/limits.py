"""Work in a child of this process, whose memory and time are limited: what may end a process ends the child alone."""

from __future__ import annotations

import faulthandler
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xtal.errors import DataError
from xtal.files.raw import LARGEST

ROOM = 3 * LARGEST
"""Bytes that the child may take on top of what this process has: enough to unpack and to widen the largest image."""
SECONDS = 120
"""Of the processor: many times what anything needs that ends at all."""


def ends_badly(work: Callable[[], Any]) -> str:
    """What happens to work within the limits: "" where it is done, or raises a `DataError`.

    On systems that cannot fork, or do not tell how much memory a process has, nothing is tried.
    """
    if not hasattr(os, "fork") or not Path("/proc/self/statm").exists():
        return ""
    ear, mouth = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of threads that are no more in the child
        child = os.fork()
    if child == 0:
        try:
            os.write(mouth, _told(work).encode())
        finally:
            os._exit(0)
    os.close(mouth)
    with os.fdopen(ear, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"it ends the process by {signal.Signals(os.WTERMSIG(status)).name}"
    return told


def _told(work: Callable[[], Any]) -> str:
    """In the child: what comes of the work."""
    import resource

    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM,) * 2)
    try:
        with warnings.catch_warnings(action="ignore"):
            work()
    except DataError:
        return ""
    except MemoryError:
        return f"it wants more than {ROOM >> 20} MB of memory"
    except Exception as error:
        return f"it raised {type(error).__name__}: {str(error)[:300]}"
    return ""
