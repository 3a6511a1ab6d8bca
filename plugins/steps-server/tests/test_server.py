"""A server that runs in this process: right answers, refusals, back-pressure, clean stop."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from xtal.errors import DataError, OptionError
from xtal.files import read_reflections
from xtal.options import parse, split_tokens
from xtal.plugins import default_plugins
from xtal.run import run_step as run_step_of
from xtal_steps_server import client
from xtal_steps_server.options import ClientOptions, ServerOptions
from xtal_steps_server.replies import as_xml, cell_of_lattice
from xtal_steps_server.search import frame_of
from xtal_steps_server.server import Service, is_loopback, listen

PORT = 17433


def get(path: str, **headers: str) -> tuple[int, bytes]:
    try:
        with urlopen(Request(f"http://127.0.0.1:{PORT}{path}", headers=headers), timeout=60) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def images(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.cbf"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a few images that a server in a thread answers about."""
    folder = tmp_path_factory.mktemp("served")
    plugins = default_plugins()
    words = ["preset=small", f"output.directory={folder}"]
    run_step_of(plugins, "simulate", split_tokens(words)[0], verbosity=0)
    work = tmp_path_factory.mktemp("work")
    words = [f"port={PORT}", f"root={folder}", "nproc=2", f"output.directory={work}"]
    failures: list[BaseException] = []

    def serve() -> None:
        try:
            run_step_of(plugins, "find_spots_server", split_tokens(words)[0], verbosity=0)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    for _ in range(300):
        try:
            get("/")
            break
        except OSError:
            time.sleep(0.1)
    yield folder
    assert get("/Ctrl-C") == (200, b"")
    thread.join(30)
    assert not thread.is_alive()
    assert not failures


def test_ping_says_ready(served: Path) -> None:
    status, text = get("/")
    assert (status, json.loads(text)["status"]) == (200, "ready")


def test_answers_are_those_of_the_steps(served: Path, run_step: Any) -> None:
    image = images(served)[0]
    reply = json.loads(get(quote(str(image)))[1])
    run_step("import", image)
    run_step("find_spots", "imported.expt")
    table = read_reflections(Path("strong.refl"))
    run_step("spot_counts_per_image", "imported.expt", "strong.refl", "json=c.json")
    assert reply.pop("image") == str(image)
    assert reply["n_spots_total"] == len(table) > 50
    assert reply == pytest.approx({k: v[0] for k, v in json.loads(Path("c.json").read_text()).items()})


def test_parameters_are_those_of_find_spots(served: Path) -> None:
    path = quote(str(images(served)[0]))
    everything, some = (json.loads(get(path + tail)[1]) for tail in ("", ";d_min=4"))
    assert 0 < some["n_spots_total"] < everything["n_spots_total"]
    status, text = get(path + ";d_minn=4")
    assert status == 500
    assert "d_minn" in json.loads(text)["error"]


def test_filters_masks_and_limits_are_obeyed(served: Path, tmp_path: Path, run_step: Any) -> None:
    image = images(served)[0]
    run_step("import", image)

    def both(*words: str) -> tuple[int, int]:
        run_step("find_spots", "imported.expt", *words)
        reply = json.loads(get(quote(str(image)) + "".join(f";{w}" for w in words))[1])
        return reply["n_spots_total"], len(read_reflections(Path("strong.refl")))

    everything, _ = both()
    run_step("generate_mask", "imported.expt", "untrusted.rectangle=0,150,0,400", f"output.directory={served}")
    for words in (
        [f"lookup.mask={served}/pixels.mask"],
        ["maximum_trusted_value=100"],
        ["background_gradient.filter=True", "background_gradient.gradient_cutoff=0.5"],
        ["threshold.global_threshold=auto"],
        ["spot_density.filter=True"],
    ):
        ours, steps = both(*words)
        assert ours == steps
        assert ours < everything or "density" in words[0]
    (served / "pixels.mask").rename(tmp_path / "pixels.mask")
    for mask, cause in ((tmp_path, "outside of the folders"), (served, "No such file")):
        status, text = get(quote(str(image)) + f";lookup.mask={mask}/pixels.mask")
        assert (status, cause in json.loads(text)["error"]) == (500, True)


