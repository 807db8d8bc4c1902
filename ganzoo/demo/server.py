"""One page, and its pictures: for this machine alone, or for whoever has the address with its token."""

import errno
import hmac
import io
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from ganzoo.demo.asking import asked, asked_of_film, asked_of_mix, asked_of_translator, place
from ganzoo.demo.player import Player
from ganzoo.demo.reading import Until
from ganzoo.demo.showing import Exhibit, facts_of
from ganzoo.demo.translating import MOST_BYTES, Translating
from ganzoo.errors import GanzooError, UsageError, one_line, warn

PICTURES = {Player: ("/image.png", "/mix.png", "/walk.gif"), Translating: ("/source.png", "/made.png", "/target.png")}
"""What each kind of demo draws."""
DROPPED = ("/source.png", "/made.png")
"""What is made of a picture that comes with the request."""
PATIENCE = 2
"""Seconds for which what nobody wants is waited for."""
LONGEST_HEAD = 10
"""Seconds that the head of a request may be on its way, however it comes."""
LONGEST = 60
"""Seconds that a picture may be on its way."""
MOST_CLIENTS = 256
"""Connections at a time."""
MOST_FILMS = 2
"""That are made at a time, whose frames are held."""
MOST_HELD = 16 * MOST_BYTES
"""Bytes of dropped pictures at a time, over all connections."""
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What this machine is called by itself."""


def bind(port: int, host: str = "127.0.0.1") -> "Server":
    """A server that shows nothing yet, and does not run; port 0 takes any that is free.

    Raises:
        GanzooError: the port is taken, or the host is none of this machine's.
    """
    try:
        return Server((host, port), Handler)
    except (OSError, UnicodeError, ValueError, TypeError) as error:  # Of these, the last three are of odd names.
        why = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise GanzooError(f"cannot serve on port {port}: {why}; choose another --port") from error
        raise GanzooError(f"cannot serve on {host}: {why}; choose another --host") from error


def is_local(host: str) -> bool:
    """Whether only this machine can reach what is served there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def serve(player: Player | Translating | Exhibit, port: int) -> "Server":
    """The same, with something to show.

    Raises:
        GanzooError: the port is taken.
    """
    server = bind(port)
    server.show(player)
    return server


def render(facts: dict[str, Any], page: str = "demo.html", token: str = "") -> str:
    """The page; the pictures that it asks for have the token in their addresses, where there is one."""
    return _templates().get_template(page).render(facts=facts, token=token)


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("ganzoo.demo", "templates"), autoescape=True, undefined=StrictUndefined)


def _drawn(
    player: Player | Translating, path: str, dropped: bytes | None, what: dict[str, Any]
) -> tuple[bytes, list[str]]:
    """A picture, and notes of what was done that nobody asked for."""
    if isinstance(player, Translating):
        return player.picture(path.removeprefix("/").removesuffix(".png"), dropped, **what)
    return player.mix(**what) if path == "/mix.png" else player.draw(**what), []


class Busy(GanzooError):
    """There is no room for it now."""


class Server(ThreadingHTTPServer):
    """Tells what goes wrong with a connection in one line, and takes no more of them than there is room for."""

    daemon_threads = True
    request_queue_size = MOST_CLIENTS  # Of the 5 that are usual, the sixth is let wait for a second, or three.
    shown: tuple[Exhibit, ...]

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]):
        host = address[0]
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.token = "" if is_local(host) else secrets.token_urlsafe(16)
        """What a request's address must hold; empty where only this machine can send one."""
        self.names = (*NAMES, f"[{host}]" if ":" in host else host)
        self._room = threading.BoundedSemaphore(MOST_CLIENTS)
        self.films = threading.BoundedSemaphore(MOST_FILMS)
        self._guard, self._held = threading.Lock(), 0
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Not as HTTPServer does, which asks the network for this machine's name, and waits for an answer."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    @property
    def address(self) -> str:
        """What to open in a browser; on this machine, where it answers at all of its addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.server_name, self.server_name)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.server_port}/" + (f"?token={self.token}" if self.token else "")

    def show(self, *shown: Player | Translating | Exhibit) -> None:
        """From now on, this; or two runs beside each other, as `exhibits_of` has them."""
        self.shown = tuple(one if isinstance(one, Exhibit) else Exhibit(one) for one in shown)

    def page(self) -> bytes:
        """The page, with the checkpoints that there are now."""
        return render(facts_of(self.shown), self.shown[0].page, self.token).encode()

    @contextmanager
    def holding(self, size: int) -> Iterator[bool]:
        """Whether there is room for so many bytes of a picture more; inside, they are counted."""
        with self._guard:
            fits = self._held + size <= MOST_HELD
            self._held += size if fits else 0
        try:
            yield fits
        finally:
            with self._guard:
                self._held -= size if fits else 0

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, where there is room for another."""
        if self._room.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:  # No thread could be started, which would have made room again.
                self._room.release()
                raise
            return
        with suppress(OSError):
            request.settimeout(PATIENCE)
            request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Makes room again when it is done."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is not worth a word."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            warn(one_line(error))


