"""The step compare_orientation_matrices."""

from __future__ import annotations

import numpy as np

from xtal.errors import DataError, OptionError
from xtal.files import read_experiments
from xtal.models import Crystal, ExperimentList
from xtal.models.space_groups import space_group_of
from xtal.physics.symmetry import Turn, smallest_turn
from xtal.run import Context
from xtal_steps_geometry.reindex_options import CompareOptions


def run(context: Context) -> None:
    """Print by how much each crystal is turned against others."""
    options: CompareOptions = context.options
    # not context.experiments: two states of one data set, before and after refinement, are well compared
    lists = [read_experiments(path) for path in context.inputs["experiments"]]
    crystals = distinct_crystals(ExperimentList([e for one in lists for e in one]))
    if len(crystals) < 2:
        raise DataError(
            "There is only one crystal to compare.", advice="Give the experiment lists (.expt) of two or more crystals."
        )
    group = None
    if options.space_group is not None:
        try:
            group = space_group_of(options.space_group)
        except ValueError as error:
            raise OptionError(f"space_group={options.space_group}: {error}.") from None
    angles = []
    for i, first in enumerate(crystals[:-1]):
        for j in range(i + 1, len(crystals) if options.comparison == "pairwise" else i + 2):
            turn = smallest_turn(first, crystals[j], group)
            angles.append(turn.angle_deg)
            say_turn(context, turn, f"crystal {i + 1}", f"crystal {j + 1}")
            turned = turn.change.crystal(crystals[j]) if group is None else crystals[j].change_basis(turn.change.basis)
            for hkl in options.hkl:
                context.print("({},{},{}): ".format(*hkl) + f"{angle_between(first.A @ hkl, turned.A @ hkl):.2f} deg")
            context.print()
    least, most = f"{min(angles):.3f}°", f"{max(angles):.3f}°"
    turns = least if least == most else f"{least} to {most}"
    context.summary(f"{len(crystals)} crystals, turned by {turns} against one another")


def distinct_crystals(experiments: ExperimentList) -> list[Crystal]:
    """Each crystal of the experiments once."""
    found: list[Crystal] = []
    for k, experiment in enumerate(experiments):
        if experiment.crystal is None:
            raise DataError(f"Experiment {k} has no crystal.", advice="Run index first.")
        if not any(experiment.crystal is c for c in found):
            found.append(experiment.crystal)
    return found


def say_turn(context: Context, turn: Turn, first: str, second: str) -> None:
    """Print a rotation as DIALS does."""
    three = lambda values: ", ".join(f"{x:.3f}" for x in (np.asarray(values).round(3) + 0.0).ravel().tolist())
    rows = ["{" + three(row) + "}" for row in turn.rotation]
    context.print(f"Change of basis op: {turn.change}")
    context.print(f"Rotation matrix to transform {first} to {second}:")
    context.print("{" + ",\n ".join(rows) + "}")
    context.print(f"Rotation of {turn.angle_deg:.3f} degrees about axis ({three(turn.axis)})")


def angle_between(u: np.ndarray, v: np.ndarray) -> float:
    """Angle between two vectors, degrees."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(u, v)), u @ v)))
