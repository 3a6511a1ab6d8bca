"""Which option a user means by part of its name (the rules of DIALS, file-formats "command line")."""

from __future__ import annotations

from collections.abc import Sequence

from xtal.errors import OptionError
from xtal.options.convert import did_you_mean
from xtal.options.tree import Entry

LISTED = 5
"""Names that an ambiguous one is answered with at most."""


def score(key: str, path: str) -> int:
    """8 the whole path, 4 whole trailing components, 3 any trailing text, 1 anywhere, 0 not at all."""
    if key == path:
        return 8
    if path.endswith("." + key):
        return 4
    if path.endswith(key):
        return 3
    return 1 if key in path else 0


def entry_score(key: str, entry: Entry) -> int:
    """A choice of a plugin also goes by the name of its scope, the plugin's options by theirs without its name.

    ``threshold=dispersion``, ``threshold.gain=2``.
    """
    names = [entry.path]
    if entry.is_choice:
        names.append(entry.path.removesuffix(".algorithm"))
    if entry.plugin is not None:
        scope, plugin = entry.plugin
        names.append(entry.path.replace(f"{scope}.{plugin}.", f"{scope}.", 1))
    return max(score(key, name) for name in names)


def match(key: str, known: Sequence[Entry]) -> tuple[Entry, str]:
    """The option meant by ``key``.

    Ties go to the lower level, then to an option that is no plugin's.

    Returns
    -------
    entry, warning
        The warning says what was assumed in a tie, else "", also where the others stand in scopes within that of the
        option: they would be named by these.

    Raises
    ------
    OptionError
        If nothing matches (with the nearest names) or several do (with their names).
    """
    scores = [entry_score(key, e) for e in known]
    best = max(scores, default=0)
    if best == 0:
        raise OptionError(f"The option {key!r} is unknown.", advice=nearest(key, known))
    found = [e for e, s in zip(known, scores, strict=True) if s == best]
    if len(found) == 1:
        return found[0], "" if best > 1 else f"Assuming {found[0].path} was meant by {key}."
    lowest = min(e.spec.level for e in found)
    kept = [e for e in found if e.spec.level == lowest]
    if len(kept) == 1:
        scope = kept[0].path.removesuffix(key)
        within = best >= 4 and all(e.path.startswith(scope) for e in found)  # filter.d_min and filter.ice_rings.d_min
        return kept[0], "" if within else f"Assuming {kept[0].path} was meant by {key}."
    raise OptionError(f"The option {key!r} is ambiguous: {listed(kept)}.", advice="Give more of the name.")


def listed(found: Sequence[Entry]) -> str:
    """Names of options in one line, a few of them where they are many."""
    more = len(found) - LISTED
    return ", ".join(e.path for e in found[:LISTED]) + (f" and {more} more" if more > 0 else "")


def nearest(key: str, known: Sequence[Entry]) -> str:
    """Advice for an unknown name: the nearest full names, by whole name and by last components."""
    tails: dict[str, str] = {}
    depth = key.count(".") + 1
    for e in known:
        tails.setdefault(".".join(e.path.split(".")[-depth:]), e.path)
        tails.setdefault(e.path, e.path)
    advice = did_you_mean(key, tails)
    for tail in sorted(tails, key=len, reverse=True):
        if advice and tail in advice.removeprefix("Did you mean ").rstrip("?").split(" or "):
            advice = advice.replace(tail, tails[tail], 1) if tails[tail] not in advice else advice
    return advice or "See --help -v for all names."
