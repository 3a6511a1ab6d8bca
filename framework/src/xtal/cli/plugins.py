"""``xtal plugins list | info NAME | check DIST | lock [FILE] | new KIND NAME``."""

from __future__ import annotations

from xtal.errors import UsageError
from xtal.hooks import KINDS
from xtal.plugins import Installed, Plugins, default_plugins

USAGE = {
    "list": ("list [KIND]", "every plugin, and what could not be used, with the cause"),
    "info": ("info NAME", "one plugin: NAME or KIND:NAME"),
    "check": ("check DIST", "hold the plugins of a distribution to the contracts of their kinds"),
    "lock": ("lock [FILE]", "write the exact set (default xtal.lock.toml)"),
    "new": ("new KIND NAME", "write a ready package with its test into the folder xtal-KIND-NAME"),
}


def main(words: list[str]) -> int:
    """What is installed."""
    plugins = default_plugins()
    match words or ["list"]:
        case ["list"]:
            print(listing(plugins))
        case ["list", kind]:
            if kind not in KINDS:
                raise UsageError(f"There is no kind {kind!r}.", advice=f"Kinds: {', '.join(KINDS)}.")
            print(listing(plugins, [kind]))
        case ["info", name]:
            print(info(plugins, name))
        case ["check", distribution]:
            return check(plugins, distribution)
        case ["lock"]:
            lock(plugins, "xtal.lock.toml")
        case ["lock", path]:
            lock(plugins, path)
        case ["new", kind, name]:
            new(plugins, kind, name)
        case ["-h" | "--help", *_]:
            print("\n".join(f"xtal plugins {words.ljust(13)}  {what}" for words, what in USAGE.values()))
        case [word, *_]:
            how = f"Write xtal plugins {USAGE[word][0]}." if word in USAGE else "See xtal plugins --help."
            raise UsageError(f"xtal plugins {' '.join(words)} is not understood.", advice=how)
    return 0


def listing(plugins: Plugins, kinds: list[str] | None = None) -> str:
    """A line per plugin by kind, then the problems and what the policy denies."""
    rows = [(kind, i) for kind in kinds or KINDS for i in plugins.installed(kind)]
    if not rows and not plugins.problems:
        return "No plugins are installed."
    name = max((len(i.descriptor.name) for _, i in rows), default=0)
    where = max((len(_where(plugins, i)) for _, i in rows), default=0)
    kind_width = max((len(k) for k, _ in rows), default=0)
    lines = [
        f"{k.ljust(kind_width)}  {i.descriptor.name.ljust(name)}  {_where(plugins, i).ljust(where)}  "
        f"{i.descriptor.summary}"
        for k, i in rows
    ]
    lines += [f"conflict  {error}" for error in plugins.conflicts()]
    for problem in plugins.problems:
        word = "denied" if problem.denied else "broken"
        lines.append(f"{word}  {problem.entry}  ({problem.distribution}): {problem.cause}")
    if plugins.policy.sources:
        lines.append("policy: " + ", ".join(plugins.policy.sources))
    return "\n".join(lines)


def _where(plugins: Plugins, one: Installed) -> str:
    return f"{one.distribution} {plugins.versions.get(one.distribution, '')}".strip()


def info(plugins: Plugins, name: str) -> str:
    """All that is known of one plugin."""
    kind, _, plain = name.rpartition(":")
    kinds = [kind] if kind else [k for k in KINDS if plain in plugins.names(k)]
    if kind and kind not in KINDS:
        raise UsageError(f"There is no kind {kind!r}.", advice=f"Kinds: {', '.join(KINDS)}.")
    if not kinds:
        from xtal.options.convert import did_you_mean

        for problem in plugins.problems:
            if problem.entry.endswith(plain) or problem.distribution == plain:
                return f"{problem.entry} of {problem.distribution} cannot be used: {problem.cause}"
        near = did_you_mean(plain, [n for k in KINDS for n in plugins.names(k)])
        raise UsageError(f"There is no plugin {plain!r}.", advice=near or "See xtal plugins list.")
    return "\n\n".join(_card(plugins, k, plain) for k in kinds)


def _card(plugins: Plugins, kind: str, name: str) -> str:
    from xtal.options import help_rows

    found = plugins.find_installed(kind, name)
    d = found.descriptor
    lines = [f"{kind} {name}: {d.summary}", f"  distribution  {_where(plugins, found)} (entry {found.entry})"]
    lines.append(f"  factory       {d.factory}")
    if d.reference:
        lines.append(f"  reference     {d.reference}")
    cls = plugins.options_class(kind, name)
    if cls is not None:
        lines.append("  options")
        lines += [f"    {r.path} = {r.default}   {r.help}" for r in help_rows([cls], plugins, 1)]
    return "\n".join(lines)


def check(plugins: Plugins, distribution: str) -> int:
    """Run the conformance kit of a distribution's plugins and print what each came to; 1 if one fails."""
    from xtal.testing.conformance import failures

    rows = [(kind, i.descriptor) for kind in KINDS for i in plugins.installed(kind) if i.distribution == distribution]
    broken = [problem for problem in plugins.problems if problem.distribution == distribution]
    if not rows and not broken:
        from xtal.options.convert import did_you_mean

        near = did_you_mean(distribution, {i.distribution for kind in KINDS for i in plugins.installed(kind)})
        raise UsageError(f"No distribution {distribution!r} offers plugins.", advice=near or "See xtal plugins list.")
    failed = len(broken)
    for problem in broken:
        print(f"broken  {problem.entry}: {problem.cause}")
    for kind, descriptor in rows:
        found = list(failures(kind, descriptor))
        failed += len(found)
        for failure in found:
            print(f"failed  {kind}  {descriptor.name}: {failure}")
        if not found:
            partly = "   (claims only: its own tests check it on a sample)" if kind == "format" else ""
            print(f"passed  {kind}  {descriptor.name}{partly}")
    return 1 if failed else 0


def lock(plugins: Plugins, path: str) -> None:
    """Write the exact set."""
    from xtal.files.atomic import writing
    from xtal.plugins.lock import lock_text

    with writing(path) as temporary:
        temporary.write_text(lock_text(plugins), encoding="utf-8")
    print(f"Wrote {path}.")


def new(plugins: Plugins, kind: str, name: str) -> None:
    """Write a ready package of a name that no installed plugin has."""
    from pathlib import Path

    from xtal.plugins.new import new_plugin

    for one in plugins.installed(kind) if kind in KINDS else ():
        if one.descriptor.name == name:
            raise UsageError(f"{one.distribution} offers a {kind} {name!r} already.", advice="Choose another name.")
    folder = new_plugin(kind, name, Path())
    print(f"Wrote {folder}, a {kind} that works. Install it (pip install -e {folder}), then: pytest {folder}")
