"""From the JSON of an experiment list to models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Group, Images, Panel, Scan
from xtal.units import DEG

Json = dict[str, Any]
MAX_IMAGES = 100_000_000
"""More in a scan are an error of the file, not a scan."""
MIN_VOLUME, MAX_VOLUME = 1e-6, 1e18
"""Of a unit cell, cubic angstrom."""
MODEL_KEYS = ("imageset", "beam", "detector", "goniometer", "scan", "crystal", "profile", "scaling_model")


def decode_list(content: Json, folder: Path, load: Callable[[str], Any]) -> ExperimentList:
    """Build an `ExperimentList` from the parsed file.

    ``folder`` is where relative paths start; ``load`` reads a model that stands in a file of its own.
    """
    inclusive = _trusted_inclusive(content)
    decoders: dict[str, Callable[[Any], Any]] = {
        "imageset": lambda j: decode_images(j, folder),
        "beam": decode_beam,
        "detector": lambda j: decode_detector(j, inclusive),
        "goniometer": decode_goniometer,
        "scan": decode_scan,
        "crystal": decode_crystal,
        "profile": dict,
        "scaling_model": dict,
    }
    models = {key: [decoders[key](j) for j in content.get(key) or []] for key in MODEL_KEYS}
    loaded: dict[tuple[str, str], Any] = {}

    def model(entry: Json, key: str) -> Any:
        reference = entry.get(key)
        if isinstance(reference, str):
            if (key, reference) not in loaded:
                loaded[key, reference] = decoders[key](load(reference))
            return loaded[key, reference]
        return None if reference is None else models[key][reference]

    experiments = ExperimentList(extra=_rest(content, {"__id__", "experiment", *MODEL_KEYS}))
    for entry in content["experiment"]:
        found = {key: model(entry, key) for key in MODEL_KEYS}
        images = found.pop("imageset")
        if found["beam"] is None or found["detector"] is None:
            raise ValueError("an experiment lacks its beam or detector")
        extra = _rest(entry, {"__id__", "identifier", *MODEL_KEYS})
        experiments.append(Experiment(**found, images=images, identifier=str(entry.get("identifier", "")), extra=extra))
    return experiments


def _rest(content: Json, known: set[str]) -> Json:
    return {key: value for key, value in content.items() if key not in known}


def _trusted_inclusive(content: Json) -> bool:
    """Whether the file's trusted ranges include their ends (dxtbx from 3.12 on means them so)."""
    if content.get("xtal", {}).get("trusted_range") == "exclusive":
        return False
    return "history" in content or any("__id__" in beam for beam in content.get("beam") or [])


def decode_beam(j: Json) -> Beam:
    known = {
        "direction", "wavelength", "divergence", "sigma_divergence", "polarization_normal", "polarization_fraction",
        "flux", "transmission", "probe", "s0_at_scan_points",
    }  # fmt: skip
    points = j.get("s0_at_scan_points")
    wavelength = float(j["wavelength"] if "wavelength" in j else j["wavelength_range"][0])
    if not 0 < wavelength < np.inf:
        raise ValueError(f"a beam's wavelength is {wavelength:g} Å")
    return Beam(
        wavelength=wavelength,
        direction=j["direction"],
        divergence=j.get("divergence", 0.0) * DEG,
        sigma_divergence=j.get("sigma_divergence", 0.0) * DEG,
        polarization_normal=j.get("polarization_normal", (0.0, 1.0, 0.0)),
        polarization_fraction=j.get("polarization_fraction", 0.999),
        flux=j.get("flux", 0.0),
        transmission=j.get("transmission", 1.0),
        probe=j.get("probe", "x-ray"),
        s0_at_scan_points=None if not points else np.array(points, dtype=float),
        extra=_rest(j, known),
        source=j,
    )


def _frame(j: Json, parent: Group | None) -> tuple[Any, Any, Any]:
    """Laboratory frame of a node whose frame is given relative to its parent's."""
    fast = np.array(j.get("fast_axis", (1.0, 0.0, 0.0)), dtype=float)
    slow = np.array(j.get("slow_axis", (0.0, 1.0, 0.0)), dtype=float)
    origin = np.array(j.get("origin", (0.0, 0.0, 0.0)), dtype=float)
    if parent is None:
        return fast, slow, origin
    axes = np.column_stack([parent.fast_axis, parent.slow_axis, np.cross(parent.fast_axis, parent.slow_axis)])
    return axes @ fast, axes @ slow, axes @ origin + parent.origin


