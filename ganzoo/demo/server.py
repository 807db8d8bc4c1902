"""One page, served to this machine alone, and the pictures that it asks for."""

import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jinja2 import Environment, StrictUndefined

from ganzoo.demo.player import DIRECTIONS, MOST, Player
from ganzoo.errors import GanzooError, UsageError, one_line
from ganzoo.files import from_json

LONGEST_VALUES = 8192


def serve(player: Player, port: int) -> ThreadingHTTPServer:
    """A server on 127.0.0.1, not yet running; port 0 takes any that is free.

    Raises:
        GanzooError: the port is taken.
    """
    page = render(player.facts()).encode()
    handler = type("DemoHandler", (Handler,), {"player": player, "page": page})
    try:
        return Server(("127.0.0.1", port), handler)
    except OSError as error:
        raise GanzooError(f"cannot serve on port {port}: {error.strerror or error}; choose another --port") from error


def render(facts: dict[str, Any]) -> str:
    """The page."""
    text = files("ganzoo.demo").joinpath("templates/demo.html").read_text(encoding="utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined).from_string(text).render(facts=facts)


class Server(ThreadingHTTPServer):
    """Tells what goes wrong with a connection in one line."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that went away is not worth a word."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            print(f"note: {one_line(error)}", file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """Two addresses, and nothing that is read from disk: the page, and a picture."""

    server: ThreadingHTTPServer
    player: Player
    page: bytes
    server_version = "ganzoo"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer a request that names this machine; another name is a foreign page's (DNS rebinding)."""
        port = self.server.server_port
        if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
            self._answer(HTTPStatus.FORBIDDEN, b"this demo answers to 127.0.0.1 alone\n", "text/plain")
            return
        address = urlsplit(self.path)
        if address.path == "/":
            self._answer(HTTPStatus.OK, self.page, "text/html; charset=utf-8")
        elif address.path == "/image.png" and not self._own():
            self._answer(HTTPStatus.FORBIDDEN, b"pictures are drawn for this demo's own page\n", "text/plain")
        elif address.path == "/image.png":
            try:
                self._answer(HTTPStatus.OK, self.player.draw(**asked(address.query)), "image/png")
            except (UsageError, ValueError) as error:
                self._answer(HTTPStatus.BAD_REQUEST, one_line(error).encode(), "text/plain; charset=utf-8")
            except Exception as error:
                line = f"model '{self.player.gan.name}' failed: {one_line(error)}"
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, line.encode(), "text/plain; charset=utf-8")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is / and /image.png\n", "text/plain")

    def _own(self) -> bool:
        """Whether the demo's own page asks, or somebody by hand: a page of another site cannot see the picture, but
        would have it drawn."""
        origin = self.headers.get("Origin", f"http://{self.headers.get('Host')}")
        site = self.headers.get("Sec-Fetch-Site", "none")  # Programs that are no browsers do not say it.
        return site in ("none", "same-origin") and origin == f"http://{self.headers.get('Host')}"

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
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
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # The page asked for something newer meanwhile.
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line for each picture would bury the address."""


def asked(query: str) -> dict[str, Any]:
    """The arguments of `Player.draw` in a query.

    Raises:
        ValueError: an unknown name, or a value that is no number or out of range.
    """
    given = {
        name: values[-1] for name, values in parse_qs(query, max_num_fields=20, strict_parsing=bool(query)).items()
    }
    unknown = given.keys() - {"seed", "n", "columns", "label", "to", "t", "shifts", "values", "sampling"}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    n = bounded(given.get("n", "16"), 1, MOST)
    values, sampling = (by_name(given.get(name, "{}")) for name in ("values", "sampling"))
    if values is None or not all(isinstance(v, int | float) for v in values.values()):
        raise ValueError("values must be numbers by name")
    if sampling is None or not all(isinstance(v, int | float | str) for v in sampling.values()):
        raise ValueError("sampling must be options of drawing by name")
    return {
        "seed": bounded(given.get("seed", "0"), 0, 2**31 - 1),
        "n": n,
        "columns": min(bounded(given.get("columns", "4"), 1, MOST), n),
        "label": bounded(given.get("label", "0"), 0, 10**6),
        "to": bounded(given["to"], 0, 10**6) if "to" in given else None,
        "t": real(given.get("t", "0"), 0, 1),
        "shifts": [real(s, -100, 100) for s in given.get("shifts", "").split(",") if s][:DIRECTIONS],
        "values": values,
        "sampling": sampling,
    }


def by_name(text: str) -> dict[str, Any] | None:
    """A JSON object, if it is one and no longer than a page would send."""
    try:
        value = from_json(text.encode()) if len(text) <= LONGEST_VALUES else None
    except RecursionError:
        return None
    return value if isinstance(value, dict) else None


def bounded(text: str, low: int, high: int) -> int:
    """An integer in a range."""
    value = int(text[:12])
    if not low <= value <= high:
        raise ValueError(f"{value} is outside {low} to {high}")
    return value


def real(text: str, low: float, high: float) -> float:
    """A number in a range."""
    value = float(text[:32])
    if not low <= value <= high:
        raise ValueError(f"{value} is outside {low} to {high}")
    return value
