"""Numbers in sentences."""

from __future__ import annotations


def counted(n: int, one: str, several: str = "") -> str:
    """The number with its noun, and what follows of it.

    Parameters
    ----------
    n
        How many.
    one, several
        What stands after 1, and after other numbers ("": ``one`` with an s).

    Examples
    --------
    >>> counted(1, "spot"), counted(0, "spot"), counted(2, "spot has", "spots have")
    ('1 spot', '0 spots', '2 spots have')
    """
    return f"{n} {one if n == 1 else several or one + 's'}"
