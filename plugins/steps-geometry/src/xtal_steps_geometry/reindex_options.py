"""Options of reindex and compare_orientation_matrices, named as in DIALS."""

from __future__ import annotations

from typing import Literal

from attrs import frozen

from xtal.options import option, scope


@frozen
class ReferenceModelOptions:
    """Bulk solvent of a reference structure."""

    k_sol: float = option(0.35, help="Density of the solvent", unit="e/Å³", ge=0)
    b_sol: float = option(46.0, help="B factor of the solvent", unit="Å²", ge=0)


@frozen
class ReferenceOptions:
    """A data set, or a structure, in the setting that is wanted."""

    experiments: str | None = option(None, help="Experiment list to whose crystal the orientation is brought")
    reflections: str | None = option(None, help="Its reflections: the indexing is chosen by their correlation")
    file: str | None = option(
        None, help="MTZ, mmCIF or PDB whose intensities, or structure, choose the indexing", level=1
    )
    reference_model: ReferenceModelOptions = scope(ReferenceModelOptions, level=1)


@frozen
class ReindexOptions:
    """All options of reindex."""

    change_of_basis_op: str | Literal["auto"] = option(
        "a,b,c", help="New axes as sums of the old ones (or of h,k,l or x,y,z); Auto: from what is given"
    )
    hkl_offset: tuple[int, ...] | None = option(None, help="Added to the indices first", size=3)
    space_group: str | None = option(None, help="Space group on the new axes; the cell is made to fit it")
    reference: ReferenceOptions = scope(ReferenceOptions)


@frozen
class CompareOptions:
    """All options of compare_orientation_matrices."""

    hkl: tuple[tuple[int, int, int], ...] = option(
        (), help="Show the angle between the vectors of this index; may be repeated", multiple=True, size=3
    )
    comparison: Literal["pairwise", "sequential"] = option(
        "pairwise", help="Every crystal with every other, or with the next"
    )
    space_group: str | None = option(None, help="Symmetry of all crystals (None: that of the second of each pair)")
