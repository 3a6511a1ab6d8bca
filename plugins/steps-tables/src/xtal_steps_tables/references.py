"""One model for all experiments: that of one of them, or the mean detector."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError, OptionError
from xtal.files.decode import decode_detector
from xtal.files.encode import encode_detector
from xtal.models import Detector, Experiment, ExperimentList, rotation_matrix
from xtal_steps_tables.combine_options import ReferenceOptions, Tolerance

Json = dict[str, Any]
NAMES = ("beam", "detector", "goniometer", "scan", "crystal")


def share_models(experiments: ExperimentList, options: ReferenceOptions) -> None:
    """Put the models that the options name in the place of every experiment's own.

    Raises
    ------
    OptionError
        If an experiment does not exist.
    DataError
        If a model differs from the shared one by more than the tolerance.
    """
    shared: dict[str, Any] = {}
    for name in NAMES:
        number = getattr(options, name)
        if number is None:
            continue
        if number >= len(experiments):
            raise OptionError(
                f"reference_from_experiment.{name}={number} is not among the experiments 0 to {len(experiments) - 1}."
            )
        shared[name] = getattr(experiments[number], name)
    if options.average_detector:
        if "detector" in shared:
            raise OptionError("reference_from_experiment.detector= and average_detector= exclude one another.")
        shared["detector"] = mean_detector([e.detector for e in experiments], options.average_hierarchy_level)
    for k, experiment in enumerate(experiments):
        for name, model in shared.items():
            if options.compare_models and not (name == "detector" and options.average_detector):
                _compare(k, name, experiment, model, options.tolerance)
            setattr(experiment, name, model)


def _compare(number: int, name: str, experiment: Experiment, shared: Any, tolerance: Tolerance) -> None:
    own = getattr(experiment, name)
    if own is shared or name not in ("beam", "detector", "goniometer"):
        return
    found = differences(name, own, shared, tolerance)
    if found:
        raise DataError(
            f"The {name} of experiment {number} differs from the shared one: {'; '.join(found)}.",
            advice="Widen reference_from_experiment.tolerance, or give compare_models=False.",
        )


def differences(name: str, own: Any, shared: Any, tolerance: Tolerance) -> list[str]:
    """What differs by more than the tolerance, as "name: own value, other value"."""
    if own is None or shared is None:
        return [] if own is shared else ["one of them is missing"]
    pairs: list[tuple[str, Any, Any, float]] = []
    if name == "beam":
        beam = tolerance.beam
        names = ("wavelength", "direction", "polarization_normal", "polarization_fraction")
        pairs = [(key, getattr(own, key), getattr(shared, key), getattr(beam, key)) for key in names]
    elif name == "goniometer":
        gonio = tolerance.goniometer
        pairs = [("rotation_axis", own.axis_datum, shared.axis_datum, gonio.rotation_axis)]
        for key in ("fixed_rotation", "setting_rotation"):
            pairs.append((key, getattr(own, key), getattr(shared, key), getattr(gonio, key)))
    else:
        if len(own) != len(shared):
            return [f"{len(own)} panels, {len(shared)} panels"]
        for k, (a, b) in enumerate(zip(own, shared, strict=True)):
            for key in ("fast_axis", "slow_axis", "origin"):
                pairs.append((f"panel {k} {key}", getattr(a, key), getattr(b, key), getattr(tolerance.detector, key)))
            pairs.append((f"panel {k} image_size", a.image_size, b.image_size, 0.0))
            pairs.append((f"panel {k} pixel_size", a.pixel_size, b.pixel_size, 1e-6))
    return [f"{key}: {_text(a)}, {_text(b)}" for key, a, b, limit in pairs if np.abs(np.subtract(a, b)).max() > limit]


def _text(value: Any) -> str:
    return "(" + ", ".join(f"{x:.8g}" for x in np.ravel(value)) + ")" if np.ndim(value) else f"{value:.8g}"


def mean_detector(detectors: list[Detector], level: int | None) -> Detector:
    """A detector whose frames, each within its group, are the means of those of all.

    Axes are made perpendicular again, each turning by half of what is missing.

    Parameters
    ----------
    level
        Only this level of the tree is averaged (0: the root); the rest is that of the first detector.

    Raises
    ------
    DataError
        If the detectors are not built alike.
    """
    encoded = [encode_detector(d) for d in detectors]
    if len({_shape(e["hierarchy"]) for e in encoded}) > 1 or len({len(e["panels"]) for e in encoded}) > 1:
        raise DataError("The detectors have different panels and cannot be averaged.")
    first = encoded[0]
    _average(first["hierarchy"], [e["hierarchy"] for e in encoded], [e["panels"] for e in encoded], 0, level)
    return decode_detector(first, inclusive=False)


def _shape(node: Json) -> Any:
    return tuple(child.get("panel", None) if "panel" in child else _shape(child) for child in node["children"])


def _average(target: Json, nodes: list[Json], panels: list[list[Json]], depth: int, level: int | None) -> None:
    if level is None or level == depth:
        mean: dict[str, NDArray[np.float64]] = {
            key: np.mean([n[key] for n in nodes], axis=0) for key in ("fast_axis", "slow_axis", "origin")
        }
        fast, slow = _perpendicular(mean["fast_axis"], mean["slow_axis"])
        target.update(fast_axis=fast.tolist(), slow_axis=slow.tolist(), origin=mean["origin"].tolist())
    for k, child in enumerate(target.get("children", [])):
        below = [n["children"][k] for n in nodes]
        if "panel" in child:
            leaves = [p[child["panel"]] for p in panels]
            _average(leaves[0], leaves, panels, depth + 1, level)
        else:
            _average(child, below, panels, depth + 1, level)


def _perpendicular(
    fast: NDArray[np.float64], slow: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors in the same plane at right angles, with the same middle."""
    fast, slow = fast / np.linalg.norm(fast), slow / np.linalg.norm(slow)
    excess = (float(np.arccos(np.clip(fast @ slow, -1, 1))) - np.pi / 2) / 2
    normal = np.cross(fast, slow)
    return rotation_matrix(normal, excess) @ fast, rotation_matrix(normal, -excess) @ slow
