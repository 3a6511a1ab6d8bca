"""A look at an HDF5 file by a process of its own, before this one opens it.

The HDF5 library trusts the structures of a file: on damaged ones it may go round in circles or end the process,
inside calls that nothing in Python can stop, or make room for what a damaged length says. So each file is walked
through once by a child, whose time and memory are limited; what the child survives is opened here. On systems that
cannot fork nothing is looked at.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from typing import Any

from xtal.errors import DataError

SECONDS = 5
"""Of the processor, which the child may use: the largest masters need less than one."""

PATIENCE = 60
"""Seconds that the child may take in all; a file that needs more (from a slow disk) is opened without a verdict."""

MEMORY, HUNGRY = 1 << 28, 2
"""Bytes that the child may take, and the exit code that says that they did not suffice."""

SMALL = 1 << 16
"""Bytes of values that are read too, where they are stored without a filter."""

BUSY = 1.0
"""Seconds of the processor after which a child that ran out of patience was not waiting for a disk."""

_verdicts: dict[tuple[str, int, int], str] = {}


def look_over(path: str) -> None:
    """Have the structure of a file walked by a child of this process, once as long as it does not change.

    Raises
    ------
    DataError
        If the child hangs, crashes or needs too much memory; names the file.
    """
    try:
        stat = os.stat(path)
    except OSError:  # told by who opens it
        return
    if not hasattr(os, "fork"):
        return
    key = os.path.realpath(path), stat.st_mtime_ns, stat.st_size
    if key not in _verdicts:
        _verdicts[key] = _verdict(path)
    if _verdicts[key]:
        raise DataError(f"{path} is damaged: {_verdicts[key]}.", advice="Copy it again.")


def _verdict(path: str) -> str:
    """What is wrong with a file, "" where nothing is known to be."""
    from h5py._objects import phil

    with phil:  # no other thread is inside the library, whose locks the child would find taken for ever
        child = os.fork()
        if child == 0:
            _walk(path)
    _, status, used = os.wait4(child, 0)
    if os.WIFEXITED(status):
        return "a length in it claims more than the file holds" if os.WEXITSTATUS(status) == HUNGRY else ""
    how = "crashes"
    if os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGALRM):
        if used.ru_utime + used.ru_stime < BUSY:
            return ""
        how = "goes round in circles"
    return f"the HDF5 library {how} when it reads it"


def _walk(path: str) -> None:
    """In the child: touch all that the file holds, and end. Errors that Python sees are met again by the parent."""
    import resource

    import h5py

    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(PATIENCE)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as stream:
            room = int(stream.read().split()[0]) * resource.getpagesize() + MEMORY
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (room if hard < 0 else min(room, hard), hard))
    try:
        with h5py.File(path, "r", locking=False) as file:
            _touch("/", file)
            file.visititems(_touch)
    finally:
        os._exit(0)


def _touch(_name: str, item: Any) -> None:
    """Attributes, names, kinds of links, and where values stand; small values themselves."""
    import h5py

    for read in (_attributes, _values if isinstance(item, h5py.Dataset) else _links):
        try:
            read(item)
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            if isinstance(error, MemoryError) or "memory allocation failed" in str(error):
                os._exit(HUNGRY)


def _attributes(item: Any) -> None:
    for name in item.attrs:
        item.attrs.get(name)


def _links(item: Any) -> None:
    for name in getattr(item, "keys", tuple)():
        item.get(name, getlink=True)


def _values(dataset: Any) -> None:
    filters = dataset.id.get_create_plist().get_nfilters()
    if dataset.chunks is not None and dataset.id.get_num_chunks():
        dataset.id.get_chunk_info(0)
        dataset.id.get_chunk_info_by_coord((0,) * dataset.ndim)
    elif dataset.is_virtual:
        dataset.virtual_sources()
    elif not filters and not dataset.external and dataset.nbytes <= SMALL:
        dataset[()]
