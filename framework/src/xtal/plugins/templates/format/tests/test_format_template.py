"""The format ``template`` keeps the contract of its kind, shown on images that are written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from xtal_format_template.algorithm import HEADER, MAGIC

from xtal.testing import check_format


def test_contract(tmp_path: Path) -> None:
    values = {"width": 120, "height": 100, "wavelength": 0.98, "pixel_mm": 0.1, "distance_mm": 150}
    values |= {"beam_x_mm": 6.1, "beam_y_mm": 4.9, "image": 7, "angle_deg": 3.0, "oscillation_deg": 0.5}
    header = MAGIC + "".join(f"{key} = {value}\n" for key, value in values.items()).encode()
    paths = [tmp_path / f"sample_{k}.raw" for k in range(2)]
    for k, path in enumerate(paths):
        pixels = np.random.default_rng(k).poisson(3.0, (100, 120)).astype("<i4")
        path.write_bytes(header.ljust(HEADER) + pixels.tobytes())
    check_format("template", paths[0], others=paths[1:])
