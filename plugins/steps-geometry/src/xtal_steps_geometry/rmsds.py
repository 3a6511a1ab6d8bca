"""Names of the third residual: the angle of rotation in scans, delta-psi in stills."""

from __future__ import annotations

from collections.abc import Iterable

from xtal.models import Experiment


def third_rmsd(experiments: Iterable[Experiment]) -> str:
    """Heading of a column of rmsds by experiment."""
    kinds = {e.is_still for e in experiments}
    return "Δψ (°)" if kinds == {True} else "z (images)" if kinds == {False} else "z (images), Δψ (°) of stills"


def third_residual(experiments: Iterable[Experiment]) -> str:
    """Heading of a column of angles in degrees over all experiments."""
    kinds = {e.is_still for e in experiments}
    return "Δψ (°)" if kinds == {True} else "phi (°)" if kinds == {False} else "phi, Δψ (°)"
