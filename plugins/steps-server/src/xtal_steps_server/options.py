"""Options of the server, of its requests and of the client; names as in DIALS."""

from __future__ import annotations

from attrs import frozen

from xtal.options import option, scope
from xtal_steps_spots.options import SpotfinderOptions, trusted_limit

PORT = 1701


@frozen
class ServerOptions:
    """All options of the server; ``nproc`` is the number of images searched at a time."""

    host: str = option("127.0.0.1", help="Address to listen on; by default only this machine is heard")
    port: int = option(PORT, help="Port to listen on (0: any that is free)", ge=0, le=65535)
    root: tuple[str, ...] = option((), help="Answer about files in this folder only; may be repeated", multiple=True)
    queue: int = option(256, help="Requests that may wait; more are told to come back later", ge=1, level=1)


@frozen
class IceOptions:
    """Rings of hexagonal ice, whose spots are counted apart."""

    filter: bool = option(True, help="Count spots on ice rings apart", level=1)
    width: float = option(0.004, help="Width of a ring in 1/d²", unit="1/Å²", gt=0, level=1)


@frozen
class RequestOptions:
    """What a request may set after its path, ``;name=value``."""

    spotfinder: SpotfinderOptions = scope(SpotfinderOptions)
    maximum_trusted_value: float | None = trusted_limit()
    ice_rings: IceOptions = scope(IceOptions)
    resolution_analysis: bool = option(True, help="Estimate the resolution")
    index: bool = option(False, help="Look for lattices; options of the step index may then be given")
    integrate: bool = option(False, help="Integrate what was indexed; options of the step integrate may then be given")
    indexing_min_spots: int = option(10, help="Index images with more spots off ice rings than these", ge=0, level=1)
    format: str = option(
        "auto", help="Form of the answer (auto: as the request accepts)", choices=("auto", "json", "xml")
    )


@frozen
class ClientOptions:
    """All options of the client; those of find_spots are sent on."""

    host: str = option("localhost", help="Where the server runs")
    port: int = option(PORT, help="Its port", ge=1, le=65535)
    action: str = option("ask", help="ask about images, ping the server, or stop it", choices=("ask", "ping", "stop"))
    image: tuple[str, ...] = option((), help="Image by its name on the server; may be repeated", multiple=True, level=1)
    table: bool = option(False, help="Print a table in place of XML")
    json: str | None = option(None, help="Write all answers to this file", writes=True)
    plot: str | None = option(None, help="Draw the numbers of spots into this PNG file", level=1, writes=True)
    grid: tuple[int, ...] | None = option(
        None, help="Images per row and column: a map of spots in spot_count.png", size=2, level=1
    )
    timeout: float = option(60.0, help="Longest wait for an answer", unit="s", gt=0, level=1)
    spotfinder: SpotfinderOptions = scope(SpotfinderOptions)
    maximum_trusted_value: float | None = trusted_limit()
    ice_rings: IceOptions = scope(IceOptions)
    resolution_analysis: bool = option(True, help="Estimate the resolution", level=1)
    index: bool = option(False, help="Look for lattices, too")
    integrate: bool = option(False, help="Integrate what was indexed", level=1)
    indexing_min_spots: int = option(10, help="Index images with more spots off ice rings than these", ge=0, level=1)
    more: tuple[str, ...] = option(
        (), help="NAME=VALUE of an option of index or integrate; may be repeated", multiple=True, level=1
    )
