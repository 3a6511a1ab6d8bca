"""Options of refine, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option, scope

BRAVAIS = ("aP", "mP", "mC", "mI", "oP", "oC", "oF", "oI", "tP", "tI", "hP", "hR", "cP", "cF", "cI")


@frozen
class BeamOptions:
    """The beam."""

    fix: tuple[str, ...] = option(
        ("in_spindle_plane", "wavelength"),
        help="Held fixed; none frees all",
        choices=("all", "in_spindle_plane", "out_spindle_plane", "wavelength", "none"),
    )


@frozen
class VaryingOptions:
    """A quantity that may vary over the scan."""

    force_static: bool | Literal["auto"] = option(
        "auto", help="Do not let it vary over the scan (auto: the cell only varies in scans of 45° or more)", level=1
    )


@frozen
class CrystalOptions:
    """The crystals."""

    fix: str = option("none", help="Held fixed", choices=("all", "cell", "orientation", "none"))
    unit_cell: VaryingOptions = scope(VaryingOptions)
    orientation: VaryingOptions = scope(VaryingOptions)


@frozen
class DetectorOptions:
    """The detector."""

    fix: str = option(
        "auto",
        help="Held fixed (auto: the distance for electrons, else nothing)",
        choices=("auto", "all", "position", "orientation", "distance", "tilt", "none"),
    )
    hierarchy_level: int = option(
        0, help="Level of the detector's tree whose groups move apart (0: it moves as one)", ge=0, level=1
    )


@frozen
class GoniometerOptions:
    """The goniometer's setting rotation."""

    fix: tuple[str, ...] = option(
        ("all",), help="Held fixed", choices=("all", "in_beam_plane", "out_beam_plane", "none"), level=1
    )


@frozen
class AutoReductionOptions:
    """What happens where reflections are few."""

    min_nref_per_parameter: int = option(
        5, help="Fewest reflections per parameter; short of it parameters are held fixed", ge=1, level=1
    )


@frozen
class ParameterisationOptions:
    """Which parameters are refined."""

    scan_varying: bool | Literal["auto"] = option(
        "auto", help="Let crystals vary over the scan after the static refinement (auto: where data suffice)"
    )
    interval_width_degrees: float | None = option(
        None, help="Width of the intervals over which crystals vary (None: 18, wider where data are few)",
        unit="deg", gt=0, level=1,
    )  # fmt: skip
    trim_scan_to_observations: bool = option(
        True, help="Leave out images at the ends of a scan on which no spot was indexed", level=1
    )
    auto_reduction: AutoReductionOptions = scope(AutoReductionOptions)
    beam: BeamOptions = scope(BeamOptions)
    crystal: CrystalOptions = scope(CrystalOptions)
    detector: DetectorOptions = scope(DetectorOptions)
    goniometer: GoniometerOptions = scope(GoniometerOptions)


@frozen
class RefineryOptions:
    """The minimiser."""

    max_iterations: int = option(30, help="Most steps of a minimisation", ge=1, level=1)


@frozen
class OutlierOptions:
    """Which centroids are left out."""

    algorithm: str = option(
        "auto",
        help="How outliers are told (auto: robust, by chi-squared of calibrated variances)",
        choices=("auto", "robust", "mcd", "tukey", "null"),
        level=1,
    )
    probability: float = option(
        0.999, help="Share of good reflections that the robust cut keeps", gt=0.5, lt=1, level=1
    )


@frozen
class ReflectionsOptions:
    """Which reflections are used."""

    maximum_sample_size: int | None = option(None, help="Most reflections used (None: all)", ge=20, level=1)
    close_to_spindle_cutoff: float = option(0.02, help="Smallest |zeta| used", ge=0, lt=1, level=1)
    scan_margin: float = option(
        0.0, help="Centroids nearer to the ends of the scan are not used", unit="deg", ge=0, level=1
    )
    weights: str = option(
        "calibrated",
        help="Variances learnt from the residuals (calibrated) or as the table states them (statistical)",
        choices=("calibrated", "statistical"),
        level=1,
    )
    outlier: OutlierOptions = scope(OutlierOptions)


@frozen
class RefinementOptions:
    """The refinement."""

    parameterisation: ParameterisationOptions = scope(ParameterisationOptions)
    refinery: RefineryOptions = scope(RefineryOptions)
    reflections: ReflectionsOptions = scope(ReflectionsOptions)


@frozen
class RefineOptions:
    """All options of the step."""

    lattice: str = option(
        "auto",
        help="Bravais lattice of triclinic crystals: auto (the best that fits), none (as it is), or a symbol",
        choices=("auto", "none", *BRAVAIS),
    )
    space_group: str | None = option(None, help="Known space group: applied where the crystal is triclinic")
    unit_cell: tuple[float, ...] | None = option(
        None, help="Known cell in the setting of the space group", unit="Å, deg", size=6, level=1
    )
    max_delta: float = option(5.0, help="Largest obliquity of a lattice's two-folds", unit="deg", gt=0, level=1)
    n_static_macrocycles: int = option(2, help="Least rounds of outlier rejection and minimisation", ge=1, level=1)
    refinement: RefinementOptions = scope(RefinementOptions)
