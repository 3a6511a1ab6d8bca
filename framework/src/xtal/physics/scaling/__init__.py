"""Scaling: the least-squares engine, the error model and outlier rejection; models are plugins."""

from xtal.physics.scaling.engine import ScalingResult, ScalingSettings, scale_intensities
from xtal.physics.scaling.error_model import ErrorModel, fit_error_model
from xtal.physics.scaling.observations import ScalingData, scaling_data
from xtal.physics.scaling.outliers import leave_one_out, reject_outliers

__all__ = [
    "ErrorModel",
    "ScalingData",
    "ScalingResult",
    "ScalingSettings",
    "fit_error_model",
    "leave_one_out",
    "reject_outliers",
    "scale_intensities",
    "scaling_data",
]
