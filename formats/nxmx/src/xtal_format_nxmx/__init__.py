"""NeXus NXmx files and masters of DECTRIS detectors."""

from xtal.hooks import Format, hookimpl


@hookimpl
def xtal_formats() -> list[Format]:
    return [
        Format(
            name="nxmx",
            summary="NeXus NXmx (HDF5) and DECTRIS masters, with their linked data files",
            factory="xtal_format_nxmx.format:NXmx",
            extensions=(".nxs", ".h5"),
            reference="Bernstein et al. (2020), IUCrJ 7, 784",
        )
    ]
