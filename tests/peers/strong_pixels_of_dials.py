"""Run by DIALS's own Python: IMAGE OUTPUT; values, mask and strong pixels of each panel by each threshold."""

import sys

import numpy as np
from dials.command_line.find_spots import phil_scope
from dials.extensions.dispersion_extended_spotfinder_threshold_ext import DispersionExtendedSpotFinderThresholdExt
from dials.extensions.dispersion_spotfinder_threshold_ext import DispersionSpotFinderThresholdExt
from dials.extensions.radial_profile_spotfinder_threshold_ext import RadialProfileSpotFinderThresholdExt
from dxtbx.model.experiment_list import ExperimentListFactory

THRESHOLDS = {
    "dispersion": DispersionSpotFinderThresholdExt,
    "dispersion_extended": DispersionExtendedSpotFinderThresholdExt,
    "radial_profile": RadialProfileSpotFinderThresholdExt,
}

experiments = ExperimentListFactory.from_filenames([sys.argv[1]])
experiments.as_file(sys.argv[2] + ".expt")
imageset = experiments[0].imageset
out = {}
for panel, (raw, mask) in enumerate(zip(imageset.get_corrected_data(0), imageset.get_mask(0))):
    out[f"image_{panel}"] = raw.as_numpy_array()
    out[f"mask_{panel}"] = mask.as_numpy_array()
    for name, threshold in THRESHOLDS.items():
        if name == "radial_profile" and len(imageset.get_detector()) > 1:
            continue  # takes one panel only
        found = threshold(phil_scope.extract()).compute_threshold(raw, mask, imageset=imageset, i_panel=panel)
        out[f"{name}_{panel}"] = found.as_numpy_array()
        for blur in ("narrow", "wide") if name == "radial_profile" else ():
            options = phil_scope.extract()
            options.spotfinder.threshold.radial_profile.blur = blur
            found = threshold(options).compute_threshold(raw, mask, imageset=imageset, i_panel=panel)
            out[f"{blur}_{panel}"] = found.as_numpy_array()
np.savez(sys.argv[2], **out)
