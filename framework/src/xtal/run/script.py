"""Steps from a script: the same steps, options and files as on the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xtal.options import Assignment, format_value
from xtal.plugins import Plugins, default_plugins
from xtal.run.runner import Outcome, run_step

FILES = ("experiments", "reflections")
"""Roles of the outputs that a later step reads."""


def step(
    name: str,
    *inputs: str | Path | Outcome,
    options: Mapping[str, Any] | None = None,
    verbosity: int = 1,
    plugins: Plugins | None = None,
    **named: Any,
) -> Outcome:
    """Run a step as ``xtal run NAME INPUTS OPTION=VALUE ...`` does.

    Parameters
    ----------
    name
        Of the step: "import", "find_spots", ...
    inputs
        Files, folders and templates; an `Outcome` of an earlier step stands for the experiment list
        and the table that it wrote.
    options
        Options whose names have dots: ``{"refinement.outlier.algorithm": "null"}``.
    verbosity
        0 says warnings only, 1 progress, 2 all that the command says.
    plugins
        What is installed (None: found now).
    named
        Options, by any part of their name that is unambiguous: ``d_min=2.0``. Lists are written as they
        are on the command line; a list of tuples repeats the option.

    Returns
    -------
    Outcome
        ``outputs`` maps roles ("experiments", "reflections", ...) to the files written.

    Raises
    ------
    XtalError
        As the command would stop; the message says what to do.

    Examples
    --------
    >>> imported = step("import", "images/*.cbf")  # doctest: +SKIP
    >>> strong = step("find_spots", imported, d_min=2.0)  # doctest: +SKIP
    >>> indexed = step("index", imported, strong)  # doctest: +SKIP
    """
    files = [file for one in inputs for file in _files(one)]
    settings = [a for key, value in {**(options or {}), **named}.items() for a in _assignments(key, value)]
    return run_step(plugins or default_plugins(), name, settings, files, verbosity=verbosity)


def _files(given: str | Path | Outcome) -> Iterator[str]:
    if isinstance(given, Outcome):
        yield from (str(given.outputs[role]) for role in FILES if role in given.outputs)
    else:
        yield str(given)


def _assignments(key: str, value: Any) -> Iterator[Assignment]:
    """One assignment, or one for each tuple of a list."""
    repeated = isinstance(value, list) and value and all(isinstance(v, (tuple, list)) for v in value)
    for one in value if repeated else [value]:
        yield Assignment(key, str(one) if isinstance(one, Path) else format_value(one))
