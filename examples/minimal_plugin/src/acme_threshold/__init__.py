from xtal.hooks import Threshold, hookimpl


@hookimpl
def xtal_thresholds():
    return [
        Threshold(
            name="brightest",
            summary="Pixels that stand out of the mean of the whole panel",
            factory="acme_threshold.brightest:Brightest",
            options="acme_threshold.options:BrightestOptions",
        )
    ]
