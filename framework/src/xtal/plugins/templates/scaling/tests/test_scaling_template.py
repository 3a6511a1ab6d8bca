"""The scaling ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_scaling


def test_contract() -> None:
    check_scaling("template")
