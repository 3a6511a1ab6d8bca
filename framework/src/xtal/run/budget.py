"""How much memory and how many cores are ours."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xtal.errors import OptionError

FRACTION = 0.6
"""Part of the available memory that is the default budget: room for libraries and other programs."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def memory_budget(text: str | None) -> int:
    """Bytes of a budget such as "2GB", "500M" or "25%" (of what is available), or the default.

    Raises
    ------
    OptionError
        If the text is no amount of memory.
    """
    if text is None:
        return int(available_memory() * FRACTION)
    found = re.fullmatch(r"\s*([\d.]+)\s*(%|([kmgt]?)(i?b)?)\s*", text.lower())
    try:
        amount = float(found.group(1)) if found else 0.0
    except ValueError:
        amount = 0.0
    if not found or amount <= 0:
        raise OptionError(f"memory={text} is no amount of memory.", advice="Give for example memory=2GB.")
    if found.group(2) == "%":
        return int(available_memory() * min(amount, 100.0) / 100.0)
    return int(amount * _UNITS[found.group(3) or ""])


def available_memory() -> int:
    """Bytes that can be used now, as the system and the control group of this process allow."""
    import psutil

    return min([int(psutil.virtual_memory().available), *_group_room()])


def _group_room(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Room below the limits of the control groups (version 2, then 1) that this process sees."""
    rooms = []
    for limit, usage in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        for folder in _group_folders(root):
            try:
                top = int((folder / limit).read_text())
                used = int((folder / usage).read_text())
            except (OSError, ValueError):
                continue
            if top < 2**60:
                rooms.append(max(top - used + _file_cache(folder), 2**26))
    return rooms


def _file_cache(folder: Path) -> int:
    """Bytes of file cache in a group: the kernel gives them back when asked."""
    try:
        lines = (folder / "memory.stat").read_text().split("\n")
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))


def _group_folders(root: Path) -> list[Path]:
    folders = [root]
    try:
        own = Path("/proc/self/cgroup").read_text().strip().split("\n")[-1].split("::")[-1].strip("/")
    except OSError:
        return folders
    path = root
    for part in filter(None, own.split("/")):
        path = path / part
        folders.append(path)
    return folders


def cores() -> int:
    """Cores that this process may use: affinity and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _group_folders(Path("/sys/fs/cgroup")):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            count = min(count, max(1, round(int(quota) / int(period))))
        except (OSError, ValueError):
            continue
    return max(count, 1)
