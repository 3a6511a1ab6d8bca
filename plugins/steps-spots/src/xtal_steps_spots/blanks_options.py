"""Options of detect_blanks, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class BlanksOutput:
    """What is written, besides the figures."""

    plot: str | None = option(None, help="Draw the three curves into this PNG file", writes=True)


@frozen
class BlanksOptions:
    """All options of the step."""

    phi_step: float = option(2.0, help="Rotation that is looked at together", unit="deg", gt=0)
    counts_fractional_loss: float = option(
        0.1, help="Blank where counts are no more than this part of the highest", ge=0, le=1
    )
    misigma_fractional_loss: float = option(
        0.1, help="Blank where the mean of I/σ is no more than this part of the highest", ge=0, le=1
    )
    output: BlanksOutput = scope(BlanksOutput)