def test_an_image_is_indexed_and_integrated_on_request(served: Path, run_step: Any) -> None:
    path = quote(str(images(served)[0]))
    reply = json.loads(get(path + ";index=True;integrate=True;space_group=P1;d_min=2.2")[1])
    assert reply["n_indexed"] > 0.95 * reply["n_spots_total"] > 50
    (lattice,) = reply["lattices"]
    assert lattice["n_indexed"] == reply["n_indexed"]
    assert lattice["crystal"]["space_group_hall_symbol"].strip() == "P 1"
    assert cell_of_lattice(lattice)[:3] == pytest.approx((30.4, 36.1, 43.7), rel=0.01)
    assert reply["integrated_intensity"] == pytest.approx(reply["total_intensity"], rel=0.3)
    tree = ElementTree.fromstring(as_xml(reply))
    assert len(str(tree.findtext("unit_cell")).split()) == 6
    assert tree.findtext("n_indexed") == str(reply["n_indexed"])
    names = [str(images(served)[0])]
    run_step(
        "find_spots_client", *names, f"port={PORT}", "index=True", "more=space_group=P1", "d_min=2.2", "json=a.json"
    )
    (asked,) = json.loads(Path("a.json").read_text())
    assert asked["lattices"] == reply["lattices"]


def test_an_image_that_cannot_be_indexed_keeps_its_statistics(served: Path) -> None:
    path = quote(str(images(served)[0]))
    status, text = get(path + ";index=True;unit_cell=5,5,5,90,90,90;space_group=P1")
    reply = json.loads(text)
    assert (status, reply["n_spots_total"] > 50, "lattices" in reply) == (200, True, False)
    assert reply["error"]
    few = json.loads(get(path + ";index=True;indexing_min_spots=100000")[1])
    assert "lattices" not in few
    assert "error" not in few


def test_options_of_steps_that_were_not_asked_for_are_refused(served: Path) -> None:
    status, text = get(quote(str(images(served)[0])) + ";max_lattices=2")
    assert (status, "index=True" in json.loads(text)["error"]) == (500, True)
    status, text = get(quote(str(images(served)[0])) + ";index=True;output.directory=" + quote("/", safe=""))
    assert (status, "output.directory" in json.loads(text)["error"]) == (500, True)


def test_an_unknown_option_is_told_with_where_they_are_listed(served: Path) -> None:
    status, text = get(quote(str(images(served)[0])) + ";foo=2")
    told = json.loads(text)["error"]
    assert (status, told) == (
        500,
        "The option 'foo' is unknown. See xtal run find_spots_client --help -v for all names.",
    )


def test_xml_on_request(served: Path) -> None:
    path = quote(str(images(served)[0]))
    tree = ElementTree.fromstring(get(path, Accept="application/xml")[1])
    assert tree.tag == "response"
    assert int(str(tree.findtext("spot_count"))) == json.loads(get(path)[1])["n_spots_total"]
    assert ElementTree.fromstring(get(path + ";format=xml")[1]).findtext("image") == str(images(served)[0])


def test_missing_damaged_and_forbidden_files(served: Path, tmp_path: Path) -> None:
    status, text = get(quote(str(served / "missing.cbf")))
    assert (status, "No such file" in json.loads(text)["error"]) == (500, True)
    damaged = served / "damaged.cbf"
    damaged.write_bytes(images(served)[0].read_bytes()[:9000])
    status, text = get(quote(str(damaged)))
    assert (status, "damaged.cbf" in json.loads(text)["error"]) == (500, True)
    assert "skip" not in json.loads(text)["error"]  # there is no other image to go on with
    damaged.unlink()
    assert get("/etc/passwd")[0] == 403
    link = served / "link.cbf"
    link.symlink_to("/etc/passwd")
    assert get(quote(str(link)))[0] == 403
    link.unlink()
    assert get(quote(f"{served}/../../../etc/passwd"))[0] == 403
    status, text = get(quote(f"{served}/a\0.cbf"))
    assert (status, "zero byte" in json.loads(text)["error"]) == (500, True)


def test_parameter_files_of_the_server_are_not_read(served: Path) -> None:
    status, text = get(quote(str(images(served)[0])) + ";options=" + quote("/etc/passwd", safe=""))
    assert status == 500
    assert "root:" not in text.decode()


def test_many_requests_mixed(served: Path) -> None:
    some = [str(p) for p in images(served)[:6]]
    names = [some[k % 6] if k % 3 else f"{served}/none_{k}.cbf" for k in range(60)]
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda name: json.loads(get(quote(name))[1]), names))
    assert [r["image"] for r in replies] == names
    first = {name: json.loads(get(quote(name))[1]) for name in some}
    for name, reply in zip(names, replies, strict=True):
        assert reply == first[name] if name in first else "error" in reply


def test_client_prints_and_writes(served: Path, run_step: Any) -> None:
    names = [*images(served)[:2]]
    outcome = run_step("find_spots_client", *names, f"port={PORT}", "json=all.json", "grid=2,1")
    assert "2 of 2 images answered" in outcome.summary[0]
    assert [r["image"] for r in json.loads(Path("all.json").read_text())] == [str(n) for n in names]
    assert Path("spot_count.png").read_bytes()[:4] == b"\x89PNG"
    assert "Success" in run_step("find_spots_client", "action=ping", f"port={PORT}").summary[0]


