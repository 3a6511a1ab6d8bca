"""Options of slice_sequence, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class SliceOptions:
    """All options of the step."""

    image_range: tuple[tuple[int, int], ...] = option(
        (), help="First and last image to keep, both inclusive; once per experiment, in order", multiple=True, size=2
    )
    block_size: float | None = option(None, help="Cut one scan into blocks of about this rotation", unit="deg", gt=0)
    exclude_images_multiple: int | None = option(
        None, help="Leave out every image whose number is a multiple of this, and cut there", ge=2, level=1
    )
