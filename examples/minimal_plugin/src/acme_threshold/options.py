from attrs import frozen

from xtal.options import option


@frozen
class BrightestOptions:
    n_sigma: float = option(6.0, help="Standard deviations above the mean", gt=0)
