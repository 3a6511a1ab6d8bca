"""What a format read from where in a header, said while it reads and heard by who listens.

A format calls `read` where it takes a value from a header and `assumed` where it takes one without; that
costs next to nothing unless somebody listens, as `xtal formats explain` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np
from attrs import frozen

Kind = Literal["read", "assumed"]
_LONGEST = 60


@frozen
class Note:
    """One value.

    Attributes
    ----------
    kind : "read" from the file, or "assumed" without it
    what : the quantity or the header's key
    value : as text
    where : key or path in the header; why something is assumed
    """

    kind: Kind
    what: str
    value: str
    where: str


_heard: ContextVar[dict[Note, None] | None] = ContextVar("xtal_format_notes", default=None)


def _note(kind: Kind, what: str, value: Any, where: str) -> None:
    heard = _heard.get()
    if heard is not None:
        heard[Note(kind, what, _text(value), where)] = None


def read(what: str, value: Any, where: str) -> None:
    """Say that a value was read, and from where in the header."""
    _note("read", what, value, where)


def assumed(what: str, value: Any, why: str) -> None:
    """Say that a value is not from the header, and why it is taken."""
    _note("assumed", what, value, why)


def assumed_polarisation(fraction: float) -> None:
    """Say that the fraction of the beam's polarisation is not from the header: 0.5 is none at all."""
    why = "electrons have none" if fraction == 0.5 else "usual at a synchrotron; the header has none to rely on"
    assumed("polarisation", fraction, why)


@contextmanager
def listening() -> Iterator[list[Note]]:
    """Hear what formats say in this context; the list is complete when the context ends.

    Yields
    ------
    list of Note
        Without repetitions, in the order in which they were said.
    """
    heard: dict[Note, None] = {}
    notes: list[Note] = []
    token = _heard.set(heard)
    try:
        yield notes
    finally:
        _heard.reset(token)
        notes += heard


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, np.ndarray | list | tuple):
        parts = [_text(v) for v in np.ravel(np.asarray(value, dtype=object))[:8]]
        return ", ".join(parts) + (" ..." if np.size(value) > len(parts) else "")
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
