"""The generic reader of miniCBF, with what the facility knows of one detector."""

from xtal.files import notes
from xtal.models import Goniometer
from xtal_format_cbf_mini.header import Header
from xtal_format_cbf_mini.source import CbfMini, CbfMiniImage

SERIAL = "S/N 99-0001"
AXIS = (-1.0, 0.0, 0.0)


class AcmeMini(CbfMini):
    def sniff(self, head, path):
        ours = super().sniff(head, path) and SERIAL in Header(head.decode("latin-1")).detector
        return 9 if ours else 0  # the instrument itself: above any other claim

    def open(self, path):
        return AcmeImage(path)


class AcmeImage(CbfMiniImage):
    def goniometer(self):
        notes.assumed("rotation axis", AXIS, f"so it turns at the detector {SERIAL}")
        return Goniometer(AXIS)
