"""The profile ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_profile


def test_contract() -> None:
    check_profile("template")
