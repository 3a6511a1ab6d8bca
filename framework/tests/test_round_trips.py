"""Every processed file in the shared data comes back from a round trip as it was."""

from __future__ import annotations

import hashlib
import json
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtal.errors import DataError
from xtal.files import read_experiments, read_reflections, write_experiments, write_reflections
from xtal.models import ExperimentList
from xtal.testing import shared_dir

LOOKUPS = ("mask", "gain", "pedestal", "dx", "dy", "template")


def files(*suffixes: str) -> list[Path]:
    found = sorted(p for p in (shared_dir() / "data" / "processed_dials").rglob("*") if p.suffix in suffixes)
    assert found
    return found


def is_table(path: Path) -> bool:
    with open(path, "rb") as stream:
        return b"dials::af::reflection_table" in stream.read(64)


def test_every_table_comes_back_byte_for_byte(tmp_path):
    tables = [p for p in files(".refl", ".pickle") if is_table(p)]
    assert len(tables) >= 19
    for path in tables:
        write_reflections(read_reflections(path), tmp_path / "a.refl")
        assert (tmp_path / "a.refl").read_bytes() == path.read_bytes(), path


def test_every_column_comes_back_when_all_were_read(tmp_path):
    """Unread columns are copied; these are taken apart and put together again."""
    for path in (p for p in files(".refl", ".pickle") if is_table(p)):
        table = read_reflections(path)
        for name in list(table):
            column = table[name]
            table[name] = column.copy() if isinstance(column, np.ndarray) else deepcopy(column)
        write_reflections(table, tmp_path / "a.refl")
        again, wanted = read_reflections(tmp_path / "a.refl"), read_reflections(path)
        assert list(again) == list(wanted) and again.identifiers == wanted.identifiers, path
        for name in wanted:
            if isinstance(wanted[name], np.ndarray):
                assert again[name].dtype == wanted[name].dtype
                np.testing.assert_array_equal(again[name], wanted[name], err_msg=f"{path} {name}")
            else:
                for part in ("panel", "bbox", "data", "mask", "background"):
                    np.testing.assert_array_equal(getattr(again[name], part), getattr(wanted[name], part))


def test_every_pickle_is_refused_in_one_sentence():
    pickles = [p for p in files(".refl", ".pickle") if not is_table(p)]
    assert pickles
    for path in pickles:
        with pytest.raises(DataError, match="is a Python pickle, which xtal never opens"):
            read_reflections(path)


def lost(original: Any, written: Any, path: str = "") -> list[str]:
    """Where the file written lacks what the original has, or has another value."""
    if isinstance(original, dict) and isinstance(written, dict):
        return [
            w
            for key, value in original.items()
            for w in (lost(value, written[key], f"{path}.{key}") if key in written else [f"{path}.{key}"])
        ]
    if isinstance(original, list) and isinstance(written, list) and len(original) == len(written):
        return [w for a, b in zip(original, written, strict=True) for w in lost(a, b, f"{path}[]")]
    return [] if original == written else [path]


