"""From models to the JSON of an experiment list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from xtal.files.decode import (
    MODEL_KEYS,
    decode_beam,
    decode_crystal,
    decode_detector,
    decode_goniometer,
    decode_images,
    decode_scan,
)
from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Group, Images, Panel, Scan
from xtal.units import DEG

Json = dict[str, Any]


def encode_list(experiments: ExperimentList) -> Json:
    """The object to write: one entry per distinct model object, experiments refer to them by number."""
    lists: dict[str, list[Json]] = {key: [] for key in MODEL_KEYS}
    numbers: dict[tuple[str, int], int] = {}

    def refer(experiment: Experiment, key: str) -> int | None:
        model = getattr(experiment, "images" if key == "imageset" else key)
        if model is None:
            return None
        if (key, id(model)) not in numbers:
            numbers[key, id(model)] = len(lists[key])
            lists[key].append(_encode_model(key, model, experiment))
        return numbers[key, id(model)]

    entries = []
    for experiment in experiments:
        found = {key: refer(experiment, key) for key in MODEL_KEYS}
        entry = {key: number for key, number in found.items() if number is not None}
        entries.append({"__id__": "Experiment", "identifier": experiment.identifier, **entry, **experiment.extra})
    about = {**experiments.extra.get("xtal", {}), "trusted_range": "exclusive"}
    return {"__id__": "ExperimentList", "experiment": entries, **lists, **experiments.extra, "xtal": about}


def _encode_model(key: str, model: Any, experiment: Experiment) -> Json:
    """A model as JSON; what its file held and nobody changed stands as it stood there, to the last digit."""
    if isinstance(model, dict):
        return dict(model)
    codecs: dict[str, tuple[Callable[[Any], Json], Callable[[Json], Any]]] = {
        "imageset": (lambda images: encode_images(images, experiment), lambda j: decode_images(j, Path())),
        "beam": (encode_beam, decode_beam),
        "detector": (encode_detector, lambda j: decode_detector(j, inclusive=False)),
        "goniometer": (encode_goniometer, decode_goniometer),
        "scan": (encode_scan, decode_scan),
        "crystal": (encode_crystal, decode_crystal),
    }
    encode, decode = codecs[key]
    now = encode(model)
    if model.source is None:
        return now
    return dict(_kept(model.source, encode(decode(model.source)), now))


def _kept(source: Any, before: Any, now: Any) -> Any:
    """``now`` with the parts of ``source`` that did not change since they were read (``before``)."""
    if isinstance(source, dict) and isinstance(before, dict) and isinstance(now, dict):
        kept = {
            key: _kept(value, before.get(key), now[key]) if key in now else value
            for key, value in source.items()
            if key in now or key not in before
        }
        return {**kept, **{key: value for key, value in now.items() if key not in source}}
    alike = source and all(isinstance(x, list) and len(x) == len(source) for x in (source, before, now))
    if alike and isinstance(source[0], dict):
        return [_kept(s, b, n) for s, b, n in zip(source, before, now, strict=True)]
    return source if before == now else now


def _list(array: Any) -> Any:
    return np.asarray(array, dtype=float).tolist()


def encode_beam(beam: Beam) -> Json:
    j: Json = {
        "__id__": "monochromatic",
        "direction": _list(beam.direction),
        "wavelength": beam.wavelength,
        "divergence": beam.divergence / DEG,
        "sigma_divergence": beam.sigma_divergence / DEG,
        "polarization_normal": _list(beam.polarization_normal),
        "polarization_fraction": beam.polarization_fraction,
        "flux": beam.flux,
        "transmission": beam.transmission,
        "probe": beam.probe,
        "sample_to_source_distance": 0.0,
        **beam.extra,
    }
    if beam.s0_at_scan_points is not None:
        j["s0_at_scan_points"] = _list(beam.s0_at_scan_points)
    if j["__id__"] == "polychromatic":
        del j["wavelength"]
    return j


def _local(fast: Any, slow: Any, origin: Any, parent: Group | None) -> Json:
    """Frame relative to the parent's; exact where the parent is the laboratory."""
    if parent is not None:
        axes = np.vstack([parent.fast_axis, parent.slow_axis, np.cross(parent.fast_axis, parent.slow_axis)])
        if not np.array_equal(axes, np.eye(3)) or np.any(parent.origin):
            fast, slow, origin = axes @ fast, axes @ slow, axes @ (origin - parent.origin)
    return {"fast_axis": _list(fast), "slow_axis": _list(slow), "origin": _list(origin)}


def encode_detector(detector: Detector) -> Json:
    root = detector.root or Group(children=list(range(len(detector))))
    parents: dict[int, Group] = {}
    tree = _encode_group(root, None, parents)
    panels = [encode_panel(panel, parents.get(k)) for k, panel in enumerate(detector.panels)]
    return {"panels": panels, "hierarchy": tree, **detector.extra}


