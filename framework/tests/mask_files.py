"""Masks as DIALS pickles them, for tests."""

from __future__ import annotations

SHAPES = [(4, 5), (3, 7)]
# as dials.generate_mask's pickles are, of two panels; protocols 0, 2 and 4
THEIRS = {
    0: b"(cscitbx_array_family_flex_ext\nbool\np0\n(tRp1\n(cscitbx_array_family_flex_ext\ngrid\np2\n((I0\nI0\ntp3\n"
    b"(I4\nI5\ntp4\nI01\ntp5\nRp6\n(I4\nI5\ntp7\nbc_codecs\nencode\np8\n(V\x02\x1411101111111111111111\np9\n"
    b"Vlatin1\np10\ntp11\nRp12\ntp13\nbg0\n(tRp14\n(g2\n((I0\nI0\ntp15\n(I3\nI7\ntp16\nI01\ntp17\nRp18\n(I3\nI7\n"
    b"tp19\nbg8\n(V\x02\x15111011111111111111111\np20\ng10\ntp21\nRp22\ntp23\nbtp24\n.",
    2: b"\x80\x02cscitbx_array_family_flex_ext\nbool\nq\x00)Rq\x01cscitbx_array_family_flex_ext\ngrid\nq\x02K\x00K\x00"
    b"\x86q\x03K\x04K\x05\x86q\x04\x88\x87q\x05Rq\x06K\x04K\x05\x86q\x07bc_codecs\nencode\nq\x08X\x16\x00\x00\x00"
    b"\x02\x1411101111111111111111q\tX\x06\x00\x00\x00latin1q\n\x86q\x0bRq\x0c\x86q\rbh\x00)Rq\x0eh\x02K\x00K\x00"
    b"\x86q\x0fK\x03K\x07\x86q\x10\x88\x87q\x11Rq\x12K\x03K\x07\x86q\x13bh\x08X\x17\x00\x00\x00\x02\x15"
    b"111011111111111111111q\x14h\n\x86q\x15Rq\x16\x86q\x17b\x86q\x18.",
    4: b"\x80\x04\x95\xa9\x00\x00\x00\x00\x00\x00\x00\x8c\x1cscitbx_array_family_flex_ext\x94\x8c\x04bool\x94\x93\x94)R"
    b"\x94h\x00\x8c\x04grid\x94\x93\x94K\x00K\x00\x86\x94K\x04K\x05\x86\x94\x88\x87\x94R\x94K\x04K\x05\x86\x94bC\x16"
    b"\x02\x1411101111111111111111\x94\x86\x94bh\x02)R\x94h\x05K\x00K\x00\x86\x94K\x03K\x07\x86\x94\x88\x87\x94R\x94"
    b"K\x03K\x07\x86\x94bC\x17\x02\x15111011111111111111111\x94\x86\x94b\x86\x94.",
}