def as_we_write(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The differences that are meant: whole paths, exclusive trusted ranges, attenuation with the panel."""
    inclusive = "history" in content or any("__id__" in beam for beam in content["beam"])
    for images in content["imageset"]:
        for key in LOOKUPS:
            if images.get(key) and not os.path.isabs(images[key]):
                images[key] = str(path.parent / images[key])
        if "images" in images:
            images["images"] = [str(path.parent / name) for name in images["images"]]
    for detector in content["detector"]:
        for panel in detector["panels"]:
            low, high = panel["trusted_range"]
            if inclusive and low != -1:
                panel["trusted_range"] = [low - 1, high + 1]
            strategy = panel.get("px_mm_strategy", {})
            if "mu" in strategy:
                panel["mu"], panel["thickness"] = strategy.pop("mu"), strategy.pop("t0")
    return content


def test_every_experiment_list_keeps_every_key_and_number(tmp_path):
    lists = files(".expt", ".json")
    assert len(lists) >= 30
    for path in lists:
        write_experiments(read_experiments(path), tmp_path / "a.expt")
        wanted = as_we_write(json.loads(path.read_text()), path)
        assert lost(wanted, json.loads((tmp_path / "a.expt").read_text())) == [], path


def test_a_second_round_trip_changes_no_byte(tmp_path):
    for path in files(".expt", ".json"):
        write_experiments(read_experiments(path), tmp_path / "a.expt")
        first = hashlib.sha256((tmp_path / "a.expt").read_bytes()).digest()
        write_experiments(read_experiments(tmp_path / "a.expt"), tmp_path / "a.expt")
        assert hashlib.sha256((tmp_path / "a.expt").read_bytes()).digest() == first, path


def minimal(**changes: Any) -> dict[str, Any]:
    panel = {
        "name": "Panel", "type": "SENSOR_PAD", "fast_axis": [1, 0, 0], "slow_axis": [0, -1, 0],
        "origin": [-50.1, 50.3, -200.7], "image_size": [1000, 1000], "pixel_size": [0.1, 0.1],
        "trusted_range": [-1, 65536], "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }  # fmt: skip
    content: dict[str, Any] = {
        "__id__": "ExperimentList",
        "experiment": [{"__id__": "Experiment", "identifier": "a", "beam": 0, "detector": 0, "scan": 0, "crystal": 0}],
        "beam": [{"direction": [0.0019351198786057811, 0.0, 0.9999981276], "wavelength": 0.9763}],
        "detector": [{"panels": [panel]}],
        "crystal": [{
            "__id__": "crystal", "real_space_a": [-8.75993053534386, 1.1, 2.2],
            "real_space_b": [-0.7568253864899647, 9.1, 3.3], "real_space_c": [-6.624308271328609, 0.7, 12.9],
            "space_group_hall_symbol": " P 1",
        }],
        "scan": [{"image_range": [1, 3], "oscillation": [0, 0.1], "exposure_time": [1, 1, 1], "epochs": [0, 1, 2]}],
    }  # fmt: skip
    content.update(changes)
    return content


def written(content: dict[str, Any], folder: Path, edit: Any = None) -> dict[str, Any]:
    (folder / "in.expt").write_text(json.dumps(content))
    experiments = read_experiments(folder / "in.expt")
    if edit:
        edit(experiments)
    write_experiments(experiments, folder / "out.expt")
    return json.loads((folder / "out.expt").read_text())


def test_an_edit_changes_its_own_numbers_only(tmp_path):
    def edit(experiments: ExperimentList) -> None:
        experiments[0].beam.wavelength = 1.5
        experiments[0].detector[0].origin[2] = -300.0

    out = written(minimal(), tmp_path, edit)
    assert out["beam"][0]["wavelength"] == 1.5
    assert out["beam"][0]["direction"] == minimal()["beam"][0]["direction"]
    assert out["detector"][0]["panels"][0]["origin"] == [-50.1, 50.3, -300.0]
    assert out["crystal"][0]["real_space_a"] == minimal()["crystal"][0]["real_space_a"]


def test_an_edited_crystal_is_written_as_edited(tmp_path):
    def edit(experiments: ExperimentList) -> None:
        experiments[0].crystal.A = experiments[0].crystal.A * 2

    out = written(minimal(), tmp_path, edit)
    np.testing.assert_allclose(out["crystal"][0]["real_space_a"], [-8.75993053534386 / 2, 0.55, 1.1])


def test_a_dropped_part_stays_dropped(tmp_path):
    content = minimal()
    content["crystal"][0]["mosaicity"] = 0.3
    content["crystal"][0]["unknown"] = {"kept": True}

    def edit(experiments: ExperimentList) -> None:
        experiments[0].crystal.mosaicity_deg = None

    out = written(content, tmp_path, edit)
    assert "mosaicity" not in out["crystal"][0]
    assert out["crystal"][0]["unknown"] == {"kept": True}


def test_the_newer_scan_form_keeps_its_columns_and_gains_the_flat_form(tmp_path):
    properties = {
        "oscillation": [10.0, 10.1, 10.2], "exposure_time": [0.1, 0.1, 0.1], "epochs": [0.0, 0.1, 0.2],
        "dose": [1.0, 2.0, 3.0], "shutter": ["open", "open", "shut"],
    }  # fmt: skip
    scan = {"image_range": [4, 6], "batch_offset": 100, "valid_image_ranges": {"a": [[4, 6]]}, "properties": properties}
    (out,) = written(minimal(scan=[scan]), tmp_path)["scan"]
    assert out["properties"] == properties
    assert {k: out[k] for k in scan} == scan
    np.testing.assert_allclose(out["oscillation"], [10.0, 0.1])

    def cut(experiments: ExperimentList) -> None:
        experiments[0].scan = experiments[0].scan.cut(5, 6)

    (out,) = written(minimal(scan=[scan]), tmp_path, cut)["scan"]
    assert out["properties"]["dose"] == [2.0, 3.0]
    assert out["properties"]["shutter"] == ["open", "shut"]
    assert out["image_range"] == [5, 6]


def test_a_polychromatic_beam_keeps_its_range(tmp_path):
    beam = {"__id__": "polychromatic", "direction": [0.0, 0.0, 1.0], "wavelength_range": [0.2, 10.0]}
    (out,) = written(minimal(beam=[beam]), tmp_path)["beam"]
    assert {k: out[k] for k in beam} == beam
    assert "wavelength" not in out


def test_unknown_columns_keep_their_type(tmp_path):
    table = read_reflections(_table_with_odd_columns(tmp_path / "odd.refl"))
    write_reflections(table, tmp_path / "again.refl")
    assert (tmp_path / "again.refl").read_bytes() == (tmp_path / "odd.refl").read_bytes()


def _table_with_odd_columns(path: Path) -> Path:
    import msgpack

    n = 3
    blob = lambda a: [n, np.ascontiguousarray(a).tobytes()]
    data = {
        "kapton_path": ["double", blob(np.arange(3.0))],
        "my.count": ["std::size_t", blob(np.arange(3, dtype="<u8"))],
        "my.pair": ["vec2<double>", blob(np.ones((3, 2)))],
        "my.matrix": ["mat3<double>", blob(np.ones((3, 9)))],
        "my.hkl": ["cctbx::miller::index<>", blob(np.ones((3, 3), "<i4"))],
        "my.flag": ["bool", blob(np.array([True, False, True]))],
    }
    body = {"identifiers": {}, "nrows": n, "data": data}
    path.write_bytes(msgpack.packb(["dials::af::reflection_table", 1, body]))
    return path
