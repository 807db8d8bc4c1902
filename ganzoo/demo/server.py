"""One page, served to this machine alone, and the pictures that it asks for."""

import socket
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganzoo.data import Batch
from ganzoo.demo.about import about
from ganzoo.demo.asking import asked, asked_of_translator
from ganzoo.demo.player import Player
from ganzoo.demo.translating import HELD_OUT, MOST_BYTES, Translating
from ganzoo.errors import GanzooError, UsageError, one_line, warn
from ganzoo.plugins import Registry
from ganzoo.runs.sampler import load
from ganzoo.runs.sources import held_out, maker_of

PICTURES = {Player: ("/image.png",), Translating: ("/source.png", "/made.png", "/target.png")}
"""What each kind of demo draws."""
DROPPED = ("/source.png", "/made.png")
"""What is made of a picture that comes with the request."""
PATIENCE = 2
"""Seconds for which what nobody wants is waited for."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What this machine is called by itself."""


def bind(port: int) -> "Server":
    """A server on 127.0.0.1 that shows nothing yet, and does not run; port 0 takes any that is free.

    Raises:
        GanzooError: the port is taken.
    """
    try:
        return Server(("127.0.0.1", port), Handler)
    except OSError as error:
        raise GanzooError(f"cannot serve on port {port}: {error.strerror or error}; choose another --port") from error


def serve(player: Player | Translating, port: int) -> "Server":
    """The same, with something to show.

    Raises:
        GanzooError: the port is taken.
    """
    server = bind(port)
    server.show(player)
    return server


def player_of(
    run: Path, device: str, plugins: Registry, sampling: dict[str, Any], checkpoint: str | int | None = None
) -> Player | Translating:
    """What plays with a run.

    Raises:
        UsageError, GanzooError: as `load`, `Player` and `Translating`.
    """
    sampler = load(run, device, plugins, checkpoint=checkpoint)
    known = about(run, sampler.step, checkpoint)
    if not (sampler.gan.translates and sampler.data.is_images):
        return Player(sampler, sampling, known)
    held: Batch | None = None
    try:
        held = held_out(run, sampler.data, plugins, HELD_OUT)
    except GanzooError as error:
        warn(f"there are no held-out pictures to choose from, only your own: {one_line(error)}")
    return Translating(sampler, sampling, held, maker_of(run), known)


def render(facts: dict[str, Any], page: str = "demo.html") -> str:
    """The page."""
    loader = PackageLoader("ganzoo.demo", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(page).render(facts=facts)


class Server(ThreadingHTTPServer):
    """Tells what goes wrong with a connection in one line."""

    daemon_threads = True
    player: Player | Translating
    page: bytes

    def show(self, player: Player | Translating) -> None:
        """From now on, this."""
        self.player = player
        self.page = render(player.facts(), player.page).encode()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is not worth a word."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            print(f"note: {one_line(error)}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """A few addresses, and nothing that is read from disk: the page, and pictures."""

    server: Server
    server_version = "ganzoo"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with the page, or a picture that the demo itself has something to make of."""
        address = urlsplit(self.path)
        if not self._named():
            self._refuse(HTTPStatus.FORBIDDEN, "this demo answers to 127.0.0.1 alone")
        elif address.path == "/":
            self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        elif address.path not in self._pictures():
            self._refuse(HTTPStatus.NOT_FOUND, f"there is / and {', '.join(self._pictures())}")
        elif not self._own():
            self._refuse(HTTPStatus.FORBIDDEN, "pictures are drawn for this demo's own page")
        else:
            self._draw(address.path, address.query, None)

    def do_POST(self) -> None:
        """Answer with what is made of the picture that is the request's content, which is no longer than allowed."""
        address, told = urlsplit(self.path), self.headers.get("Content-Length", "")
        length = int(told) if told.isascii() and told.isdecimal() and len(told) < 16 else None
        data: bytes | None = None
        if isinstance(self.server.player, Player):
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "this demo takes no pictures")
        elif not (self._named() and self._own()):
            self._refuse(HTTPStatus.FORBIDDEN, "pictures are taken from this demo's own page")
        elif address.path not in DROPPED:
            self._refuse(HTTPStatus.NOT_FOUND, f"pictures go to {' and '.join(DROPPED)}")
        elif length is None:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "say how long the picture is: Content-Length")
        elif length > MOST_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a picture of {length:,} bytes is too large: {MOST_BYTES:,} at most",
            )
        else:
            data = self.rfile.read(length)
            if len(data) < length:
                self._refuse(HTTPStatus.BAD_REQUEST, f"of {length:,} bytes {len(data):,} came")
            else:
                self._draw(address.path, address.query, data)
        if data is None:
            self._let_come()

    def _let_come(self) -> None:
        """Take what is on its way still: a connection that is closed before would lose the answer."""
        left = 2 * MOST_BYTES
        with suppress(OSError):
            self.connection.settimeout(PATIENCE)
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and (part := self.connection.recv(2**16)):
                left -= len(part)

    def _pictures(self) -> tuple[str, ...]:
        return PICTURES[type(self.server.player)]

    def _named(self) -> bool:
        """Whether the request names this machine; another name is a foreign page's (DNS rebinding).

        On whatever port: `ssh -L 9000:127.0.0.1:8765` and the like have it on another.
        """
        name, colon, port = self.headers.get("Host", "").rpartition(":")
        if not (colon and port.isascii() and port.isdecimal()):
            name = self.headers.get("Host", "")
        return name.lower() in NAMES

    def _own(self) -> bool:
        """Whether the demo's own page asks, or somebody by hand: a page of another site cannot see the picture, but
        would have it drawn."""
        origin = self.headers.get("Origin", f"http://{self.headers.get('Host')}")
        site = self.headers.get("Sec-Fetch-Site", "none")  # Programs that are no browsers do not say it.
        return site in ("none", "same-origin") and origin == f"http://{self.headers.get('Host')}"

    def _draw(self, path: str, query: str, dropped: bytes | None) -> None:
        player, notes = self.server.player, list[str]()
        try:
            if isinstance(player, Player):
                png = player.draw(**asked(query))
            else:
                kind = path.removeprefix("/").removesuffix(".png")
                png, notes = player.picture(kind, dropped, **asked_of_translator(query))
            self._answer(HTTPStatus.OK, png, "image/png", {"X-Notes": quote("; ".join(notes))})
        except (UsageError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, one_line(error))
        except Exception as error:
            line = f"model '{player.gan.name}' failed: {one_line(error)}"
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, line)

    def _refuse(self, status: HTTPStatus, line: str) -> None:
        self._answer(status, line.encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "Content-Security-Policy": "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
            "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
        }
        for name, value in (headers | (more or {})).items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # The page asked for something newer meanwhile.
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each picture would bury the address."""
