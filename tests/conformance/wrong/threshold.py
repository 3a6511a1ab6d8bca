"""Wrong thresholds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xtal_threshold_dispersion.dispersion import Dispersion

RIGHT = "dispersion"


def after(spoil: Callable[[Any, Any, Any], None]) -> type:
    """Right until ``spoil(image, mask, strong)`` changes what was found."""

    class Wrong(Dispersion):
        def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
            right = super().prepare(experiment, panel, mask)

            def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
                right(image, mask, strong, frame)
                spoil(image, mask, strong)

            return kernel

    return Wrong


class OtherArguments(Dispersion):
    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right = super().prepare(experiment, panel, mask)
        return lambda image, strong, mask, frame: right(image, mask, strong, frame)


class OnlyAdds(Dispersion):
    """Counts on an array that was cleared."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right = super().prepare(experiment, panel, mask)

        def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
            found = np.zeros_like(strong)
            right(image, mask, found, frame)
            strong |= found

        return kernel


class StaticMask(Dispersion):
    """Uses the mask that it was prepared with for every frame."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right, static = super().prepare(experiment, panel, mask), mask
        return lambda image, mask, strong, frame: right(image, static, strong, frame)


class OneFrame(Dispersion):
    """Its kernels find spots on their first frame."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right, seen = super().prepare(experiment, panel, mask), []

        def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
            right(image, mask, strong, frame)
            if seen:
                strong[:] = False
            seen.append(frame)

        return kernel


class KnowsArrays(Dispersion):
    """Remembers what it found in an array."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right, known = super().prepare(experiment, panel, mask), {}

        def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
            if id(image) not in known:
                right(image, mask, strong, frame)
                known[id(image)] = strong.copy()
            strong[:] = known[id(image)]

        return kernel


class FirstPanel(Dispersion):
    """Takes the size of the first panel for that of all."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        fast, slow = experiment.detector[0].image_size
        right = super().prepare(experiment, panel, np.ones((slow, fast), dtype=bool))

        def kernel(image: Any, mask: Any, strong: Any, frame: Any) -> None:
            whole = np.zeros((slow, fast), dtype=bool)
            right(image, mask, whole, frame)
            strong[:] = whole[: len(strong)]

        return kernel


class OtherPanelsBlank(Dispersion):
    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        return super().prepare(experiment, panel, mask) if panel == 0 else blank


class StillsBlank(Dispersion):
    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        return super().prepare(experiment, panel, mask) if experiment.scan else blank


class LastMask(Dispersion):
    """Has the static mask of the panel that it saw last."""

    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        right, self.mask = super().prepare(experiment, panel, mask), mask
        return lambda image, mask, strong, frame: right(image, mask & self.mask, strong, frame)


def with_halo(halo: Any) -> type:
    """Right but for its halo."""

    class Wrong(Dispersion):
        def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
            kernel = super().prepare(experiment, panel, mask)
            kernel.halo = halo
            return kernel

    return Wrong


def blank(image: Any, mask: Any, strong: Any, frame: Any) -> None:
    strong[:] = False


class NeedsScan(Dispersion):
    def prepare(self, experiment: Any, panel: Any, mask: Any) -> Any:
        self.width = experiment.scan.width
        return super().prepare(experiment, panel, mask)


class LearnsInPlace(Dispersion):
    def learn(self, image: Any) -> None:
        image //= 2


def marks_masked(image: Any, mask: Any, strong: Any) -> None:
    strong |= ~mask


def looks_under_the_mask(image: Any, mask: Any, strong: Any) -> None:
    strong &= image.min() >= 0


def misses_in_floats(image: Any, mask: Any, strong: Any) -> None:
    strong &= image.dtype.kind != "f"


def misses_the_brightest(image: Any, mask: Any, strong: Any) -> None:
    strong[image > 60000] = False


def counts_values(image: Any, mask: Any, strong: Any) -> None:
    np.bincount(image[mask].astype(int))


def marks_masked_below(image: Any, mask: Any, strong: Any) -> None:
    strong |= (image < 0).any() & ~mask


def marks_background(image: Any, mask: Any, strong: Any) -> None:
    strong |= mask & (image >= 4)


def marks_zeros(image: Any, mask: Any, strong: Any) -> None:
    strong |= mask & (not image.any())


def marks_a_masked_panel(image: Any, mask: Any, strong: Any) -> None:
    strong |= not mask.any()


WRONG = {
    "kernel": OtherArguments,
    "fills": OnlyAdds,
    "masked": after(marks_masked),
    "frame_mask": StaticMask,
    "masked_values": after(looks_under_the_mask),
    "spots": after(misses_in_floats),
    "brightest": after(misses_the_brightest),
    "background": after(marks_background),
    "empty_image": after(marks_zeros),
    "all_masked": after(marks_a_masked_panel),
    "order": [OneFrame, KnowsArrays],
    "bands": [with_halo(2), with_halo(-1)],
    "panels": [FirstPanel, OtherPanelsBlank],
    "side_by_side": LastMask,
    "negative": [after(counts_values), after(marks_masked_below)],
    "still": [NeedsScan, StillsBlank],
    "learning": LearnsInPlace,
}
