"""A stand-in of the Hugging Face hub: as much of its HTTP interface as pushing and fetching a model asks for."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlparse


class Hub:
    """Repositories by `owner/name`; set `refuses` to a status to have every request refused."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.refuses: int | None = None
        self.told_sizes: dict[str, int] = {}
        """Sizes that are told instead of the right ones."""
        self.endless: set[str] = set()
        """Files of which more is sent than was told, and more."""
        self.went_on = 0
        """Bytes of such files that were sent."""
        self.also_named: list[str] = []
        """Names that every repository is said to hold too."""
        self.sent: dict[str, bytes] = {}
        """What is sent instead of a file."""
        self.requests: list[str] = []
        self.address = ""

    def commit(self, repo: str) -> str:
        """The name of what a repository holds now."""
        digest = hashlib.sha1()
        for name, data in sorted(self.files[repo].items()):
            digest.update(name.encode() + b"\0" + hashlib.sha1(data).digest())
        return digest.hexdigest()


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """Answer for `hub` on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Requests are kept, not printed."""

        def answer(self, status: int, value: object = None, data: bytes | None = None, **headers: str) -> None:
            body = json.dumps(value).encode() if data is None else data
            self.send_response(status)
            kind = "application/json" if data is None else "application/octet-stream"
            for name, text in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), text)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def missing(self, what: str) -> None:
            self.answer(404, {"error": f"{what} not found"}, X_Error_Code=f"{what}NotFound")

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            if hub.refuses:
                self.answer(hub.refuses, {"error": "refused"})
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
                self.about(found[1], found[2])
            elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([0-9a-f]{40})/(.+)", path):
                self.file(*found.groups())
            else:
                self.missing("Entry")

        do_HEAD = do_GET  # noqa: N815

        def about(self, repo: str, revision: str | None) -> None:
            if repo not in hub.files:
                return self.missing("Repo")
            if revision not in (None, "main", hub.commit(repo)):
                return self.missing("Revision")
            sizes = {name: len(data) for name, data in hub.files[repo].items()} | hub.told_sizes
            sizes |= dict.fromkeys(hub.also_named, 1)
            siblings = [{"rfilename": name, "size": size, "blobId": "0" * 40} for name, size in sizes.items()]
            self.answer(200, {"_id": "1", "id": repo, "sha": hub.commit(repo), "siblings": siblings, "tags": []})
            return None

        def file(self, repo: str, commit: str, name: str) -> None:
            if repo not in hub.files or name not in hub.files[repo] or commit != hub.commit(repo):
                return self.missing("Entry")
            if name in hub.endless and self.command == "GET":
                return self.go_on()
            data = hub.sent.get(name, hub.files[repo][name])
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            self.answer(200, data=data, ETag=etag, X_Repo_Commit=commit)
            return None

        def go_on(self) -> None:
            """Far more than was told, without a word of how much."""
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(OSError):
                for _ in range(2**8):
                    self.wfile.write(bytes(2**20))
                    hub.went_on += 2**20

        def do_POST(self) -> None:
            path, body = unquote(urlparse(self.path).path), self.body()
            hub.requests.append(f"POST {path}")
            if hub.refuses:
                self.answer(hub.refuses, {"error": "refused"})
            elif path == "/api/validate-yaml":
                self.answer(200, {"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                asked = json.loads(body)
                repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                known = repo in hub.files
                hub.files.setdefault(repo, {})
                # Versions of the client say it in one way or the other.
                private = asked.get("private") or asked.get("visibility") == "private"
                hub.private.setdefault(repo, bool(private))
                self.answer(409 if known else 200, {"url": f"{hub.address}/{repo}", "error": "You already created it"})
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
                named = [file["path"] for file in json.loads(body)["files"]]
                told = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in named]
                self.answer(200, {"files": told})
            elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
                self.take(found[1], [json.loads(line) for line in body.splitlines()])
            else:
                self.missing("Entry")

        def take(self, repo: str, lines: list[dict]) -> None:
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    hub.files[repo][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "deletedFile":
                    del hub.files[repo][value["path"]]
            commit = hub.commit(repo)
            url = f"{hub.address}/{repo}/commit/{commit}"
            self.answer(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
