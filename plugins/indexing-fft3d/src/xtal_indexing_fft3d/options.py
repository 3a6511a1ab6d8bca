"""Options of the Fourier search."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option


@frozen
class Fft3dOptions:
    """What the user may set."""

    n_points: int = option(256, help="Largest grid, points per edge; smaller where fewer do", ge=64, le=512)
    sigma_cutoff: float = option(6.0, help="Peaks lower than this many rms of the map are left out", level=1, gt=0)
    max_vectors: int = option(60, help="Most lattice vectors that are given back", level=1, ge=3)
