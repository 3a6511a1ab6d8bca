"""Options of the steps, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import Choice, option, plugin_choice, scope


@frozen
class AbsencesOptions:
    """How the space group is sought."""

    check: bool = option(True, help="Whether to seek screw axes by what they extinguish")


@frozen
class SymmetryOptions:
    """What the user may set in ``symmetry``."""

    space_group: str | None = option(None, help="Take this space group in place of finding one")
    d_min: float | None = option(None, help="High-resolution limit of the reflections used", unit="Å", gt=0)
    exclude_images: tuple[str, ...] = option(
        (), help="Images left out, experiment:first:last counted from 0 and from image number 1", multiple=True, level=1
    )
    lattice_symmetry_max_delta: float = option(
        2.0, help="Largest deviation of the lattice from a symmetry that is tried", unit="deg", ge=0
    )
    partiality_threshold: float = option(0.4, help="Least recorded fraction of a reflection", ge=0, le=1, level=1)
    systematic_absences: AbsencesOptions = scope(AbsencesOptions)


@frozen
class CutOptions:
    """What is left out of scaling."""

    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit", unit="Å", gt=0, level=1)
    partiality_cutoff: float = option(0.4, help="Least recorded fraction of a reflection", ge=0, le=1, level=1)
    min_isigi: float = option(-5.0, help="Least I/sigma of an observation", level=1)


@frozen
class SelectionOptions:
    """Which intensities, and which of them refine the model."""

    method: str = option(
        "quasi_random",
        help="Refine on whole symmetry groups, evenly chosen up to min_reflections, or on all",
        choices=("quasi_random", "use_all"),
        level=1,
    )
    min_reflections: int = option(100_000, help="Observations that refine the model", ge=100, level=1)
    intensity_choice: str = option(
        "profile",
        help="Profile-fitted intensities (summed where there are none), summed ones, or the mixture of least Rmeas",
        choices=("profile", "sum", "combine"),
    )


@frozen
class ErrorModelOptions:
    """Whether variances are corrected."""

    error_model: str | None = option(
        "basic",
        help="Correct the variances on the agreement of equivalents (None: leave them)",
        choices=("basic",),
        level=1,
    )


@frozen
class WeightingOptions:
    """Weights."""

    error_model: ErrorModelOptions = scope(ErrorModelOptions)


@frozen
class ScalingOptions:
    """Outliers."""

    outlier_rejection: str | None = option(
        "standard",
        help="Reject the worst of each group again and again, or all at once (None: keep all)",
        choices=("standard", "simple"),
        level=1,
    )
    outlier_zmax: float = option(
        6.0, help="Normalised deviation from which an observation is an outlier", gt=0, level=1
    )


@frozen
class StatisticsOptions:
    """The table of statistics."""

    nbins: int = option(20, help="Resolution shells of the table", ge=1, le=200, level=1)


@frozen
class ScaleOptions:
    """What the user may set in ``scale``."""

    model: Choice = plugin_choice("scaling", default="physical", help="What scales are made of")
    anomalous: bool = option(True, help="Keep Friedel mates apart")
    cut_data: CutOptions = scope(CutOptions)
    reflection_selection: SelectionOptions = scope(SelectionOptions)
    weighting: WeightingOptions = scope(WeightingOptions)
    scaling_options: ScalingOptions = scope(ScalingOptions)
    exclude_images: tuple[str, ...] = option(
        (), help="Images left out, experiment:first:last counted from 0 and from image number 1", multiple=True
    )
    merging: StatisticsOptions = scope(StatisticsOptions)


@frozen
class FreeOptions:
    """The free set."""

    generate: bool = option(True, help="Whether to write FreeR_flag", level=1)
    fraction: float = option(0.05, help="Share of the reflections in the free set", gt=0, le=0.5, level=1)


@frozen
class MergingOptions:
    """How merging goes."""

    n_bins: int = option(20, help="Resolution shells of the table", ge=1, le=200, level=1)
    use_internal_variance: bool = option(
        False, help="Whether the spread of equivalents may raise a merged sigma", level=1
    )


@frozen
class MergeOptions:
    """What the user may set in ``merge``."""

    anomalous: bool = option(True, help="Write I(+), I(-), F(+), F(-) and DANO beside the means")
    truncate: bool = option(True, help="Write amplitudes after French and Wilson")
    d_min: float | None = option(None, help="High-resolution limit", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit", unit="Å", gt=0, level=1)
    partiality_threshold: float = option(0.4, help="Least recorded fraction of a reflection", ge=0, le=1, level=1)
    best_unit_cell: tuple[float, ...] | None = option(
        None, help="Cell for the file (None: the median of the experiments)", unit="Å, deg", size=6, level=1
    )
    merging: MergingOptions = scope(MergingOptions)
    r_free_flags: FreeOptions = scope(FreeOptions)
