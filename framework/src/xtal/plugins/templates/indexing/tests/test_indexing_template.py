"""The indexing ``template`` keeps the contract of its kind."""

from __future__ import annotations

from xtal.testing import check_indexing


def test_contract() -> None:
    check_indexing("template")
