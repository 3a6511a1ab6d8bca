"""Options of spot_counts_per_image, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class SpotCountsOptions:
    """All options of the step."""

    resolution_analysis: bool = option(True, help="Estimate the resolution of each image")
    plot: str | None = option(None, help="Draw spots and resolution per image into this PNG file", writes=True)
    json: str | None = option(None, help="Write the figures of all images to this file", writes=True)
    split_json: bool = option(False, help="Write one file for each figure, NAME_figure.json", level=1)
    joint_json: bool = option(True, help="Write one file with all figures", level=1)
    id: int | None = option(None, help="Only this experiment", ge=0, level=1)
