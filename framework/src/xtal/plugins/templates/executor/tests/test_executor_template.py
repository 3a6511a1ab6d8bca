"""The executor ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_executor


def test_contract() -> None:
    check_executor("template")
