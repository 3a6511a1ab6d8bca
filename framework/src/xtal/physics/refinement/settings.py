"""What refinement is asked and what it answers."""

from __future__ import annotations

from attrs import define, field, frozen
from numpy import ndarray

from xtal.models import ExperimentList
from xtal.table import ReflectionTable


@frozen(kw_only=True)
class RefinementSettings:
    """Choices of a refinement; names of things to fix are DIALS's.

    Attributes
    ----------
    beam_fix : of "all", "in_spindle_plane", "out_spindle_plane", "wavelength"
    crystal_fix : of "all", "cell", "orientation"
    detector_fix : of "all", "position", "orientation", "distance", "tilt" (the rotations about fast and slow)
    goniometer_fix : of "all", "in_beam_plane", "out_beam_plane"
    hierarchy_level : level of the detector's tree whose groups move apart; 0 moves it as one
    scan_varying : after the static refinement let the crystal vary over the scan
    varying_cell, varying_orientation : which of the two then varies
    interval_deg : width of the smoother's intervals; None chooses it from the data
    outlier_algorithm : "robust", "mcd", "tukey" or "null"; judged again in each macrocycle
    outlier_probability : share of good reflections that the "robust" cut keeps
    weights : "calibrated" (the variances' scale and floor are fitted to the residuals),
        "statistical" (as they stand in the table)
    max_iterations : of each minimisation
    macrocycles : rounds of outlier rejection, weighting and minimisation, of each kind
    most_macrocycles : static rounds, where outliers and weights do not settle sooner
    max_reflections : most reflections used (evenly drawn over the scan); None for all
    close_to_spindle_cutoff : smallest |zeta| used
    scan_margin_deg : centroids closer than this to the ends of the scan are not used
    min_reflections : fewer of them are an error
    min_per_parameter : reflections wanted per free parameter; short of it parameters are fixed
    """

    beam_fix: tuple[str, ...] = ("in_spindle_plane", "wavelength")
    crystal_fix: tuple[str, ...] = ()
    detector_fix: tuple[str, ...] = ()
    goniometer_fix: tuple[str, ...] = ("all",)
    hierarchy_level: int = 0
    scan_varying: bool = False
    varying_cell: bool = True
    varying_orientation: bool = True
    interval_deg: float | None = None
    outlier_algorithm: str = "robust"
    outlier_probability: float = 0.999
    weights: str = "calibrated"
    max_iterations: int = 30
    macrocycles: int = 2
    most_macrocycles: int = 8
    max_reflections: int | None = None
    close_to_spindle_cutoff: float = 0.02
    scan_margin_deg: float = 0.0
    min_reflections: int = 10
    min_per_parameter: int = 5


@define(kw_only=True)
class Cycle:
    """One minimisation: what it was, how it ended and the rmsds before and after.

    Attributes
    ----------
    rmsd_before, rmsd_after : (x, y) mm and phi or delta-psi (radian)
    reason : why it stopped
    """

    name: str
    n_reflections: int
    n_outliers: int
    n_parameters: int
    n_iterations: int
    rmsd_before: tuple[float, float, float]
    rmsd_after: tuple[float, float, float]
    chi2: float
    reason: str


@define(kw_only=True)
class RefinementResult:
    """New models and the table with new predictions; the inputs are left as they were.

    Attributes
    ----------
    experiments : models that were shared are still shared
    table : copy with ``xyzcal.*``, ``s1``, ``entering`` and the flags *predicted*,
        *used_in_refinement*, *centroid_outlier*, *excluded_for_refinement* renewed
    rmsd : (n_experiments, 3) pixel, pixel, images (stills: degrees of delta-psi) over the reflections used (nan where
        none)
    n_used : (n_experiments,) reflections used
    history : the minimisations in order
    warnings : sentences that the user should see
    variance_model : (3, 2) scale and floor (px, px, image) squared of "calibrated" weights
    """

    experiments: ExperimentList
    table: ReflectionTable
    rmsd: ndarray
    n_used: ndarray
    history: list[Cycle] = field(factory=list)
    warnings: list[str] = field(factory=list)
    variance_model: ndarray | None = None
