"""Options of import_xds, named as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope


@frozen
class XdsInput:
    """What is read."""

    xds_file: str | None = option(
        None, help="File of the folder that has the models (None: INTEGRATE.HKL, XPARM.XDS, GXPARM.XDS, XDS_ASCII.HKL)"
    )


@frozen
class ImportXdsOptions:
    """All options of the step."""

    input: XdsInput = scope(XdsInput)
    remove_invalid: bool = option(False, help="Leave out spots without an index (of SPOT.XDS)")
    add_standard_columns: bool = option(False, help="Fill the columns of a DIALS table with zeros, variances with 1")
    read_varying_crystal: bool = option(False, help="Take the crystal of each block of images from INTEGRATE.LP")
