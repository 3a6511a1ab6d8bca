"""Scans cut to the images that show the crystal."""

from __future__ import annotations

import numpy as np
import pytest

from xtal.models import Beam, Crystal, Detector, Experiment, ExperimentList, Goniometer, Images, Panel, Scan
from xtal.table import ReflectionTable
from xtal_steps_geometry.trim import trim_scans


def experiments(n: int) -> ExperimentList:
    panel = Panel((1, 0, 0), (0, -1, 0), (-5, 5, -100), image_size=(100, 100), pixel_size=(0.1, 0.1))
    scan, images = Scan((11, 20), (5.0, 0.5), epochs=np.arange(10.0)), Images("master.h5", indices=list(range(10)))
    beam, detector, goniometer = Beam(1.0), Detector([panel]), Goniometer()
    crystals = [Crystal(np.eye(3) / 30, A_at_scan_points=np.zeros((11, 3, 3))) for _ in range(n)]
    return ExperimentList([Experiment(beam, detector, goniometer, scan, c, images) for c in crystals])


def spots(ids: list[int], z: list[float]) -> ReflectionTable:
    return ReflectionTable({"id": np.array(ids, np.int32), "xyzobs.px.value": np.array([(5.0, 5.0, v) for v in z])})


def test_ends_without_indexed_spots_are_cut_and_sharing_stays():
    both = experiments(2)
    told = list(trim_scans(both, spots([0, 1, -1, 0], [12.5, 17.2, 19.9, 14.0])))
    assert len(told) == 1
    assert "13 to 18 of 11 to 20" in told[0]
    assert both[0].scan is both[1].scan
    assert both[0].scan.image_range == (13, 18)
    assert both[0].scan.oscillation_deg == pytest.approx((6.0, 0.5))
    assert both[0].scan.epochs.tolist() == [2, 3, 4, 5, 6, 7]
    assert both[0].images.indices == [2, 3, 4, 5, 6, 7]
    assert both[0].crystal.A_at_scan_points is None


def test_full_scans_and_scans_without_spots_stay():
    whole = experiments(1)
    scan = whole[0].scan
    assert not list(trim_scans(whole, spots([0, 0], [10.2, 19.9])))
    assert not list(trim_scans(whole, spots([-1], [15.0])))
    assert whole[0].scan is scan


def test_angles_of_images_stay_with_their_numbers():
    scan = Scan((11, 20), (5.0, 0.5))
    assert scan.cut(13, 18).phi(14.25) == pytest.approx(scan.phi(14.25))
    with pytest.raises(ValueError, match="not within"):
        scan.cut(10, 12)
