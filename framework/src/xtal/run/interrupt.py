"""Ctrl-C that is never lost.

Python raises KeyboardInterrupt wherever it happens to be; inside a callback of a library (a destructor, a weak
reference, a foreign function) the exception is printed and forgotten. So the signal is also noted, and steps end with
`check`.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_noted = threading.Event()


def watch() -> None:
    """Note Ctrl-C from now on; does nothing where somebody else handles or ignores it, or off the main thread."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _note)


def _note(number: int, frame: FrameType | None) -> None:
    _noted.set()
    raise KeyboardInterrupt


def check() -> None:
    """Raise what was noted and got lost.

    Raises
    ------
    KeyboardInterrupt
    """
    if _noted.is_set():
        _noted.clear()
        raise KeyboardInterrupt
