"""Options of the background ``template``; help reads them, so nothing heavy is imported here."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class TemplateOptions:
    """What users may change."""

    n_sigma: float = option(4.0, help="Voxels farther from the mean are outliers", unit="sigma", level=1, gt=0)
    min_pixels: int = option(10, help="Fewest voxels to fit", level=1, ge=2)
