"""The step find_spots_client."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np

from xtal.errors import AlgorithmFailed, DataError, OptionError
from xtal.options import differences
from xtal.run import Context
from xtal.words import counted
from xtal_steps_server.options import ClientOptions
from xtal_steps_server.replies import as_xml

OWN = ("host", "port", "action", "image", "table", "json", "plot", "grid", "timeout", "more")
"""Options of the client itself; the others are sent on."""

COLUMNS = {
    "image": "image",
    "#spots": "n_spots_total",
    "#spots_no_ice": "n_spots_no_ice",
    "total_intensity": "total_intensity",
    "d_min": "estimated_d_min",
    "d_min (distl method 1)": "d_min_distl_method_1",
    "d_min (distl method 2)": "d_min_distl_method_2",
}
LATTICE_COLUMNS = {"#indexed": "n_indexed", "fraction_indexed": "fraction_indexed"}
"""The same where images were indexed."""


def run(context: Context) -> None:
    """Ask a server about images, or whether it lives, or to stop."""
    options: ClientOptions = context.options
    if options.action == "ping":
        get(options, "/")
        context.summary("Success: the server answers.")
        return
    if options.action == "stop":
        get(options, "/Ctrl-C")
        context.summary("The server stops.")
        return
    names = [str(path.absolute()) for path in context.images] + list(options.image)
    if not names:
        raise OptionError("No image was given.", advice="Give image files, or image=NAME for one of the server's.")
    if options.grid and options.grid[0] * options.grid[1] != len(names):
        nx, ny = options.grid
        raise OptionError(f"grid={nx},{ny} has {nx * ny} places for {counted(len(names), 'image')}.")
    get(options, "/")  # whether there is a server is told once, not for each image
    replies = list(ask(options, names, context.nproc))
    show(context, replies)
    failed = [r for r in replies if "error" in r]
    context.summary(f"{len(replies) - len(failed)} of {len(replies)} images answered")
    if len(failed) == len(replies):
        raise AlgorithmFailed(f"No image could be searched: {failed[0]['error']}")


def ask(options: ClientOptions, names: list[str], n_threads: int) -> Iterator[dict[str, Any]]:
    """Answers in the order of the names; what is asked when the server has gone is answered by an error."""
    settings = [f"{k}={v}" for k, v in differences(options).items() if k.partition(".")[0] not in OWN]
    tail = "".join(f";{quote(word, safe=',=')}" for word in [*settings, *options.more])

    def answer(name: str) -> dict[str, Any]:
        try:
            return get(options, quote("/" + name.removeprefix("/"), safe="/") + tail)
        except DataError as error:
            return {"image": name, "error": str(error)}

    with ThreadPoolExecutor(n_threads) as threads:
        yield from threads.map(answer, names)


def get(options: ClientOptions, path: str) -> dict[str, Any]:
    """One answer; a server that is busy is asked again.

    Raises
    ------
    DataError
        If no server answers.
    """
    url = f"http://{options.host}:{options.port}{path}"
    deadline = time.monotonic() + options.timeout
    while True:
        try:
            with urlopen(url, timeout=options.timeout) as answer:
                text = answer.read()
        except HTTPError as error:
            if error.code == 503 and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            text = error.read()
        except (URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            cause = getattr(reason, "strerror", None) or reason
            raise DataError(
                f"No find_spots_server answers at {options.host} port {options.port}: {cause}.",
                advice="Start one with xtal run find_spots_server, or give host= and port=.",
            ) from None
        return parsed(text, url)


def parsed(text: bytes, url: str) -> dict[str, Any]:
    """The answer as a dictionary; empty where the server only agrees."""
    try:
        reply = json.loads(text) if text else {}
    except ValueError:
        reply = None
    if not isinstance(reply, dict):
        raise DataError(
            f"{url} is answered by something that is no find_spots_server.", advice="Check host= and port=."
        )
    return reply


def show(context: Context, replies: list[dict[str, Any]]) -> None:
    """XML or a table on the terminal, files where asked for."""
    options: ClientOptions = context.options
    if options.table:
        good = [r for r in replies if "error" not in r]
        columns = {**COLUMNS, **(LATTICE_COLUMNS if options.index else {})}
        if good:
            context.table("Spots", list(columns), [[cell(r.get(key, "")) for key in columns.values()] for r in good])
        for reply in replies:
            if "error" in reply:
                context.warn(f"{reply.get('image', '')}: {reply['error']}")
    else:
        for reply in replies:
            context.print(as_xml(reply))
    if options.json:
        with context.writing("json", options.json) as path:
            path.write_text(json.dumps(replies, indent=1))
    if options.plot:
        with context.writing("plot", options.plot) as path:
            draw(replies, path)
    if options.grid:
        with context.writing("grid", "spot_count.png") as path:
            draw_grid(replies, options.grid, path)


def cell(value: Any) -> str:
    """A number in a table."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if value < 1000 else f"{value:.0f}"


def draw(replies: list[dict[str, Any]], path: Path) -> None:
    """Spots per image, as PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for key, label in (("n_spots_total", "all"), ("n_spots_no_ice", "off ice rings")):
        axes.plot(range(1, len(replies) + 1), [r.get(key, np.nan) for r in replies], ".", label=label)
    axes.set(xlabel="image, in the order asked", ylabel="spots")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend()
    figure.savefig(path, format="png", dpi=120)


def draw_grid(replies: list[dict[str, Any]], shape: tuple[int, ...], path: Path) -> None:
    """Spots off ice rings as a map, as PNG; the first row at the top."""
    from matplotlib.figure import Figure

    nx, ny = shape
    counts = np.array([r.get("n_spots_no_ice", np.nan) for r in replies], float).reshape(ny, nx)
    figure = Figure(layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(counts), label="spots off ice rings")
    figure.savefig(path, format="png", dpi=120)