def test_client_sees_to_the_grid_before_it_asks(run_step: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"grid=2,2 has 4 places for 1 image\."):
        run_step("find_spots_client", "image=a.cbf", "grid=2,2", "port=1")


def test_a_server_that_goes_away_takes_no_answer_along(
    served: Path, run_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, whole = images(served)[:3], client.get

    def gone(options: Any, path: str) -> dict[str, Any]:
        if path.endswith(names[1].name):
            raise DataError("No find_spots_server answers.")
        return whole(options, path)

    monkeypatch.setattr(client, "get", gone)
    outcome = run_step("find_spots_client", *names, f"port={PORT}", "json=all.json")
    assert "2 of 3 images answered" in outcome.summary[0]
    assert ["error" in r for r in json.loads(Path("all.json").read_text())] == [False, True, False]


def test_a_busy_server_is_asked_again() -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    codes = [503, 503, 200]

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code = codes.pop(0)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b'{"error": "The server is busy."}' if code == 503 else b'{"n_spots_total": 7}')

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(3)])
        thread.start()
        reply = client.get(ClientOptions(host="127.0.0.1", port=server.server_port, timeout=30.0), "/a.cbf")
        thread.join(30)
    assert reply == {"n_spots_total": 7}
    assert codes == []


@pytest.mark.parametrize(
    ("n", "asked", "frame"),
    [
        (1, (), 0),
        (1, ((148, 148),), 0),
        (9, ((9, 9),), 8),
        (9, (), "holds 9 images"),
        (9, ((10, 10),), "1 to 9, not 10"),
        (9, ((0, 0),), "1 to 9, not 0"),
        (9, ((2, 3),), "about one image"),
    ],
)
def test_which_frame_is_meant(n: int, asked: Any, frame: int | str) -> None:
    from types import SimpleNamespace

    reader: Any = SimpleNamespace(z1=n)
    if isinstance(frame, int):
        assert frame_of(Path("a.h5"), asked, reader) == frame
        return
    with pytest.raises(DataError, match=frame):
        frame_of(Path("a.h5"), asked, reader)


def test_client_without_server(run_step: Any) -> None:
    for words in (["action=ping"], ["image=a.cbf", "image=b.cbf"]):
        with pytest.raises(DataError, match="No find_spots_server answers at localhost port 1: Connection refused"):
            run_step("find_spots_client", *words, "port=1")


def test_a_full_queue_turns_requests_away() -> None:
    import asyncio

    from starlette.requests import Request as Asked

    service, release = Service(default_plugins(), [], 1, 2), threading.Event()

    def reply(raw: str) -> tuple[int, dict[str, Any], str]:
        assert release.wait(30)
        return 200, {}, "json"

    service.reply = reply  # type: ignore[method-assign]  # a stand-in
    scope = {"type": "http", "method": "GET", "path": "/a.cbf", "headers": [], "query_string": b""}

    async def ask() -> list[Any]:
        asked = [asyncio.create_task(service.answer(Asked(scope | {"raw_path": b"/a.cbf"}))) for _ in range(8)]
        await asyncio.sleep(0.2)
        assert service.pending == 3
        release.set()
        return await asyncio.gather(*asked)

    answers = asyncio.run(ask())
    assert [a.status_code for a in answers] == [200] * 3 + [503] * 5
    assert {a.headers.get("retry-after") for a in answers[3:]} == {"1"}
    assert service.pending == 0


@pytest.mark.parametrize(
    ("client", "stops"), [(("127.0.0.1", 5), True), (("::1", 5), True), (("192.168.0.7", 5), False), (None, False)]
)
def test_only_its_own_machine_stops_the_server(client: tuple[str, int] | None, stops: bool) -> None:
    from types import SimpleNamespace

    from starlette.requests import Request

    service = Service(default_plugins(), [], 1, 1)
    service.server = SimpleNamespace(should_exit=False)
    answer = service.stop(
        Request({"type": "http", "method": "GET", "path": "/Ctrl-C", "headers": [], "client": client})
    )
    assert service.server.should_exit == stops
    assert answer.status_code == (200 if stops else 403)


def test_listening_to_others_needs_a_root() -> None:
    with pytest.raises(OptionError, match="root="):
        listen(parse(ServerOptions, ["host=0.0.0.0"]))


def test_a_port_that_is_taken(served: Path) -> None:
    with pytest.raises(DataError, match=f"port {PORT}"):
        listen(parse(ServerOptions, [f"port={PORT}"]))


def test_loopback() -> None:
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "10.0.0.1")] == [True, True, True, False]


def test_xml_escapes_errors() -> None:
    assert as_xml({"error": "a < b"}) == "<response>\na &lt; b\n</response>"
