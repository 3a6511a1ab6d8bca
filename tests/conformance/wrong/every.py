"""Wrong in what holds for every kind: (kind, what is wrong)."""

from __future__ import annotations

import itertools
import time
from typing import Any

import attrs
from attrs import frozen

from xtal.hooks import Format
from xtal.options import option
from xtal_background_simple.simple import Simple
from xtal_threshold_dispersion.dispersion import Dispersion


class Lenient(Dispersion):
    """Takes any options."""

    def __init__(self, options: Any) -> None:
        pass


@attrs.define
class Mutable:
    sigma: float = option(3.0, help="Height")


@frozen
class Demanding:
    sigma: float = option(attrs.NOTHING, help="Height")


@frozen
class Silent:
    sigma: float = option(3.0, help="")


@frozen
class OutOfRange:
    sigma: float = option(3.0, help="Height", gt=5)


@frozen
class OutOfChoices:
    kind: str = option("auto", help="Kind", choices=("one", "other"))


@frozen
class Padded:
    """Blanks round a word are not kept when it is typed."""

    kind: str = option(" one ", help="Kind")


@frozen
class Right:
    sigma: float = option(3.0, help="Height")


class Plain:
    sigma = 3.0


class OtherOrder(Dispersion):
    def prepare(self, experiment: Any, mask: Any, panel: Any) -> Any:
        return super().prepare(experiment, panel, mask)


class ClearsMasked(Dispersion):
    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right = super().prepare(experiment, panel, mask)

        def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
            image[~mask] = 0
            right(image, mask, strong, frame)

        return kernel


class Counts(Simple):
    """Answers differently every time."""

    calls = itertools.count()

    def fit(self, boxes: Any) -> Any:
        result = super().fit(boxes)
        result.variance[:] += next(self.calls)
        return result


class OneAtATime(Simple):
    """Keeps in itself what it works on."""

    def fit(self, boxes: Any) -> Any:
        self.boxes = boxes
        time.sleep(0.02)
        return super().fit(self.boxes)


class Speaks(Simple):
    def fit(self, boxes: Any) -> Any:
        print("Fitting the background ...")
        return super().fit(boxes)


ONE = Simple()
STRAY = Format(name="wrong", summary="A format", factory="xtal_threshold_dispersion.dispersion:Dispersion")

WRONG = {
    "descriptor": ("threshold", STRAY),
    "summary": ("threshold", {"summary": "It ends with a stop."}),
    "version": ("threshold", {"api": 2}),
    "factory": ("threshold", {"factory": "xtal_threshold_dispersion.kernels:TILE"}),
    "options_frozen": [
        ("threshold", {"factory": Lenient, "options": Mutable}),
        ("threshold", {"factory": Lenient, "options": Plain}),
    ],
    "options_defaults": ("threshold", {"factory": Lenient, "options": Demanding}),
    "options_help": ("threshold", {"factory": Lenient, "options": Silent}),
    "options_range": ("threshold", {"factory": Lenient, "options": OutOfRange}),
    "options_typed": [
        ("threshold", {"factory": Lenient, "options": OutOfChoices}),
        ("threshold", {"factory": Lenient, "options": Padded}),
    ],
    "options_light": [
        ("threshold", {"options": "xtal_threshold_dispersion.dispersion:DispersionOptions"}),
        ("threshold", {"factory": Lenient, "options": Right}),  # in a module that this process alone knows
    ],
    "manifest_light": ("threshold", {"manifest": "xtal_threshold_dispersion.dispersion"}),
    "construction": ("background", lambda options: ONE),
    "methods": ("threshold", OtherOrder),
    "unchanged": ("threshold", ClearsMasked),
    "repeatable": ("background", Counts),
    "threads": ("background", OneAtATime),
    "silent": ("background", Speaks),
}
