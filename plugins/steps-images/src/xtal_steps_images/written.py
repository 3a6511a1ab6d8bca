"""What is said where one of many pictures or sums cannot be made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xtal.errors import DataError


@contextmanager
def telling_what_is_written(written: Sequence[Path]) -> Iterator[None]:
    """Let an error about an image also say which outputs are there already: they are whole and stay.

    Parameters
    ----------
    written
        Outputs so far, in order; added to within the block.
    """
    try:
        yield
    except DataError as error:
        if len(written) > 1:
            there = f"{written[0].name} to {written[-1].name} ({len(written)} files) are written and whole."
        else:
            there = f"{written[0].name} is written and whole." if written else "Nothing was written."
        raise DataError(error.message, advice=f"{error.advice} {there}".strip()) from error