def decode_detector(j: Any, inclusive: bool) -> Detector:
    """A detector; its ``source`` has trusted ranges and attenuation in the places where we write them."""
    j = {"panels": j} if isinstance(j, list) else j
    j = {**j, "panels": [_current_panel(p, inclusive) for p in j["panels"]]}
    panels = [decode_panel(p) for p in j["panels"]]
    tree = j.get("hierarchy")
    root = None if not tree else _decode_group(tree, None, panels)
    return Detector(panels, root, _rest(j, {"panels", "hierarchy"}), source=j)


def _current_panel(j: Json, inclusive: bool) -> Json:
    """A panel with an exclusive trusted range; old files keep attenuation and thickness within the strategy."""
    low, high = j.get("trusted_range", (0.0, 0.0))
    changed: Json = {"trusted_range": [low - 1.0, high + 1.0]} if inclusive and low != -1.0 else {}
    strategy = j.get("px_mm_strategy") or {}
    if "mu" in strategy:
        changed["mu"] = strategy["mu"]
        changed["thickness"] = strategy.get("t0", j.get("thickness", 0.0))
        changed["px_mm_strategy"] = _rest(strategy, {"mu", "t0"})
    return {**j, **changed}


def _decode_group(j: Json, parent: Group | None, panels: list[Panel]) -> Group:
    fast, slow, origin = _frame(j, parent)
    known = {"fast_axis", "slow_axis", "origin", "name", "type", "children"}
    group = Group(fast, slow, origin, j.get("name", ""), j.get("type", ""), extra=_rest(j, known))
    for child in j.get("children", []):
        if "panel" in child:
            panel = panels[child["panel"]]
            local = {"fast_axis": panel.fast_axis, "slow_axis": panel.slow_axis, "origin": panel.origin}
            panel.fast_axis, panel.slow_axis, panel.origin = _frame(local, group)
            group.children.append(int(child["panel"]))
        else:
            group.children.append(_decode_group(child, group, panels))
    return group


def decode_panel(j: Json) -> Panel:
    """A panel whose frame is still relative to its group."""
    low, high = j.get("trusted_range", (0.0, 0.0))
    strategy = j.get("px_mm_strategy", {"type": "SimplePxMmStrategy"})
    known = {
        "name", "type", "fast_axis", "slow_axis", "origin", "raw_image_offset", "image_size", "pixel_size",
        "trusted_range", "thickness", "material", "mu", "identifier", "mask", "gain", "pedestal", "px_mm_strategy",
    }  # fmt: skip
    fast, slow, origin = _frame(j, None)
    panel = Panel(
        fast, slow, origin,
        image_size=j.get("image_size", (0, 0)),
        pixel_size=j.get("pixel_size", (0.0, 0.0)),
        trusted_range=(low + 1.0, high - 1.0),
        name=j.get("name", ""),
        type=j.get("type", ""),
        thickness=j.get("thickness", 0.0),
        material=j.get("material", ""),
        mu=j.get("mu", 0.0),
        parallax="ParallaxCorrected" in strategy["type"],
        mask=[(int(a), int(b), int(c), int(d)) for a, b, c, d in j.get("mask") or []],
        gain=j.get("gain", 1.0),
        pedestal=j.get("pedestal", 0.0),
        identifier=j.get("identifier", ""),
        raw_image_offset=(int(j.get("raw_image_offset", (0, 0))[0]), int(j.get("raw_image_offset", (0, 0))[1])),
        extra=_rest(j, known),
    )  # fmt: skip
    if strategy["type"].startswith("Offset"):
        panel.extra["px_mm_strategy"] = strategy
    return panel


