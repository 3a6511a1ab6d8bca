"""The threshold ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_threshold


def test_contract() -> None:
    check_threshold("template")
