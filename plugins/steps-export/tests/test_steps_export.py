"""The export step: its contract, and what it says of a format that is not there."""

from __future__ import annotations

import pytest

from xtal.errors import XtalError
from xtal.plugins import default_plugins
from xtal.run.help import help_of
from xtal.testing import check_step


def test_conformance() -> None:
    check_step("export")


def test_an_unknown_format_names_those_that_are_there(tmp_path, run_step, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(XtalError, match="mtz"):
        run_step("export", "format=mtzz")


def test_help_names_no_file_whose_name_follows_from_the_data() -> None:
    plugins = default_plugins()
    assert "Writes" not in help_of(plugins, plugins.find("step", "export"), 0)
    assert "Writes indexed.expt, indexed.refl." in help_of(plugins, plugins.find("step", "index"), 0)
