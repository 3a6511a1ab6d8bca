"""Links between HDF5 files: followed one by one, never by the library on its own (see `xtal.files.links`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import h5py

from xtal.errors import DataError
from xtal.files.hdf5 import look_over
from xtal.files.inflate import InflateError
from xtal.files.links import target_of

_MOST_LINKS = 32


@contextmanager
def telling_damage(file: str) -> Iterator[None]:
    """Turn what the library raises for a damaged file, of whatever type, into an error that names the file."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, InflateError) as error:
        cause = " ".join(str(error).split())[:200]
        raise DataError(f"The file {file} is truncated or damaged ({cause}).", advice="Copy it again.") from error


def open_file(path: str) -> Any:
    """Open an HDF5 file for reading, without locks.

    Raises
    ------
    DataError
        If it is no HDF5 file, or is damaged.
    """
    look_over(path)
    for locking in (False, None):  # another part of this process may hold it open with locks
        try:
            return h5py.File(path, "r", locking=locking)
        except OSError as error:
            trouble = error
    raise DataError(f"{path} is no HDF5 file that can be read, or is truncated.", advice="Copy it again.") from trouble


def follow(file: str, name: str) -> tuple[str, str]:
    """The file and path at the end of all links of a path.

    Parameters
    ----------
    file
        An HDF5 file.
    name
        Absolute path within it.

    Raises
    ------
    DataError
        If a file of the links does not exist (names it), or they go in a circle.
    """
    todo, done = [part for part in name.split("/") if part], ""
    links = 0
    while todo:
        part = todo.pop(0)
        with open_file(file) as opened:
            group = opened.get(done or "/")
            link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if isinstance(link, h5py.ExternalLink):
            file, done = target_of(file, link.filename), ""
            todo = [p for p in link.path.split("/") if p] + todo
        elif isinstance(link, h5py.SoftLink):
            todo = [p for p in link.path.split("/") if p] + todo
            done = "" if link.path.startswith("/") else done
        else:
            done += "/" + part
            continue
        links += 1
        if links > _MOST_LINKS:
            raise DataError(f"The links of {file} to its data go in a circle.")
    return file, done or "/"


def member(group: Any, name: str) -> Any:
    """A member of a group by its name or path, through links; None if there is none.

    Raises
    ------
    DataError
        If it, or what a virtual dataset is made of, is behind a link to a file that does not exist (names it);
        if a dataset keeps its values in files that are not HDF5.
    """
    base = group.file if name.startswith("/") else group
    for part in (p for p in name.split("/") if p):
        if not isinstance(base, h5py.Group):
            return None
        link = base.get(part, getlink=True)
        if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
            # the library follows the same way, once it is known where it goes
            follow(base.file.filename, f"{base.name.rstrip('/')}/{part}")
        try:
            base = base.get(part)
        except (KeyError, OSError, RuntimeError):
            return None
    if isinstance(base, h5py.Dataset):
        check_dataset(base)
    return base


def check_dataset(dataset: Any, depth: int = 0) -> None:
    """Refuse values in raw files; follow what a virtual dataset is made of.

    Raises
    ------
    DataError
        Names the file.
    """
    file = dataset.file.filename
    if dataset.external:
        raise DataError(f"{file} keeps {dataset.name} in files that are not HDF5, which xtal does not read.")
    if not dataset.is_virtual:
        return
    if depth > _MOST_LINKS:
        raise DataError(f"The virtual datasets of {file} go in a circle.")
    for source in dataset.virtual_sources():
        path = file if source.file_name == "." else target_of(file, source.file_name)
        path, name = follow(path, "/" + source.dset_name.lstrip("/"))
        with open_file(path) as opened:
            inner = opened.get(name)
            if not isinstance(inner, h5py.Dataset):
                raise DataError(f"{path} has no dataset {name}, which {file} refers to.")
            check_dataset(inner, depth + 1)
