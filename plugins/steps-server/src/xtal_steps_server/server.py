"""The step find_spots_server: HTTP on starlette and uvicorn."""

from __future__ import annotations

import gc
import ipaddress
import os
import re
import socket
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xtal.errors import DataError, OptionError, XtalError
from xtal.options import Entry, of_command, parse
from xtal.plugins import Plugins
from xtal.run import Context
from xtal.words import counted
from xtal_steps_server.lattices import known_options, lattices_of, shared_out
from xtal_steps_server.options import RequestOptions, ServerOptions
from xtal_steps_server.replies import as_xml
from xtal_steps_server.search import ImageSearch

BUSY = 503
FAILED = 500
REFUSED = 403
SETTING = re.compile(r"[A-Za-z_][\w.]*")
OBJECTS_PER_COLLECTION = 20_000
"""New objects after which Python looks for garbage. Steps that end look more rarely (`xtal.cli.main`), a server lives
long: each request leaves some."""


class Service:
    """Answers requests.

    Parameters
    ----------
    plugins
        Installed plugins.
    roots
        Folders whose files may be asked about; none: all files.
    n_workers, queue
        Images searched at a time, and requests that may wait for their turn.
    """

    def __init__(self, plugins: Plugins, roots: list[Path], n_workers: int, queue: int) -> None:
        self.plugins, self.roots, self.queue = plugins, roots, queue
        self.search = ImageSearch(plugins)
        self.n_workers = n_workers
        self.pending = 0
        self.server: uvicorn.Server | None = None
        self._limiter: CapacityLimiter | None = None

    @cached_property
    def known(self) -> dict[str, list[Entry]]:
        """All options that a request may give."""
        return known_options(self.plugins)

    def application(self) -> Starlette:
        """The ASGI application."""
        return Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET"])])

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        raw = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1")
        if raw in ("", "/"):
            return JSONResponse({"status": "ready", "workers": self.n_workers, "pending": self.pending})
        if raw == "/Ctrl-C":
            return self.stop(request)
        if self.pending >= self.n_workers + self.queue:
            return JSONResponse({"error": "The server is busy."}, BUSY, headers={"Retry-After": "1"})
        self._limiter = self._limiter or CapacityLimiter(self.n_workers)
        self.pending += 1
        try:
            status, reply, form = await to_thread.run_sync(self.reply, raw, limiter=self._limiter)
        finally:
            self.pending -= 1
        if form == "xml" or (form == "auto" and "application/xml" in request.headers.get("accept", "")):
            return Response(as_xml(reply), status, media_type="application/xml")
        return JSONResponse(reply, status)

    def reply(self, raw: str) -> tuple[int, dict[str, Any], str]:
        """Status, answer and form of the request for a path (still percent-encoded, with its parameters)."""
        name, *words = [unquote(part) for part in raw.split(";")]
        if "://" in name:
            name = name.removeprefix("/").partition("://")[2]
        form = "auto"
        try:
            mine, theirs = shared_out(settings(words), self.known) if words else ([], {})
            options = parse(RequestOptions, mine, self.plugins)
            for step, wanted in (("index", options.index), ("integrate", options.index and options.integrate)):
                if theirs.get(step) and not wanted:
                    raise OptionError(f"{theirs[step][0].key} is an option of {step}.", advice=f"Ask for {step}=True.")
            form = options.format
            if "\0" in name:
                raise DataError("The name of the image holds a zero byte.")
            path = self.allowed(Path(name))
            if path is None:
                return REFUSED, {"image": name, "error": f"{name} lies outside of the folders that are served."}, form
            mask = options.spotfinder.lookup.mask
            if mask is not None and self.allowed(Path(mask)) is None:
                raise DataError(f"The mask {mask} lies outside of the folders that are served.")
            found = self.search.find(path, options)
            reply = found.statistics(options).as_dict()
            if options.index and reply["n_spots_no_ice"] > options.indexing_min_spots:
                reply |= lattices_of(self.plugins, found.experiment, found.table, theirs, integrate=options.integrate)
            return 200, {"image": name, **reply}, form
        except (XtalError, OSError) as error:
            return FAILED, {"image": name, "error": of_command(str(error), "xtal run find_spots_client")}, form
        except Exception as error:
            return FAILED, {"image": name, "error": f"A defect of the server: {type(error).__name__}: {error}"}, form

    def allowed(self, path: Path) -> Path | None:
        """The real path, links followed, if it may be asked about."""
        real = path.resolve()
        if not self.roots or any(real.is_relative_to(root) for root in self.roots):
            return real
        return None

    def stop(self, request: Request) -> Response:
        """Stop when the machine itself asks for it; requests under way are answered first."""
        if request.client is None or not is_loopback(request.client.host):
            return JSONResponse({"error": "The server is stopped from its own machine only."}, REFUSED)
        if self.server is not None:
            self.server.should_exit = True
        return Response()


def settings(words: list[str]) -> list[str]:
    """The parameters of a request: settings alone, so that no parameter file of the server's is read.

    Raises
    ------
    OptionError
        If one is no ``name=value``.
    """
    for word in filter(None, words):
        name, equals, _ = word.partition("=")
        if not (equals and SETTING.fullmatch(name)) or name == "options":
            raise OptionError("What follows the name of an image is ;name=value, with the options of find_spots.")
    return [word for word in words if word]


def is_loopback(host: str) -> bool:
    """Whether an address is of the machine itself."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


def listen(options: ServerOptions) -> socket.socket:
    """A socket that listens.

    Raises
    ------
    OptionError
        If the server would serve every file to every machine.
    DataError
        If the address cannot be had.
    """
    if not options.root and not is_loopback(options.host):
        raise OptionError(
            f"host={options.host} is heard by other machines, which could ask about every file.",
            advice="Give root=FOLDER, the folder of the images; it may be repeated.",
        )
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        return socket.create_server((options.host, options.port), family=family, backlog=1024)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise DataError(
            f"The server cannot listen on {options.host} port {options.port}: {cause}.", advice="Give another port=."
        ) from None


def roots_of(options: ServerOptions) -> list[Path]:
    """The folders that are served.

    Raises
    ------
    OptionError
        If one is no folder.
    """
    roots = [Path(os.path.expanduser(root)).resolve() for root in options.root]
    for root in roots:
        if not root.is_dir():
            raise OptionError(f"root={root} is no folder.")
    return roots


def run(context: Context) -> None:
    """Serve until stopped."""
    options: ServerOptions = context.options
    service = Service(context.plugins, roots_of(options), context.nproc, options.queue)
    with listen(options) as listening:
        host, port = listening.getsockname()[:2]
        config = uvicorn.Config(
            service.application(), log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=30
        )
        service.server = uvicorn.Server(config)
        context.print(
            f"Serving {counted(service.n_workers, 'image')} at a time on http://{host}:{port}/ (GET /Ctrl-C stops it)"
        )
        gc.set_threshold(OBJECTS_PER_COLLECTION)
        anyio.run(service.server.serve, [listening])
    context.summary("The server was stopped.")
