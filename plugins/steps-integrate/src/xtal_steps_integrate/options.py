"""Options of integrate, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import Choice, option, plugin_choice, scope


@frozen
class PredictionOptions:
    """Which reflections are looked for."""

    d_min: float | None = option(None, help="High-resolution limit (None: the detector's corners)", unit="Å", gt=0)
    d_max: float | None = option(None, help="Low-resolution limit", unit="Å", gt=0)
    padding: float = option(
        1.0,
        help="Predict so far beyond the ends of the scan, for reflections that reach into it",
        unit="deg",
        ge=0,
        level=1,
    )
    force_static: bool = option(False, help="Ignore how crystal and beam vary over the scan", level=1)


@frozen
class ProfileFitOptions:
    """Profile fitting."""

    fitting: bool = option(True, help="Fit profiles, besides summation")
    valid_foreground_threshold: float = option(
        0.5, help="Least part of a reflection's profile on good pixels for a fit", level=1, ge=0, le=1
    )
    sigma_b_multiplier: float | None = option(
        None,
        help="Boxes reach so many times as far as the foreground (None: 2, or 3 in a crowded pattern)",
        level=1,
        gt=1,
    )


@frozen
class IntegrationFilterOptions:
    """Reflections that are left out or marked."""

    min_zeta: float = option(0.05, help="Reflections closer to the rotation axis are not integrated", level=1, ge=0)


@frozen
class LookupOptions:
    mask: str | None = option(None, help="Mask of pixels, in place of the one that was imported", level=1)


@frozen
class IntegrationOptions:
    """Integration."""

    background: Choice = plugin_choice(
        "background",
        default="glm",
        help="Background model; unless chosen, simple where the detector does not count photons",
    )
    profile: ProfileFitOptions = scope(ProfileFitOptions)
    filter: IntegrationFilterOptions = scope(IntegrationFilterOptions)
    lookup: LookupOptions = scope(LookupOptions)


@frozen
class IntegrateOptions:
    """All options of integrate."""

    prediction: PredictionOptions = scope(PredictionOptions)
    profile: Choice = plugin_choice("profile", default="gaussian_rs", help="Profile model")
    integration: IntegrationOptions = scope(IntegrationOptions)
    create_profile_model: bool = option(
        True, help="Estimate the profile model; False: use that of the experiments", level=1
    )
    output_unintegrated_reflections: bool = option(
        False, help="Keep reflections that were neither summed nor fitted", level=1
    )
