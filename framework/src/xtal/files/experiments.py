"""Experiment lists as DIALS stores them: JSON that DIALS 3.12 and its successors read.

Trusted ranges are inclusive in memory. Files carry them exclusive (lowest - 1, highest + 1),
as DIALS 3.12 means them, and say so under the top-level key ``xtal``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xtal.errors import DataError
from xtal.files.atomic import writing
from xtal.files.decode import decode_list
from xtal.files.encode import encode_list
from xtal.files.links import target_of
from xtal.models import ExperimentList


def read_experiments(path: str | Path) -> ExperimentList:
    """Read an experiment list; experiments that share a model in the file share the object.

    Raises
    ------
    DataError
        If the file is absent or is no experiment list; names the file and the fault.

    Warns
    -----
    ImageWarning
        If a model stands in a file outside of the folder of the list, before that is opened.
    """
    path = Path(path)
    content = _load(path)
    if not isinstance(content, dict) or content.get("__id__") != "ExperimentList":
        raise DataError(f"{path} is no experiment list.", advice="Give a .expt file written by xtal or DIALS.")
    try:
        return decode_list(content, path.parent.absolute(), lambda name: _load(Path(target_of(str(path), name))))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        what = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path} is no complete experiment list: {what}.", advice="Write it again with the step that made it."
        ) from error


def write_experiments(experiments: ExperimentList, path: str | Path) -> None:
    """Write an experiment list in the form that DIALS 3.12 and newer ones read.

    Raises
    ------
    DataError
        If the disk is full or the folder cannot be written.
    """
    text = json.dumps(encode_list(experiments), indent=2)
    with writing(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", advice="Check the name of the file.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is no experiment list: it is not whole JSON ({error}).",
            advice="Give a .expt file written by xtal or DIALS.",
        ) from error
