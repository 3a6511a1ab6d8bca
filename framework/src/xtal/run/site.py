"""What the site's files say of the options of a step."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from xtal.errors import OptionError
from xtal.hooks import Step
from xtal.options import Assignment, parse_all
from xtal.plugins import Plugins
from xtal.plugins.policy import Setting


@frozen
class SiteOption:
    """An option that a site file sets, under its full name."""

    path: str
    assignment: Assignment
    enforced: bool

    @property
    def note(self) -> str:
        """Who says so."""
        return f"{'enforced by' if self.enforced else 'from'} {self.assignment.where}"


def site_options(plugins: Plugins, step: Step, classes: Sequence[type]) -> list[SiteOption]:
    """The site's defaults and then what it enforces, in the order in which they override one another.

    Settings for every step ("*") count only where the step has such an option.

    Raises
    ------
    OptionError
        If a setting for this step is unknown or wrong; names the file.
    """
    policy, found = plugins.policy, list[SiteOption]()
    settings = [(s, False) for s in policy.options_for(step.name)] + [(s, True) for s in policy.enforced_for(step.name)]
    for setting, enforced in settings:
        path = _path(setting, classes, [one.assignment for one in found], plugins)
        if path:
            found.append(SiteOption(path, Assignment(path, setting.value, setting.source), enforced))
    return found


def _path(setting: Setting, classes: Sequence[type], before: list[Assignment], plugins: Plugins) -> str:
    """Full name of the option that is meant, or "" where the step has none."""
    one = Assignment(setting.name, setting.value, setting.source)
    try:
        # a choice among those before may bring the option with it: only the full list can be parsed
        return parse_all(classes, [*before, one], plugins).given[-1]
    except OptionError as error:
        if setting.step != "*" or "unknown" not in error.message:
            raise
        return ""


def site_values(options: Sequence[SiteOption]) -> dict[str, SiteOption]:
    """Full name to the setting that holds; of several the last."""
    return {one.path: one for one in options}
