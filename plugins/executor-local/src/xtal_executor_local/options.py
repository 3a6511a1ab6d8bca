"""Options of the executor ``local``."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class LocalOptions:
    """The runner sets ``nproc`` from the option of that name that every step has."""

    nproc: int = option(1, help="Threads; set by the step's nproc", level=2, ge=1)
