"""An experiment: the models that describe one lattice in one scan (or still), and where its images are."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from xtal.models.beam import Beam
from xtal.models.crystal import Crystal
from xtal.models.detector import Detector
from xtal.models.goniometer import Goniometer
from xtal.models.scan import Scan


@define(eq=False)
class Images:
    """Where the images of an experiment are.

    Attributes
    ----------
    template : path; a run of ``#`` stands for the zero-padded image number. Without
        ``#`` it is one file that holds many frames (HDF5).
    paths : paths of stills, one per image, in place of a template
    indices : 0-based frame numbers inside a container, or None
    mask, gain, pedestal, dx, dy : paths of lookup files or None
    params : options of the format plugin
    """

    template: str = ""
    paths: list[str] = field(factory=list)
    indices: list[int] | None = None
    mask: str | None = None
    gain: str | None = None
    pedestal: str | None = None
    dx: str | None = None
    dy: str | None = None
    params: dict[str, Any] = field(factory=dict)
    extra: dict[str, Any] = field(factory=dict)
    source: dict[str, Any] | None = field(default=None, repr=False)


@define(eq=False)
class Experiment:
    """One lattice in one scan. ``profile`` and ``scaling_model`` are what their plugins wrote (JSON)."""

    beam: Beam
    detector: Detector
    goniometer: Goniometer | None = None
    scan: Scan | None = None
    crystal: Crystal | None = None
    images: Images | None = None
    profile: dict[str, Any] | None = None
    scaling_model: dict[str, Any] | None = None
    identifier: str = ""
    extra: dict[str, Any] = field(factory=dict)

    @property
    def is_still(self) -> bool:
        return self.goniometer is None or self.scan is None or self.scan.is_still


class ExperimentList(list[Experiment]):
    """Experiments in the order of the table's column ``id``; ``extra`` keeps unknown top-level keys."""

    def __init__(self, experiments: Any = (), extra: dict[str, Any] | None = None) -> None:
        super().__init__(experiments)
        self.extra: dict[str, Any] = dict(extra or {})
