"""Files that a file refers to.

A reference comes from the file, and the file may come from anybody: a target is a regular file, and one that lies
outside the folder of the file that names it is told before it is opened.
"""

from __future__ import annotations

import os
import warnings

from xtal.errors import DataError, ImageWarning


def target_of(file: str, name: str) -> str:
    """Path of the file that ``file`` refers to as ``name``.

    Warns
    -----
    ImageWarning
        If it lies outside the folder of ``file``.

    Raises
    ------
    DataError
        If it does not exist or is no regular file; names it.
    """
    folder = os.path.dirname(os.path.abspath(file))
    path = os.path.normpath(os.path.join(folder, name))
    if "\0" in path or not os.path.exists(path):
        raise DataError(
            f"The file {path!r}, which {file} refers to, does not exist.",
            advice=f"Put it where {os.path.basename(file)} looks for it, or check how both were copied.",
        )
    real, home = os.path.realpath(path), os.path.realpath(folder)
    if not os.path.isfile(real):
        raise DataError(f"{path}, which {file} refers to, is no file.", advice="Check how both were copied.")
    if os.path.commonpath([real, home]) != home:
        text = f"{os.path.basename(file)} takes its data from outside its folder: from {os.path.dirname(real)}."
        # counted as from here, it is told once, however often and from wherever the reference is followed
        warnings.warn(text, ImageWarning, stacklevel=1)
    return path
