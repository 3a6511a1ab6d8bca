"""Which images are searched."""

from __future__ import annotations

import re

import numpy as np

from xtal.errors import OptionError
from xtal_steps_spots.options import SpotfinderOptions


def frame_ranges(first: int, last: int, scan_range: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
    """Runs of frames to search, of those from first to last (array indices, half open).

    Raises
    ------
    OptionError
        If no image lies in the ranges asked for.
    """
    if not scan_range:
        return [(first, last)]
    wanted = np.zeros(last - first + 2, bool)
    for a, b in scan_range:
        wanted[1:-1][max(a - 1 - first, 0) : max(b - first, 0)] = True
    edges = np.flatnonzero(np.diff(wanted.astype(np.int8)))
    if len(edges) == 0:
        raise OptionError(f"scan_range holds no image: those of the scan are {first + 1} to {last}.")
    return [(first + int(a), first + int(b)) for a, b in edges.reshape(-1, 2)]


def excluded_frames(number: int, n_experiments: int, first: int, last: int, options: SpotfinderOptions) -> set[int]:
    """Frames of an experiment (array indices) to pass over.

    Parameters
    ----------
    number, n_experiments
        The experiment, and how many there are.
    first, last
        Its frames, half open.
    options
        Images to exclude.

    Raises
    ------
    OptionError
        If a range is not of the form experiment:first:last (or first:last where there is one experiment).
    """
    out: set[int] = set()
    for text in options.exclude_images:
        parts = text.strip().split(":")
        if len(parts) == 2 and n_experiments == 1:
            parts = ["0", *parts]
        if len(parts) != 3 or not all(re.fullmatch(r"\s*\d+\s*", p) for p in parts) or int(parts[0]) >= n_experiments:
            raise OptionError(
                f"exclude_images={text} is not of the form experiment:first:last.",
                advice=f"Experiments count from 0 to {n_experiments - 1}, for example exclude_images=0:150:200.",
            )
        which, a, b = map(int, parts)
        if which == number:
            out.update(range(max(a - 1, first), min(b, last)))
    step = options.exclude_images_multiple
    if step is not None:
        out.update(z for z in range(first, last) if (z + 1) % step == 0)
    return out
