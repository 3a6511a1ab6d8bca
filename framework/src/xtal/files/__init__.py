"""Experiment lists (.expt) and reflection tables (.refl) in DIALS's own formats; atomic writes."""

from xtal.files.atomic import writing
from xtal.files.experiments import read_experiments, write_experiments
from xtal.files.masks import read_mask, write_gain_map, write_mask
from xtal.files.reflections import read_reflections, write_reflections

__all__ = [
    "read_experiments",
    "read_mask",
    "read_reflections",
    "write_experiments",
    "write_gain_map",
    "write_mask",
    "write_reflections",
    "writing",
]
