"""The server of the live page: for the user alone, on this machine alone, and for reading alone.

It listens on loopback or on a Unix socket that only its user can open, and answers only addresses that begin with a
random secret, because other users of the machine reach loopback too. A browser sends the name that it was asked for:
other names than those of this machine are refused, so that no page of another site reaches it by a name of its own.
Files are looked up in a list of names; no part of an address becomes a path.
"""

import hmac
import json
import os
import secrets
import shutil
import socket
import socketserver
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from dptt.io.errors import ProblemsError
from dptt.report.page import document
from dptt.showing.content import result_files
from dptt.showing.live import LiveRun

LOOPBACK = "127.0.0.1"
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
POLL = 2000
"""Time between two questions of the page [ms]."""
HTML, JSON = "text/html; charset=utf-8", "application/json"


def live_page(title: str) -> str:
    """Return the live page; its numbers come from ``state.json`` and ``volume.json`` beside it."""
    return document(title, ['<div id="live"></div>'], {"every": POLL})


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    run: LiveRun
    secret: str
    server_version, sys_version = "dptt", ""

    def do_GET(self) -> None:
        """Answer with a page, the state, the volume or a file."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the content."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a page asks every two seconds."""

    def _answer(self, with_body: bool) -> None:
        name = self.headers.get("Host", "").rsplit(":", 1)[0] if self.headers.get("Host") else "localhost"
        if name not in OWN_NAMES:
            return self._send_text(HTTPStatus.FORBIDDEN, "This server answers only to localhost.")
        secret, _, path = urlsplit(self.path).path.lstrip("/").partition("/")
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return self._send_text(HTTPStatus.NOT_FOUND, "Open the whole address that dptt watch has printed.")
        makers: dict[str, tuple[str, Callable[[], str]]] = {
            "": (HTML, lambda: live_page(f"dptt: {self.run.folder}")),
            "state.json": (JSON, lambda: json.dumps(self.run.state(), allow_nan=False)),
            "volume.json": (JSON, lambda: json.dumps(self.run.volume(), allow_nan=False)),
        }
        try:
            if path in makers:
                kind, make = makers[path]
                return self._send(kind, make().encode("utf-8"), with_body)
            return self._send_file(unquote(path), with_body)
        except (ProblemsError, OSError) as error:
            if isinstance(error, ConnectionError):
                return None
            return self._send_text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def _send_file(self, path: str, with_body: bool) -> None:
        folder = self.run.folder
        known = {f"files/{name}": folder / name for name in result_files(folder)}
        known["report.html"] = folder / "report.html"
        # links from within the page of the report
        known |= {name.removeprefix("files/"): file for name, file in known.items()}
        file = known.get(path)
        if file is None or file.is_symlink() or not file.is_file():
            return self._send_text(HTTPStatus.NOT_FOUND, "There is no such file in the run folder.")
        with file.open("rb") as stream:
            kind = HTML if file.suffix == ".html" else "application/octet-stream"
            self._head(kind, os.fstat(stream.fileno()).st_size)
            if with_body:
                shutil.copyfileobj(stream, self.wfile)

    def _send_text(self, status: HTTPStatus, text: str) -> None:
        self._send("text/plain; charset=utf-8", text.encode("utf-8"), True, status)

    def _send(self, kind: str, body: bytes, with_body: bool, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._head(kind, len(body), status)
        if with_body:
            self.wfile.write(body)

    def _head(self, kind: str, length: int, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(length)),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ):
            self.send_header(name, value)
        self.end_headers()


class _SocketServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The same on a Unix socket."""

    daemon_threads = True

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return a connection with an address, which the handler expects."""
        connection, _ = super().get_request()
        return connection, ("local", 0)


def open_server(
    folder: Path, *, port: int = 0, socket_path: Path | None = None
) -> tuple[socketserver.BaseServer, str]:
    """Return a server of a run folder, which listens already, and the address to open.

    Parameters
    ----------
    port
        0 takes a free one.
    socket_path
        Unix socket instead of a port; created for this user alone.

    Raises
    ------
    ProblemsError
        The port is taken, or the socket exists or cannot be created.
    """
    secret = secrets.token_urlsafe(18)
    handler = type("_RunHandler", (_Handler,), {"run": LiveRun(folder), "secret": secret})
    try:
        if socket_path is None:
            server = ThreadingHTTPServer((LOOPBACK, port), handler)
            return server, f"http://{LOOPBACK}:{server.server_address[1]}/{secret}/"
        before = os.umask(0o177)
        try:
            return _SocketServer(str(socket_path), handler), f"http://localhost:PORT/{secret}/"
        finally:
            os.umask(before)
    except OSError as error:
        place = folder if socket_path is None else socket_path
        problem = (
            f"port {port} cannot be opened ({error.strerror}). Choose another with --port, or leave it out."
            if socket_path is None
            else f"the socket cannot be created ({error.strerror}). Remove it, or choose another name."
        )
        raise ProblemsError(place, [problem]) from None