class Handler(BaseHTTPRequestHandler):
    """A few addresses, and nothing that is read from disk: the page, and pictures."""

    server: Server
    server_version = "ganzoo"
    sys_version = ""
    timeout = 30
    """Seconds for which nothing may come, or that an answer may take to be taken."""

    def setup(self) -> None:
        """As it is, but for how long a request may take to come."""
        super().setup()
        self.rfile.close()
        self._coming = Until(self.connection, LONGEST_HEAD)
        self.rfile = io.BufferedReader(self._coming)

    def do_GET(self) -> None:
        """Answer with the page, or a picture that the demo itself has something to make of."""
        address, query = self._asked()
        if (reason := self._stranger()) is not None:
            self._refuse(HTTPStatus.FORBIDDEN, reason)
        elif address == "/":
            self._answer(HTTPStatus.OK, self.server.page(), "text/html; charset=utf-8")
        elif address not in self._pictures():
            self._refuse(HTTPStatus.NOT_FOUND, f"there is / and {', '.join(self._pictures())}")
        elif not self._own():
            self._refuse(HTTPStatus.FORBIDDEN, "pictures are drawn for this demo's own page")
        else:
            self._draw(address, query, None)

    def do_POST(self) -> None:
        """Answer with what is made of the picture that is the request's content, which is no longer than allowed."""
        (address, query), told = self._asked(), self.headers.get("Content-Length", "")
        length = int(told) if told.isascii() and told.isdecimal() and len(told) < 16 else None
        taken = False
        if (reason := self._stranger()) is not None:
            self._refuse(HTTPStatus.FORBIDDEN, reason)
        elif self.server.shown[0].kind is Player:
            self._refuse(HTTPStatus.NOT_IMPLEMENTED, "this demo takes no pictures")
        elif not self._own():
            self._refuse(HTTPStatus.FORBIDDEN, "pictures are taken from this demo's own page")
        elif address not in DROPPED:
            self._refuse(HTTPStatus.NOT_FOUND, f"pictures go to {' and '.join(DROPPED)}")
        elif length is None:
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "say how long the picture is: Content-Length")
        elif length > MOST_BYTES:
            self._refuse(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"a picture of {length:,} bytes is too large: {MOST_BYTES:,} at most",
            )
        else:
            with self.server.holding(length) as fits:
                if not fits:
                    self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many pictures come at once: drop it again")
                else:
                    taken = True
                    data = self._take(length)
                    if len(data) < length:
                        self._refuse(HTTPStatus.BAD_REQUEST, f"of {length:,} bytes {len(data):,} came")
                    else:
                        self._draw(address, query, data)
        if not taken:
            self._let_come()

    def _take(self, length: int) -> bytes:
        """The content of a request, as far as it comes in time."""
        data = bytearray()
        self._coming.allow(LONGEST)
        with suppress(TimeoutError):
            while len(data) < length and (part := self.rfile.read1(min(2**16, length - len(data)))):
                data += part
        return bytes(data)

    def _let_come(self) -> None:
        """Take what is on its way still: a connection that is closed before would lose the answer."""
        left, until = 2 * MOST_BYTES, time.monotonic() + LONGEST
        with suppress(OSError):
            self.connection.settimeout(PATIENCE)
            self.connection.shutdown(socket.SHUT_WR)
            while left > 0 and time.monotonic() < until and (part := self.connection.recv(2**16)):
                left -= len(part)

    def _asked(self) -> tuple[str, str]:
        """The path of the request, and its query without the token."""
        path, query = self._target()
        return path, "&".join(part for part in query.split("&") if not part.startswith("token="))

    def _target(self) -> tuple[str, str]:
        """The path of the request, and its query; what is no address has neither, and is none that the demo knows."""
        try:
            address = urlsplit(self.path)
        except ValueError:
            return "", ""
        return address.path, address.query

    def _stranger(self) -> str | None:
        """Why whoever asks gets nothing at all; None if they may ask."""
        token = self.server.token
        if not token:
            return None if self._named() else "this demo answers to 127.0.0.1 alone"
        given = next((p for p in self._target()[1].split("&") if p.startswith("token=")), "")
        # In a time that does not tell how much of it is right.
        right = hmac.compare_digest(given.removeprefix("token=").encode(errors="replace"), token.encode())
        return None if right else "open the address that `ganzoo demo` printed, with its token"

    def _pictures(self) -> tuple[str, ...]:
        return PICTURES[self.server.shown[0].kind]

    def _named(self) -> bool:
        """Whether the request names this machine; another name is a foreign page's (DNS rebinding), who knows no token.

        On whatever port: `ssh -L 9000:127.0.0.1:8765` and the like have it on another.
        """
        name, colon, port = self.headers.get("Host", "").rpartition(":")
        if not (colon and port.isascii() and port.isdecimal()):
            name = self.headers.get("Host", "")
        return name.lower() in self.server.names

    def _own(self) -> bool:
        """Whether the demo's own page asks, or somebody by hand: a page of another site cannot see the picture, but
        would have it drawn."""
        host, site = self.headers.get("Host"), self.headers.get("Sec-Fetch-Site", "none")
        origins = [f"http://{host}", *([f"https://{host}"] if self.server.token else [])]  # By a proxy that encrypts.
        own = self.headers.get("Origin", origins[0]) in origins
        return own and site in ("none", "same-origin")  # Programs that are no browsers say neither.

    def _draw(self, path: str, query: str, dropped: bytes | None) -> None:
        notes, name = list[str](), self.server.shown[0].model
        try:
            side, step, query = place(query)
            if side >= len(self.server.shown):
                raise UsageError(f"there is no run {side}: {len(self.server.shown)} shown, counted from 0")
            exhibit = self.server.shown[side]
            name = exhibit.model
            if path == "/walk.gif":
                content = self._film(exhibit, step, exhibit.own(asked_of_film(query)))
            else:
                read = {"/image.png": asked, "/mix.png": asked_of_mix}.get(path, asked_of_translator)
                what = exhibit.own(read(query))
                with exhibit.lock:
                    content, notes = _drawn(exhibit.playing(step), path, dropped, what)
            kind = "image/gif" if path.endswith(".gif") else "image/png"
            self._answer(HTTPStatus.OK, content, kind, {"X-Notes": quote("; ".join(notes))})
        except Busy as error:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, one_line(error))
        except UsageError as error:
            self._refuse(HTTPStatus.BAD_REQUEST, one_line(error))
        except GanzooError as error:  # A checkpoint that is damaged.
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, one_line(error))
        except Exception as error:
            line = f"model '{name}' failed: {one_line(error)}"
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, line)

    def _film(self, exhibit: Exhibit, step: int | None, what: dict[str, Any]) -> bytes:
        """Others draw meanwhile, and may have another checkpoint loaded: the weights of so few films stay beside it."""
        if not self.server.films.acquire(blocking=False):
            raise Busy(f"{MOST_FILMS} films are being made already: ask again in a moment")
        try:
            with exhibit.lock:
                player = exhibit.playing(step)
            assert isinstance(player, Player)
            return player.film(**what)
        finally:
            self.server.films.release()

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
