"""The exporter ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_exporter


def test_contract() -> None:
    check_exporter("template")
