"""Options of estimate_gain, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class GainOutput:
    """What is written."""

    gain_map: str | None = option(
        None,
        help="Write a map of the first image's gain, the same for all pixels, to this file, for DIALS",
        level=1,
        writes=True,
    )


@frozen
class GainOptions:
    """All options of the step."""

    kernel_size: tuple[int, ...] = option(
        (10, 10), help="Half size of the window along slow and fast", unit="px", size=2, ge=1
    )
    max_images: int = option(1, help="Images to look at; several are averaged", ge=1)
    output: GainOutput = scope(GainOutput)
