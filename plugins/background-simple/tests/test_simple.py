from __future__ import annotations

import numpy as np
import pytest

from xtal.table import MaskBit, Shoeboxes
from xtal_background_simple.options import ModelOptions, OutlierOptions, SimpleOptions
from xtal_background_simple.simple import Simple

SHAPE = (3, 11, 9)


def one_box(values: np.ndarray) -> Shoeboxes:
    nz, ny, nx = values.shape
    boxes = Shoeboxes.allocate(np.zeros(1, np.uint32), np.array([[4, 4 + nx, 7, 7 + ny, 2, 2 + nz]], np.int32))
    boxes.data[:] = values.reshape(-1)
    boxes.mask[:] = int(MaskBit.VALID | MaskBit.BACKGROUND)
    return boxes


def model(name: str, outlier: str = "null") -> Simple:
    return Simple(SimpleOptions(outlier=OutlierOptions(algorithm=outlier), model=ModelOptions(algorithm=name)))


@pytest.mark.parametrize("name", ["constant3d", "constant2d", "linear2d", "linear3d"])
def test_against_least_squares(name: str) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(20, 3, SHAPE).astype(np.float32)
    boxes = one_box(values)
    assert model(name).fit(boxes).ok.all()
    z, y, x = (a.ravel() for a in np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(float))
    columns = {"constant": [], "linear": [x, y, z] if name == "linear3d" else [x, y]}[name[:-2]]
    design = np.column_stack([np.ones(len(x)), *columns])
    expected = np.empty(len(x))
    for part in [z == k for k in range(SHAPE[0])] if name.endswith("2d") else [z >= 0]:
        solution = np.linalg.lstsq(design[part], values.ravel()[part], rcond=None)[0]
        expected[part] = design[part] @ solution
    np.testing.assert_allclose(boxes.background, expected, rtol=1e-5)


def test_outliers_are_left_out_and_variance_is_that_of_the_mean() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(50, 7, (4, 20, 20))
    values[0, 0, :3] = 4000
    boxes = one_box(values)
    result = model("constant3d", "nsigma").fit(boxes)
    assert abs(boxes.background[0] - 50) < 5 * 7 / np.sqrt(1600)
    assert 0.8 < result.variance[0] / (49 / 1597) < 1.2
    assert ((boxes.mask & int(MaskBit.BACKGROUND_USED)) != 0).sum() >= 1590


def test_too_few_pixels_fail() -> None:
    boxes = one_box(np.ones(SHAPE))
    boxes.mask[5:] = int(MaskBit.FOREGROUND | MaskBit.VALID)
    assert not model("linear2d").fit(boxes).ok.any()
    assert (boxes.background == 0).all()


def test_negative_values_are_data() -> None:
    boxes = one_box(np.full(SHAPE, -3.0))
    assert model("constant3d").fit(boxes).ok.all()
    np.testing.assert_allclose(boxes.background, -3)
