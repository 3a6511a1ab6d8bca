"""Contracts of formats, thresholds and indexing methods."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtal.errors import DataError
from xtal.files.notes import listening
from xtal.files.raw import read_head
from xtal.hooks import Descriptor
from xtal.hooks.protocols import ImageFormat, IndexingMethod, ThresholdAlgorithm
from xtal.models import ExperimentList
from xtal.testing.conformance import check_methods, describe
from xtal.testing.data import tiny_experiment

HEAD = 4096


def check_format(plugin: str | Descriptor, sample: str | Path | None = None) -> None:
    """Claims, models, reading, and truncated files.

    Parameters
    ----------
    sample
        A file of this format; without it only the claims to foreign files are checked.
    """
    descriptor, construct = describe("format", plugin)
    reader = construct()
    check_methods(reader, ImageFormat)
    nothing = Path("nothing" + (getattr(descriptor, "extensions", ()) or (".dat",))[0])
    for head in (b"", b"\0" * HEAD, b"This is a text and no image.\n" * 100, bytes(range(256)) * 16):
        assert reader.sniff(head, nothing) == 0, f"{descriptor.name} claims a file that is no image: {head[:20]!r}"
    if sample is not None:
        _check_sample(descriptor.name, reader, Path(sample))


def _check_sample(name: str, reader: Any, path: Path) -> None:
    claim = reader.sniff(read_head(path, HEAD), path)
    assert 1 <= claim <= 9, f"{name} claims {claim} for its sample; 1 (generic) to 9 (one instrument) is expected"
    source = reader.open(path)
    try:
        assert source.n_frames >= 1
        beam, detector, _, scan = source.models()
        assert beam.wavelength > 0 or np.isnan(beam.wavelength), "a wavelength that the header lacks is NaN"
        assert len(detector) == len(source.shapes), "one shape per panel is needed"
        for panel, (slow, fast) in zip(detector, source.shapes, strict=True):
            assert panel.image_size == (fast, slow), "image_size is (fast, slow), shapes are (slow, fast)"
            assert abs(float(panel.fast_axis @ panel.slow_axis)) < 1e-6, "axes of a panel are not at right angles"
            assert panel.trusted_range[0] < panel.trusted_range[1]
        if scan is not None:
            assert scan.n_images == source.n_frames, "the scan covers the frames of the file"
        _check_frames(source)
    finally:
        source.close()
    _check_explained(name, reader, path)
    _check_truncated(reader, path)


def _check_explained(name: str, reader: Any, path: Path) -> None:
    """The format says what it reads from where, and what it assumes (`xtal.files.notes`)."""
    with listening() as notes:
        source = reader.open(path)
        beam, _, goniometer, _ = source.models()
        source.close()
    assert any(n.kind == "read" for n in notes), f"{name} does not say what it reads: call xtal.files.notes.read"
    for note in notes:
        assert note.what and note.value and note.where, f"{name} says {note}: what, value and where are needed"
    told = " ".join(f"{n.what} {n.where}" for n in notes).lower()
    assert np.isnan(beam.wavelength) or "wavelen" in told, f"{name} does not say where the wavelength is from"
    assert goniometer is None or "axis" in told, f"{name} does not say where the rotation axis is from"


def _buffers(source: Any) -> list[NDArray[Any]]:
    return [np.empty(shape, source.dtype) for shape in source.shapes]


def _check_frames(source: Any) -> None:
    first = _buffers(source)
    source.read(0, first)
    again = _buffers(source)
    source.read(0, again)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other, "reading a frame twice gives different values")

    def work(_: int) -> list[NDArray[Any]]:
        own = _buffers(source)
        source.read(0, own)
        return own

    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(work, range(8)):
            np.testing.assert_array_equal(got[0], first[0], "reading in several threads gives different values")
    for masks in (source.masks(), source.frame_mask(0)):
        if masks is not None:
            shapes = [m.shape for m in masks]
            assert shapes == [tuple(s) for s in source.shapes], f"masks {shapes} do not fit {source.shapes}"
            assert all(m.dtype == bool for m in masks), "masks are bool, True is good"


def _check_truncated(reader: Any, path: Path) -> None:
    content = path.read_bytes()
    with TemporaryDirectory() as folder:
        short = Path(folder) / path.name
        short.write_bytes(content[: len(content) // 2])
        try:
            source = reader.open(short)
            source.read(0, _buffers(source))
        except DataError as error:
            assert short.name in str(error), f"the error of a truncated file does not name it: {error}"
            return
        raise AssertionError("half a file was read without a DataError")


# --- thresholds -----------------------------------------------------------------------


def spotty_image(seed: int = 0, dtype: str = "int32") -> tuple[NDArray[Any], NDArray[np.bool_], list[tuple[int, int]]]:
    """Poisson background of 2 counts with bright spots of 3 x 3 pixels; image, mask and centres (slow, fast)."""
    rng = np.random.default_rng(seed)
    image = rng.poisson(2.0, (100, 120))
    centres = [(20, 30), (56, 72), (80, 95)]
    for slow, fast in centres:
        image[slow - 1 : slow + 2, fast - 1 : fast + 2] += rng.poisson(60.0, (3, 3))
    mask = np.ones(image.shape, dtype=bool)
    mask[:, 40:44] = False
    image[~mask] = 50000
    return image.astype(dtype), mask, centres


def check_threshold(plugin: str | Descriptor) -> None:
    """Finds bright spots, leaves the background and masked pixels, changes nothing it is given."""
    descriptor, construct = describe("threshold", plugin)
    algorithm = construct()
    check_methods(algorithm, ThresholdAlgorithm)
    experiment = tiny_experiment()
    for dtype in ("int32", "uint16"):
        image, mask, centres = spotty_image(dtype=dtype)
        kept_image, kept_mask = image.copy(), mask.copy()
        kernel = algorithm.prepare(experiment, 0, mask)
        strong = np.ones(image.shape, dtype=bool)
        kernel(image, mask, strong, 0)
        np.testing.assert_array_equal(image, kept_image, "the image was changed")
        np.testing.assert_array_equal(mask, kept_mask, "the mask was changed")
        assert not strong[~mask].any(), f"{descriptor.name} marks masked pixels"
        missed = [c for c in centres if not strong[c]]
        assert not missed, f"{descriptor.name} misses bright spots at {missed} ({dtype})"
        _check_background_rate(descriptor.name, strong, centres)
        _check_repeatable(algorithm, experiment, image, mask, strong)
    image[:] = 0
    strong = np.ones(image.shape, dtype=bool)
    algorithm.prepare(experiment, 0, mask)(image, mask, strong, 0)
    assert not strong.any(), f"{descriptor.name} finds spots in an empty image"
    none = np.zeros_like(mask)
    strong[:] = True
    algorithm.prepare(experiment, 0, none)(image, none, strong, 0)
    assert not strong.any(), f"{descriptor.name} finds spots where all is masked"


def _check_background_rate(name: str, strong: NDArray[np.bool_], centres: list[tuple[int, int]]) -> None:
    far = strong.copy()
    for slow, fast in centres:
        far[slow - 5 : slow + 6, fast - 5 : fast + 6] = False
    rate = far.mean()
    assert rate < 0.01, f"{name} marks {100 * rate:.1f} % of a flat background"


def _check_repeatable(algorithm: Any, experiment: Any, image: Any, mask: Any, strong: NDArray[np.bool_]) -> None:
    def work(_: int) -> NDArray[np.bool_]:
        kernel = algorithm.prepare(experiment, 0, mask)
        out = np.empty(image.shape, dtype=bool)
        kernel(image[::-1].copy(), mask[::-1].copy(), out, 1)
        kernel(image, mask, out, 0)
        return out

    with ThreadPoolExecutor(3) as pool:
        for out in pool.map(work, range(6)):
            np.testing.assert_array_equal(out, strong, "the result depends on what was done before or in other threads")


# --- indexing -------------------------------------------------------------------------


def check_indexing(plugin: str | Descriptor, fraction: float = 0.9) -> None:
    """Finds the periods of a perfect lattice with a little noise.

    Parameters
    ----------
    fraction
        Of the points that the vectors found must explain.
    """
    descriptor, construct = describe("indexing", plugin)
    method = construct()
    check_methods(method, IndexingMethod)
    experiment = tiny_experiment()
    assert experiment.crystal is not None
    rng = np.random.default_rng(5)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a_matrix = turn * np.sign(np.linalg.det(turn)) @ experiment.crystal.A
    hkl = rng.integers(-12, 13, size=(1500, 3))
    rlp = hkl @ a_matrix.T
    d_star = np.linalg.norm(rlp, axis=1)
    rlp = rlp[(d_star > 0.02) & (d_star < 1 / 3.0)] + 0.0
    rlp += rng.normal(scale=2e-4, size=rlp.shape)
    kept = rlp.copy()
    found = method.candidates(rlp, ExperimentList([experiment]), 130.0, 3.0)
    np.testing.assert_array_equal(rlp, kept, "the points were changed")
    assert found.vectors.ndim == 2 and found.vectors.shape[1] == 3, "vectors are (n, 3)"
    assert len(found.scores) == len(found.vectors), "one score per vector"
    if len(found.orientations):
        bases = [np.linalg.inv(a) for a in found.orientations]
    else:
        assert np.all(np.diff(found.scores) <= 1e-9 * np.abs(found.scores[:-1])), "the best vectors come first"
        bases = [found.vectors]
    explained = max(_explained(rlp, vectors, fraction) for vectors in bases)
    assert explained == 3, f"{descriptor.name} finds only {explained} independent periods of a perfect lattice"
    again = method.candidates(rlp, ExperimentList([experiment]), 130.0, 3.0)
    np.testing.assert_allclose(again.vectors, found.vectors, rtol=1e-6, err_msg="two calls give different vectors")


def _explained(rlp: NDArray[np.float64], vectors: NDArray[np.float64], fraction: float) -> int:
    """How many independent vectors explain at least a fraction of the points."""
    phase = rlp @ vectors.T
    good = np.mean(np.abs(phase - np.round(phase)) < 0.2, axis=0) >= fraction
    return int(np.linalg.matrix_rank(vectors[good], tol=1.0)) if good.any() else 0
