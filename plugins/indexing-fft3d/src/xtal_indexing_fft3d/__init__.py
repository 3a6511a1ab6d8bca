"""Lattice search by a three-dimensional Fourier transform of the spots."""

from xtal.hooks import Indexing, hookimpl


@hookimpl
def xtal_indexings() -> list[Indexing]:
    return [
        Indexing(
            name="fft3d",
            summary="Three-dimensional Fourier transform of the spots in reciprocal space",
            factory="xtal_indexing_fft3d.fft3d:Fft3d",
            options="xtal_indexing_fft3d.options:Fft3dOptions",
            reference="Campbell (1998) J. Appl. Cryst. 31, 407",
        )
    ]
