"""Options of ``simulate`` and ``compare_truth``. What is left out comes from the preset."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class SimulateOptions:
    """Options of ``simulate``."""

    preset: str = option(
        "demo", help="Crystal, detector and scan to start from", choices=("demo", "small", "pilatus_1m")
    )
    format: str = option("cbf", help="Kind of image files to write", choices=("cbf", "nxmx"))
    n_images: int | None = option(None, help="Number of images", ge=1)
    width: float | None = option(None, help="Rotation per image", unit="degree", gt=0)
    photons: float | None = option(None, help="Mean photons of a reflection's crossing", gt=0)
    seed: int | None = option(None, help="Seed of everything that is drawn at random", ge=0)
    space_group: str | None = option(None, help="Space group, Hermann-Mauguin symbol", level=1)
    unit_cell: tuple[float, ...] | None = option(None, help="Unit cell", unit="Å, degree", size=6, level=1)
    image_size: tuple[int, ...] | None = option(None, help="Pixels, fast and slow", unit="px", size=2, level=1)
    distance: float | None = option(None, help="Detector distance", unit="mm", gt=0, level=1)
    wavelength: float | None = option(None, help="Wavelength", unit="Å", gt=0, level=1)
    d_min: float | None = option(
        None, help="Leave out reflections beyond this (None: none is)", unit="Å", gt=0, level=1
    )
    mosaicity: float | None = option(None, help="Standard deviation of block angles", unit="degree", ge=0, level=1)
    background: float | None = option(None, help="Strongest background", unit="photons/px/image", ge=0, level=1)
    anomalous: float | None = option(None, help="Rms of (F+ - F-)/F of acentric reflections", ge=0, le=1, level=1)
    beam_error: tuple[float, ...] | None = option(
        None, help="Error of the beam centre in the headers", unit="px", size=2, level=1
    )
    distance_error: float | None = option(None, help="Error of the distance in the headers", unit="mm", level=1)


@frozen
class CompareTruthOptions:
    """Options of ``compare_truth``."""

    truth: str = option(".", help="Folder that simulate wrote (with truth.json and truth.npz)")
    mtz: str = option("merged.mtz", help="Merged intensities to compare")
    shells: int = option(10, help="Number of resolution shells", ge=1, le=100)
