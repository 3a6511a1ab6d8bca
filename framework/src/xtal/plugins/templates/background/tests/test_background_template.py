"""The background ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_background


def test_contract() -> None:
    check_background("template")