def decode_goniometer(j: Json) -> Goniometer:
    points = j.get("setting_rotation_at_scan_points")
    drift = None if not points else np.array(points, dtype=float).reshape(-1, 3, 3)
    if {"axes", "angles", "scan_axis"} <= j.keys():
        goniometer = Goniometer.from_axes(j["axes"], j["angles"], j.get("names", []), int(j["scan_axis"]))
        goniometer.extra = _rest(j, {"axes", "angles", "names", "scan_axis", "setting_rotation_at_scan_points"})
    else:
        identity = np.eye(3).ravel()
        goniometer = Goniometer(
            j["rotation_axis"],
            np.array(j.get("fixed_rotation", identity), dtype=float).reshape(3, 3),
            np.array(j.get("setting_rotation", identity), dtype=float).reshape(3, 3),
        )
        known = {"rotation_axis", "fixed_rotation", "setting_rotation", "setting_rotation_at_scan_points"}
        goniometer.extra = _rest(j, known)
    goniometer.setting_at_scan_points = drift
    goniometer.source = j
    return goniometer


def decode_scan(j: Json) -> Scan:
    """The flat form of DIALS 3.12, or ``properties`` of its successors (preferred where both stand)."""
    first, last = (int(n) for n in j["image_range"])
    n = last - first + 1
    if not 1 <= n <= MAX_IMAGES:
        raise ValueError(f"a scan has the image range {first} to {last}")
    properties = dict(j.get("properties") or {})
    start, width = j.get("oscillation", (0.0, 0.0))
    angles = properties.pop("oscillation", None)
    widths = properties.pop("oscillation_width", None)
    if angles:
        start = angles[0]
        width = angles[1] - angles[0] if len(angles) > 1 else (widths[0] if widths else width)
    times = properties.pop("exposure_time", j.get("exposure_time"))
    epochs = properties.pop("epochs", j.get("epochs"))
    known = {
        "image_range", "batch_offset", "oscillation", "exposure_time", "epochs", "valid_image_ranges", "properties"
    }  # fmt: skip
    return Scan(
        (first, last),
        (start, width),
        _per_image(times, n),
        _per_image(epochs, n),
        int(j.get("batch_offset", 0)),
        dict(j.get("valid_image_ranges") or {}),
        properties,
        _rest(j, known),
        j,
    )


def _per_image(values: Any, n: int) -> Any:
    """One value per image; a scalar or short list of old files is continued by its last value."""
    if values is None:
        return None
    array = np.atleast_1d(np.array(values, dtype=float))
    return array if len(array) >= n or not len(array) else np.pad(array, (0, n - len(array)), mode="edge")


def decode_crystal(j: Json) -> Crystal:
    known = {
        "__id__", "real_space_a", "real_space_b", "real_space_c", "space_group_hall_symbol", "A_at_scan_points",
        "B_covariance", "B_covariance_at_scan_points", "mosaicity",
    }  # fmt: skip

    def matrices(key: str, *shape: int) -> Any:
        return None if not j.get(key) else np.array(j[key], dtype=float).reshape(shape)

    real = np.array([j["real_space_a"], j["real_space_b"], j["real_space_c"]], dtype=float)
    volume = abs(float(np.linalg.det(real))) if real.shape == (3, 3) else 0.0
    if not MIN_VOLUME < volume < MAX_VOLUME:
        raise ValueError(f"a crystal's axes span {volume:g} cubic angstrom")
    return Crystal(
        np.linalg.inv(real),
        j["space_group_hall_symbol"],
        matrices("A_at_scan_points", -1, 3, 3),
        matrices("B_covariance", 9, 9),
        matrices("B_covariance_at_scan_points", -1, 9, 9),
        j.get("mosaicity"),
        _rest(j, known),
        j,
    )


def decode_images(j: Json, folder: Path) -> Images:
    def whole(path: str | None) -> str | None:
        if not path:
            return None
        full = os.path.expandvars(os.path.expanduser(path))
        return full if os.path.isabs(full) else str(folder / full)

    lookups = ("mask", "gain", "pedestal", "dx", "dy")
    known = {"template", "images", "single_file_indices", "params", *lookups}
    # the files may be read from anywhere else: their source has whole paths, too
    j = {**j, **{key: whole(j[key]) for key in ("template", *lookups) if j.get(key)}}
    if j.get("images"):
        j["images"] = [whole(p) or "" for p in j["images"]]
    indices = j.get("single_file_indices")
    return Images(
        template=j.get("template") or "",
        paths=list(j.get("images") or []),
        indices=None if indices is None else [int(i) for i in indices],
        **{key: j.get(key) or None for key in lookups},
        params=dict(j.get("params") or {}),
        extra=_rest(j, known),
        source=j,
    )
