"""Models of an experiment: beam, detector, goniometer, scan, crystal.

Every vector is in the laboratory frame of DIALS (imgCIF): +Z points from the sample to
the source, so photons travel along -Z by default; lengths on the detector in mm,
in crystal space in angstrom; angles in radians unless a name ends in ``_deg``.

Models compare by identity: experiments that hold the same object share the model, and
refinement moves them together.
"""

from xtal.models.beam import Beam
from xtal.models.crystal import Crystal
from xtal.models.detector import Detector, Group, Panel
from xtal.models.experiment import Experiment, ExperimentList, Images
from xtal.models.goniometer import Goniometer, rotation_matrix
from xtal.models.scan import Scan

__all__ = [
    "Beam",
    "Crystal",
    "Detector",
    "Experiment",
    "ExperimentList",
    "Goniometer",
    "Group",
    "Images",
    "Panel",
    "Scan",
    "rotation_matrix",
]
