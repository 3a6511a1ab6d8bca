"""The step apply_mask."""

from __future__ import annotations

from xtal.errors import UsageError
from xtal.run import Context
from xtal.words import counted
from xtal_steps_spots.imagesets import imagesets


def run(context: Context) -> None:
    """Let the images of experiments have masks, which later steps obey."""
    names = [*context.options.input.mask, *map(str, context.images)]
    sets = imagesets(context.experiments)
    if len(names) != len(sets):
        raise UsageError(
            f"{counted(len(names), 'mask')} for {counted(len(sets), 'set')} of images.",
            advice="Give one for each, in their order: xtal run apply_mask imported.expt mask=pixels.mask",
        )
    for name, members in zip(names, sets, strict=True):
        masked, total = context.use_mask(name, members)
        context.summary(f"{name}: {masked} of {total} pixels ({100 * masked / total:.2f} %) masked")
    context.write_experiments(context.experiments)
