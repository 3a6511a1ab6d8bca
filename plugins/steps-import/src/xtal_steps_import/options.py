"""Options of import and show; names as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class BeamTolerance:
    wavelength: float = option(1e-6, help="Difference of wavelengths", unit="Å", level=2, ge=0)
    direction: float = option(1e-6, help="Difference of directions, per component", level=2, ge=0)


@frozen
class DetectorTolerance:
    fast_axis: float = option(1e-6, help="Difference of axes, per component", level=2, ge=0)
    slow_axis: float = option(1e-6, help="Difference of axes, per component", level=2, ge=0)
    origin: float = option(5e-2, help="Difference of positions", unit="mm", level=2, ge=0)


@frozen
class GoniometerTolerance:
    rotation_axis: float = option(1e-6, help="Difference of axes, per component", level=2, ge=0)
    fixed_rotation: float = option(1e-6, help="Difference per element", level=2, ge=0)
    setting_rotation: float = option(1e-6, help="Difference per element", level=2, ge=0)


@frozen
class ScanTolerance:
    oscillation: float = option(0.03, help="Jump of the angle between images, of the image's width", level=2, ge=0)


@frozen
class Tolerance:
    beam: BeamTolerance = scope(BeamTolerance)
    detector: DetectorTolerance = scope(DetectorTolerance)
    goniometer: GoniometerTolerance = scope(GoniometerTolerance)
    scan: ScanTolerance = scope(ScanTolerance)


@frozen
class ImportInput:
    template: tuple[str, ...] = option((), help="Template such as img_####.cbf", multiple=True)
    directory: tuple[str, ...] = option((), help="Folder of images", multiple=True, level=1)
    ignore_unhandled: bool = option(False, help="Leave out files that are no images, in place of an error", level=1)
    allow_multiple_sequences: bool = option(True, help="False: more than one scan is an error", level=1)
    tolerance: Tolerance = scope(Tolerance, help="Models that differ less are the same model", level=1)


@frozen
class BeamGeometry:
    wavelength: float | None = option(None, help="Wavelength", unit="Å", gt=0)
    direction: tuple[float, ...] | None = option(None, help="From the sample to the source", size=3, level=1)
    polarization_fraction: float | None = option(None, help="0.5 is unpolarised", ge=0, le=1, level=1)
    polarization_normal: tuple[float, ...] | None = option(None, help="Normal of polarisation", size=3, level=1)


@frozen
class PanelGeometry:
    pixel_size: tuple[float, ...] | None = option(None, help="fast, slow", unit="mm", size=2, level=1)
    gain: float | None = option(None, help="ADU per photon", gt=0, level=1)
    pedestal: float | None = option(None, help="ADU", level=1)
    trusted_range: tuple[float, ...] | None = option(
        None, help="Lowest and highest trusted value, both inclusive", size=2, level=1
    )
    thickness: float | None = option(None, help="Of the sensor", unit="mm", ge=0, level=1)
    material: str | None = option(None, help="Of the sensor", choices=("Si", "CdTe", "GaAs"), level=1)
    parallax_correction: bool | None = option(None, help="Correct positions for parallax", level=1)


@frozen
class DetectorGeometry:
    distance: float | None = option(None, help="Distance along the normal", unit="mm", gt=0)
    fast_slow_beam_centre: tuple[float, ...] | None = option(None, help="fast, slow[, panel]", unit="px")
    slow_fast_beam_centre: tuple[float, ...] | None = option(None, help="slow, fast[, panel]", unit="px", level=1)
    mosflm_beam_centre: tuple[float, ...] | None = option(
        None, help="As mosflm has it: slow, fast", unit="mm", size=2, level=1
    )
    panel: PanelGeometry = scope(PanelGeometry)


@frozen
class GoniometerGeometry:
    axis: tuple[float, ...] | None = option(None, help="Rotation axis, laboratory frame", size=3)
    invert_rotation_axis: bool = option(False, help="Turn the rotation the other way round", level=1)


@frozen
class ScanGeometry:
    image_range: tuple[int, ...] | None = option(None, help="First and last image to take", size=2)
    oscillation: tuple[float, ...] | None = option(
        None, help="Start and width; a width of 0 makes stills", unit="deg", size=2
    )


@frozen
class Geometry:
    beam: BeamGeometry = scope(BeamGeometry)
    detector: DetectorGeometry = scope(DetectorGeometry)
    goniometer: GoniometerGeometry = scope(GoniometerGeometry)
    scan: ScanGeometry = scope(ScanGeometry)


@frozen
class Lookup:
    mask: str | None = option(None, help="Mask file (.npy or .npz of booleans, True is good)", level=1)


@frozen
class ImportOptions:
    """Options of import."""

    geometry: Geometry = scope(Geometry, help="In place of what the headers say")
    input: ImportInput = scope(ImportInput)
    lookup: Lookup = scope(Lookup)


@frozen
class ShowOptions:
    """Options of show."""

    show_scan_varying: bool = option(False, help="The crystal at each scan point")
    show_shared_models: bool = option(False, help="Which experiments share which models")
    show_flags: bool = option(False, help="How many reflections have which flag")
    show_identifiers: bool = option(False, help="Identifiers of the tables", level=1)
    max_reflections: int = option(0, help="Rows of the tables to print", ge=0)
