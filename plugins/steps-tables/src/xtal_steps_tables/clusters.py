"""Groups of experiments with similar unit cells."""

from __future__ import annotations

from xtal.errors import DataError
from xtal.models import ExperimentList
from xtal.physics.lattice.cell_groups import cell_distances, group_cells, join_distances
from xtal.run import Context
from xtal_steps_tables.combine_options import ClusteringOptions


def cell_groups(
    context: Context, experiments: ExperimentList, options: ClusteringOptions
) -> list[tuple[int, list[int]]]:
    """Name and experiments of each group that is to be written, largest first; names count down to 1 as in DIALS.

    Raises
    ------
    DataError
        If an experiment has no crystal, or no group is left.
    """
    crystals = [e.crystal for e in experiments if e.crystal is not None]
    if len(crystals) < len(experiments):
        raise DataError("Cells can be compared of indexed experiments only.", advice="Run index first.")
    distances = cell_distances([(c.cell, c.space_group.centring_type()) for c in crystals])
    groups = group_cells(distances, options.threshold)
    rows = []
    for k, group in enumerate(groups):
        cells = sorted((crystals[n].cell.parameters for n in group), key=lambda p: p[0])
        middle = [sorted(values)[len(values) // 2] for values in zip(*cells, strict=True)]
        rows.append([str(len(groups) - k), str(len(group)), " ".join(f"{x:.2f}" for x in middle)])
    context.table("Groups of unit cells", ["group", "experiments", "median cell (Å, °)"], rows)
    if options.dendrogram:
        joins = [[f"{d:.4g}", str(len(experiments) - n)] for n, d in enumerate(join_distances(distances), start=1)]
        context.table("Where groups join", ["distance (Å²)", "groups left"], joins)
    named = [(len(groups) - k, group) for k, group in enumerate(groups)][: options.max_clusters]
    if options.exclude_single_crystal_clusters:
        named = [(name, group) for name, group in named if len(group) > 1]
    if not named:
        raise DataError(
            "No two experiments have similar cells.",
            advice="Raise clustering.threshold, or give exclude_single_crystal_clusters=False.",
        )
    return named
