"""Options of the step index, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import Choice, option, plugin_choice, scope


@frozen
class KnownSymmetryOptions:
    """What is known of the crystal."""

    space_group: str | None = option(None, help="Space group, in any setting; that setting is kept")
    unit_cell: tuple[float, ...] | None = option(None, help="Unit cell a,b,c,alpha,beta,gamma", unit="Å, deg", size=6)
    relative_length_tolerance: float = option(0.1, help="Largest misfit of cell edges, relative", level=1, gt=0)
    absolute_angle_tolerance: float = option(5.0, help="Largest misfit of cell angles", unit="deg", level=1, gt=0)
    max_delta: float = option(5.0, help="Largest obliquity of the lattice's two-folds", unit="deg", level=1, ge=0)


@frozen
class MultipleLatticeOptions:
    """Search for further lattices."""

    max_lattices: int = option(1, help="Most lattices sought", ge=1)
    recycle_unindexed_reflections_cutoff: float = option(
        0.1, help="Seek another lattice while this fraction of the spots has no index", level=1, ge=0, le=1
    )
    minimum_angular_separation: float = option(
        5.0, help="Lattices closer in orientation than this are one", unit="deg", level=1, ge=0
    )
    min_indexed_fraction: float = option(
        0.1, help="Share of the spots left over that a further lattice must explain", level=1, ge=0, le=1
    )


@frozen
class SimpleAssignmentOptions:
    """Rounding to the nearest index."""

    hkl_tolerance: float = option(0.3, help="Largest distance of h, k, l from integers", level=1, gt=0, le=0.5)


@frozen
class AssignmentOptions:
    """Assignment of indices."""

    simple: SimpleAssignmentOptions = scope(SimpleAssignmentOptions)


@frozen
class ProtocolOptions:
    """Cycles of assignment and refinement."""

    n_macro_cycles: int = option(3, help="Cycles, the resolution growing from one to the next", level=1, ge=1)


@frozen
class BeamSearchOptions:
    """Search for an error of the beam centre."""

    enable: Literal["auto"] | bool = option(
        "auto", help="auto: only where the lattice explains the spots no better than from a wrong origin", level=1
    )
    scope: float = option(4.0, help="Range of the search in spacings of spots", level=1, gt=0)


@frozen
class IndexingOptions:
    """Search for the lattice."""

    method: Choice = plugin_choice("indexing", default="fft3d", help="How lattice vectors are found")
    known_symmetry: KnownSymmetryOptions = scope(KnownSymmetryOptions)
    multiple_lattice_search: MultipleLatticeOptions = scope(MultipleLatticeOptions)
    max_cell: float | Literal["auto"] = option("auto", help="Longest cell edge to search for", unit="Å", gt=0)
    min_cell_volume: float = option(25.0, help="Smallest volume of the primitive cell", unit="Å^3", level=1, gt=0)
    min_cell: float = option(3.0, help="Shortest edge of the primitive cell", unit="Å", level=1, gt=0)
    d_min: float | None = option(None, help="Finest resolution of the lattice search", unit="Å", level=1, gt=0)
    joint_indexing: bool | Literal["auto"] = option(
        "auto", help="One crystal for all scans; auto: yes for scans, no for stills", level=1
    )
    index_assignment: AssignmentOptions = scope(AssignmentOptions)
    refinement_protocol: ProtocolOptions = scope(ProtocolOptions)
    beam_search: BeamSearchOptions = scope(BeamSearchOptions)
    try_inverted_axis: bool = option(
        True, help="Invert the rotation axis where only then the spots lie on a lattice", level=1
    )


@frozen
class FixBeam:
    """Beam."""

    fix: tuple[str, ...] = option(
        ("in_spindle_plane", "wavelength"),
        help="What of the beam is held",
        choices=("all", "in_spindle_plane", "out_spindle_plane", "wavelength"),
        level=1,
    )


@frozen
class FixCrystal:
    """Crystal."""

    fix: tuple[str, ...] = option(
        (), help="What of the crystal is held", choices=("all", "cell", "orientation"), level=1
    )


@frozen
class FixDetector:
    """Detector."""

    fix: tuple[str, ...] | Literal["auto"] = option(
        "auto",
        help="What of the detector is held; auto: for electrons its distance (and tilts in P1), else nothing",
        choices=("all", "position", "orientation", "distance", "tilt"),
    )


@frozen
class ParameterisationOptions:
    """What is refined."""

    beam: FixBeam = scope(FixBeam)
    crystal: FixCrystal = scope(FixCrystal)
    detector: FixDetector = scope(FixDetector)


@frozen
class IndexRefinementOptions:
    """Refinement between assignments (always static)."""

    parameterisation: ParameterisationOptions = scope(ParameterisationOptions)
    max_reflections: int = option(6000, help="Most reflections used in a refinement", level=1, ge=100)


@frozen
class IndexOptions:
    """What the user may set."""

    indexing: IndexingOptions = scope(IndexingOptions)
    refinement: IndexRefinementOptions = scope(IndexRefinementOptions)
