"""Experiments that share their images."""

from __future__ import annotations

from typing import Any

from xtal.models import Experiment, ExperimentList


def images_key(experiment: Experiment) -> Any:
    """What tells the images of experiments apart."""
    scan = experiment.scan.image_range if experiment.scan else None
    images = experiment.images
    if images is None:
        return id(experiment)
    return images.template, tuple(images.paths), tuple(images.indices or ()), scan


def imagesets(experiments: ExperimentList) -> list[ExperimentList]:
    """The experiments, those together that share their images, in the order of the first of each."""
    sets: dict[Any, list[Experiment]] = {}
    for experiment in experiments:
        sets.setdefault(images_key(experiment), []).append(experiment)
    return [ExperimentList(members) for members in sets.values()]