def _encode_group(group: Group, parent: Group | None, parents: dict[int, Group]) -> Json:
    children: list[Json] = []
    for child in group.children:
        if isinstance(child, Group):
            children.append(_encode_group(child, group, parents))
        else:
            parents[child] = group
            children.append({"panel": child})
    frame = _local(group.fast_axis, group.slow_axis, group.origin, parent)
    defaults: Json = {
        "raw_image_offset": [0, 0], "image_size": [0, 0], "pixel_size": [0.0, 0.0], "trusted_range": [0.0, 0.0],
        "thickness": 0.0, "material": "", "mu": 0.0, "identifier": "", "mask": [], "gain": 1.0, "pedestal": 0.0,
        "px_mm_strategy": {"type": "SimplePxMmStrategy"},
    }  # fmt: skip
    return {"name": group.name, "type": group.type, **frame, **defaults, **group.extra, "children": children}


def encode_panel(panel: Panel, parent: Group | None) -> Json:
    low, high = panel.trusted_range
    strategy = "ParallaxCorrectedPxMmStrategy" if panel.parallax else "SimplePxMmStrategy"
    return {
        "name": panel.name,
        "type": panel.type,
        **_local(panel.fast_axis, panel.slow_axis, panel.origin, parent),
        "raw_image_offset": list(panel.raw_image_offset),
        "image_size": list(panel.image_size),
        "pixel_size": list(panel.pixel_size),
        "trusted_range": [low - 1.0, high + 1.0],
        "thickness": panel.thickness,
        "material": panel.material,
        "mu": panel.mu,
        "identifier": panel.identifier,
        "mask": [list(rectangle) for rectangle in panel.mask],
        "gain": panel.gain,
        "pedestal": panel.pedestal,
        "px_mm_strategy": {"type": strategy},
        **panel.extra,
    }


def encode_goniometer(goniometer: Goniometer) -> Json:
    j: Json
    if goniometer.axes is not None and goniometer.angles_deg is not None:
        j = {
            "axes": _list(goniometer.axes),
            "angles": _list(goniometer.angles_deg),
            "names": list(goniometer.names),
            "scan_axis": goniometer.scan_axis,
        }
    else:
        j = {
            "rotation_axis": _list(goniometer.axis_datum),
            "fixed_rotation": _list(goniometer.fixed_rotation.ravel()),
            "setting_rotation": _list(goniometer.setting_rotation.ravel()),
        }
    if goniometer.setting_at_scan_points is not None:
        j["setting_rotation_at_scan_points"] = _list(goniometer.setting_at_scan_points.reshape(-1, 9))
    return {**j, **goniometer.extra}


def encode_scan(scan: Scan) -> Json:
    """Both forms in one object: 3.12 needs the flat keys, its successors take ``properties``."""
    n = scan.n_images
    start, width = scan.oscillation_deg
    times = _list(scan.exposure_times if scan.exposure_times is not None else np.zeros(n))
    epochs = _list(scan.epochs if scan.epochs is not None else np.zeros(n))
    angles = [start + width * i for i in range(n)]
    properties: Json = {"oscillation": angles, "exposure_time": times, "epochs": epochs, **scan.properties}
    if n == 1:
        properties["oscillation_width"] = [width]
    return {
        "image_range": list(scan.image_range),
        "batch_offset": scan.batch_offset,
        "oscillation": [start, width],
        "exposure_time": times,
        "epochs": epochs,
        "valid_image_ranges": scan.valid_image_ranges,
        "properties": properties,
        **scan.extra,
    }


def encode_crystal(crystal: Crystal) -> Json:
    a, b, c = np.linalg.inv(crystal.A)
    j: Json = {
        "__id__": "crystal",
        "real_space_a": _list(a),
        "real_space_b": _list(b),
        "real_space_c": _list(c),
        "space_group_hall_symbol": crystal.hall,
    }
    if crystal.A_at_scan_points is not None:
        j["A_at_scan_points"] = _list(crystal.A_at_scan_points.reshape(-1, 9))
    if crystal.B_covariance is not None:
        j["B_covariance"] = _list(crystal.B_covariance.ravel())
    if crystal.B_covariance_at_scan_points is not None:
        points = crystal.B_covariance_at_scan_points
        j["B_covariance_at_scan_points"] = _list(points.reshape(len(points), 81))
    if crystal.mosaicity_deg is not None:
        j["mosaicity"] = crystal.mosaicity_deg
    return {**j, **crystal.extra}


def encode_images(images: Images, experiment: Experiment) -> Json:
    """A sequence where there is a scan, else a set of stills."""
    lookup = {key: getattr(images, key) for key in ("mask", "gain", "pedestal", "dx", "dy")}
    if images.template:
        j: Json = {"__id__": "ImageSequence", "template": images.template}
        if images.indices is None and "#" not in images.template and experiment.scan is not None:
            first = experiment.scan.array_range[0]
            j["single_file_indices"] = list(range(first, first + experiment.scan.n_images))
    else:
        j = {"__id__": "ImageSet", "images": list(images.paths)}
    if images.indices is not None:
        j["single_file_indices"] = list(images.indices)
    return {**j, **lookup, "params": images.params, **images.extra}
