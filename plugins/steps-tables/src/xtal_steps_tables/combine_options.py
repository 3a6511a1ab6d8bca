"""Options of combine_experiments, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option, scope


@frozen
class BeamTolerance:
    """How far beams may differ."""

    wavelength: float = option(1e-6, help="Largest difference of the wavelength", unit="Å", ge=0)
    direction: float = option(1e-6, help="Largest difference of the direction's components", ge=0)
    polarization_normal: float = option(1e-6, help="Largest difference of its components", ge=0)
    polarization_fraction: float = option(1e-6, help="Largest difference", ge=0)


@frozen
class DetectorTolerance:
    """How far detectors may differ."""

    fast_axis: float = option(1e-6, help="Largest difference of its components", ge=0)
    slow_axis: float = option(1e-6, help="Largest difference of its components", ge=0)
    origin: float = option(0.05, help="Largest difference of its components", unit="mm", ge=0)


@frozen
class GoniometerTolerance:
    """How far goniometers may differ."""

    rotation_axis: float = option(1e-6, help="Largest difference of its components", ge=0)
    fixed_rotation: float = option(1e-6, help="Largest difference of its elements", ge=0)
    setting_rotation: float = option(1e-6, help="Largest difference of its elements", ge=0)


@frozen
class Tolerance:
    """When models count as equal."""

    beam: BeamTolerance = scope(BeamTolerance)
    detector: DetectorTolerance = scope(DetectorTolerance)
    goniometer: GoniometerTolerance = scope(GoniometerTolerance)


@frozen
class ReferenceOptions:
    """Models that take the place of the same model of every experiment."""

    beam: int | None = option(None, help="Number of the experiment whose beam all share", ge=0)
    scan: int | None = option(None, help="Number of the experiment whose scan all share", ge=0, level=1)
    crystal: int | None = option(None, help="Number of the experiment whose crystal all share", ge=0, level=1)
    goniometer: int | None = option(None, help="Number of the experiment whose goniometer all share", ge=0)
    detector: int | None = option(None, help="Number of the experiment whose detector all share", ge=0)
    average_detector: bool = option(False, help="Share the mean of all detectors", level=1)
    average_hierarchy_level: int | None = option(
        None, help="Average this level of the detector's tree only (0: the root)", ge=0, level=1
    )
    compare_models: bool = option(True, help="Stop where a model differs from the shared one", level=1)
    tolerance: Tolerance = scope(Tolerance, level=1)


@frozen
class ClusteringOptions:
    """Files per group of similar unit cells."""

    use: bool = option(False, help="Write a pair of files for each group of similar unit cells")
    dendrogram: bool = option(False, help="Print at which distance groups join", level=1)
    threshold: float = option(1000.0, help="Distance up to which cells belong together", unit="Å²", gt=0, level=1)
    max_clusters: int | None = option(None, help="Write only this many groups, the largest", ge=1, level=1)
    exclude_single_crystal_clusters: bool = option(True, help="Write no groups of one crystal", level=1)


@frozen
class SignificanceOptions:
    """Where the reflections of each experiment end."""

    enable: bool = option(False, help="Leave out reflections past the resolution where I/sigma falls off")
    d_min: float | None = option(None, help="Finest resolution to look at (None: all)", unit="Å", gt=0)
    n_bins: int = option(20, help="Resolution shells", ge=1)
    isigi_cutoff: float = option(1.0, help="Keep shells before the first whose mean I/sigma is below this")


@frozen
class CombineOutput:
    """What is written."""

    n_subset: int | None = option(None, help="Write only this many experiments", ge=1)
    n_subset_method: Literal["random", "n_refl", "significance_filter"] = option(
        "random", help="Which ones: any, or those with most reflections (significant ones)", level=1
    )
    n_refl_panel_list: tuple[int, ...] | None = option(None, help="Panels whose reflections count", level=1)
    max_batch_size: int | None = option(None, help="Most experiments in a file: more are spread", ge=1, level=1)
    delete_shoeboxes: bool = option(False, help="Leave out the pixels of the reflections", level=1)
    min_reflections_per_experiment: int | None = option(None, help="Leave out experiments with fewer", ge=0, level=1)
    max_reflections_per_experiment: int | None = option(None, help="Leave out experiments with more", ge=0, level=1)
    sort_by_imageset_path_and_image_index: bool = option(
        False, help="Order experiments by the path of their images and the first image", level=1
    )
    significance_filter: SignificanceOptions = scope(SignificanceOptions, level=1)


@frozen
class CombineOptions:
    """All options of the step."""

    reference_from_experiment: ReferenceOptions = scope(ReferenceOptions)
    clustering: ClusteringOptions = scope(ClusteringOptions)
    output: CombineOutput = scope(CombineOutput)
