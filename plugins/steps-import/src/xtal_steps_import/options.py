"""Options of import and show; names as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope, scopes


@frozen
class BeamTolerance:
    wavelength: float = option(1e-6, help="Difference of wavelengths", unit="Å", level=2, ge=0)
    direction: float = option(1e-6, help="Difference of directions, per component", level=2, ge=0)
    polarization_normal: float = option(1e-6, help="Difference of normals, per component", level=2, ge=0)
    polarization_fraction: float = option(1e-6, help="Difference of fractions", level=2, ge=0)


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
    template: tuple[str, ...] = option(
        (), help="One scan: img_####.cbf, or a part of it: img_####.cbf:1:90", multiple=True
    )
    directory: tuple[str, ...] = option((), help="Folder of images", multiple=True, level=1)
    reference_geometry: str | None = option(None, help="Experiment list (.expt) whose models are taken")
    check_reference_geometry: bool = option(
        True, help="The reference's detector must have the images' panels and pixels", level=1
    )
    use_beam_reference: bool = option(True, help="Take the reference's beam", level=1)
    use_detector_reference: bool = option(True, help="Take the reference's detector", level=1)
    use_gonio_reference: bool = option(
        True, help="Take the reference's goniometer (angles of its axes from the images)", level=1
    )
    split: tuple[int, ...] | None = option(
        None, help="Cut scans into pieces: IMAGES, or FIRST,LAST,IMAGES", level=1, ge=1
    )
    ignore_unhandled: bool = option(False, help="Leave out files that are no images, in place of an error", level=1)
    allow_multiple_sequences: bool = option(True, help="False: more than one scan is an error", level=1)
    tolerance: Tolerance = scope(Tolerance, help="Models that differ less are the same model", level=1)


@frozen
class BeamGeometry:
    wavelength: float | None = option(None, help="Wavelength", unit="Å", gt=0)
    direction: tuple[float, ...] | None = option(None, help="From the sample to the source", size=3, level=1)
    polarization_fraction: float | None = option(None, help="0.5 is unpolarised", ge=0, le=1, level=1)
    polarization_normal: tuple[float, ...] | None = option(None, help="Normal of polarisation", size=3, level=1)
    transmission: float | None = option(None, help="Of the beam before the sample", ge=0, le=1, level=1)
    flux: float | None = option(None, help="Photons per second", ge=0, level=1)
    probe: str | None = option(None, help="What the beam is made of", choices=("x-ray", "electron", "neutron"), level=1)


@frozen
class PanelGeometry:
    id: int | None = option(None, help="Number of the panel, from 0 (None: all panels)", ge=0, level=1)
    name: str | None = option(None, help="Its name", level=1)
    type: str | None = option(None, help="Its type, such as SENSOR_PAD", level=1)
    fast_axis: tuple[float, ...] | None = option(None, help="Laboratory frame", size=3, level=1)
    slow_axis: tuple[float, ...] | None = option(None, help="Laboratory frame", size=3, level=1)
    origin: tuple[float, ...] | None = option(None, help="Outer corner of the first pixel", unit="mm", size=3, level=1)
    image_size: tuple[int, ...] | None = option(None, help="fast, slow", unit="px", size=2, level=1, ge=1)
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
class GroupGeometry:
    id: tuple[int, ...] | None = option(None, help="Place in the tree: 0 is the root's first child, 0,1 ...", level=1)
    name: str | None = option(None, help="Its name", level=1)
    fast_axis: tuple[float, ...] | None = option(None, help="In the frame of the group above", size=3, level=1)
    slow_axis: tuple[float, ...] | None = option(None, help="In the frame of the group above", size=3, level=1)
    origin: tuple[float, ...] | None = option(None, help="In the frame of the group above", unit="mm", size=3, level=1)
    panel: tuple[int, ...] = option((), help="Panels to put into the group; they stay where they are", level=1)


@frozen
class HierarchyGeometry:
    name: str | None = option(None, help="Name of the whole", level=1)
    fast_axis: tuple[float, ...] | None = option(None, help="Panels turn with it", size=3, level=1)
    slow_axis: tuple[float, ...] | None = option(None, help="Panels turn with it", size=3, level=1)
    origin: tuple[float, ...] | None = option(None, help="Panels move with it", unit="mm", size=3, level=1)
    group: tuple[GroupGeometry, ...] = scopes(GroupGeometry)


@frozen
class DetectorGeometry:
    distance: float | None = option(None, help="Distance along the normal", unit="mm", gt=0)
    fast_slow_beam_centre: tuple[float, ...] | None = option(None, help="fast, slow[, panel]", unit="px")
    slow_fast_beam_centre: tuple[float, ...] | None = option(None, help="slow, fast[, panel]", unit="px", level=1)
    mosflm_beam_centre: tuple[float, ...] | None = option(
        None, help="As mosflm has it: slow, fast", unit="mm", size=2, level=1
    )
    panel: tuple[PanelGeometry, ...] = scopes(PanelGeometry)
    hierarchy: HierarchyGeometry = scope(HierarchyGeometry)


@frozen
class GoniometerGeometry:
    axis: tuple[float, ...] | None = option(None, help="Rotation axis, laboratory frame", size=3)
    axes: tuple[float, ...] | None = option(
        None, help="All axes, from the crystal to the base, three numbers each", level=1
    )
    angles: tuple[float, ...] | None = option(None, help="Angle of each axis", unit="deg", level=1)
    names: tuple[str, ...] | None = option(None, help="Name of each axis", level=1)
    scan_axis: int | None = option(None, help="Which of the axes turns, from 0", level=1, ge=0)
    fixed_rotation: tuple[float, ...] | None = option(None, help="Rotation inside the axis, by rows", size=9, level=1)
    setting_rotation: tuple[float, ...] | None = option(
        None, help="Rotation outside the axis, by rows", size=9, level=1
    )
    invert_rotation_axis: bool = option(
        False, help="Turn the rotation the other way round (once, however often it is asked for)", level=1
    )


@frozen
class ScanGeometry:
    image_range: tuple[int, ...] | None = option(None, help="First and last image to take", size=2)
    oscillation: tuple[float, ...] | None = option(
        None, help="Start of the first image, and width; a width of 0 makes stills", unit="deg", size=2
    )
    extrapolate_scan: bool = option(False, help="image_range may go beyond the images that are there", level=1)
    batch_offset: int | None = option(None, help="Added to image numbers to make batch numbers", level=1, ge=0)


@frozen
class Geometry:
    beam: BeamGeometry = scope(BeamGeometry)
    detector: DetectorGeometry = scope(DetectorGeometry)
    goniometer: GoniometerGeometry = scope(GoniometerGeometry)
    scan: ScanGeometry = scope(ScanGeometry)
    convert_stills_to_sequences: bool = option(
        False, help="Images without a rotation are a scan; needs scan.oscillation", level=1
    )
    convert_sequences_to_stills: bool = option(False, help="Each image of a scan is a still", level=1)


@frozen
class Lookup:
    mask: str | None = option(None, help="Mask of pixels: xtal's (.h5), DIALS's (.mask, .pickle) or numpy's (.npy)")
    gain: str | None = option(None, help="Map of gains; kept for DIALS", level=1)
    pedestal: str | None = option(None, help="Map of pedestals; kept for DIALS", level=1)
    dx: str | None = option(None, help="Map of shifts along fast; kept for DIALS", level=1)
    dy: str | None = option(None, help="Map of shifts along slow; kept for DIALS", level=1)


@frozen
class ImportOptions:
    """Options of import."""

    geometry: Geometry = scope(Geometry, help="In place of what the headers say")
    input: ImportInput = scope(ImportInput)
    lookup: Lookup = scope(Lookup)


@frozen
class ImageStatistics:
    show_raw: bool = option(False, help="Least, quartiles and greatest value of every image", level=1)
    show_corrected: bool = option(False, help="The same, corrected for gain and pedestal", level=1)


@frozen
class ShowOutput:
    png: str | None = option(
        None, help="Draw the image into this file, pixel by pixel where it is not too large", writes=True
    )


@frozen
class ShowOptions:
    """Options of show."""

    show_scan_varying: bool = option(False, help="The crystal at each scan point")
    show_shared_models: bool = option(False, help="Which experiments share which models", level=1)
    show_all_reflection_data: bool = option(False, help="Every row, with all columns")
    show_intensities: bool = option(False, help="Rows with intensities", level=1)
    show_centroids: bool = option(False, help="Rows with observed and predicted positions", level=1)
    show_profile_fit: bool = option(False, help="Rows with what profile fitting left", level=1)
    show_flags: bool = option(False, help="How many reflections have which flag")
    show_identifiers: bool = option(False, help="Identifiers of the tables", level=1)
    max_reflections: int | None = option(None, help="At most so many rows", ge=0)
    image_statistics: ImageStatistics = scope(ImageStatistics)
    image: int | None = option(None, help="Number of the image to draw (first)", ge=1)
    output: ShowOutput = scope(ShowOutput)
