"""The rating page, served to this machine alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from coincide.errors import CoincideError, OutputError
from coincide.io import read_image
from coincide.viewer.rating.draw import drawn
from coincide.viewer.rating.session import SCALE, Session

_LONGEST = 10_000
"""Bytes of a request that is still taken."""


def serve(session: Session, port: int = 0) -> ThreadingHTTPServer:
    """A server of the rating page on 127.0.0.1, ready for `serve_forever`.

    Args:
        session: what is rated; scores go there.
        port: 0 for any that is free.

    Raises:
        OutputError: the port is taken.
    """
    picture = lru_cache(maxsize=32)(lambda place: drawn(read_image(session.images[place])))

    class Page(_Page):
        pass

    Page.session, Page.picture = session, staticmethod(picture)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Page)
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be used ({error.strerror}). Name another --port, or leave it out."
        ) from error


class _Page(BaseHTTPRequestHandler):
    """What the browser asks for. Nothing that it is told names an image."""

    session: Session
    picture: Callable[[int], bytes]

    def do_GET(self) -> None:
        """The page, its state, a picture."""
        url = urlsplit(self.path)
        rater = parse_qs(url.query).get("rater", [""])[0]
        parts = url.path.strip("/").split("/")
        if not self._is_local():
            return
        if parts == [""]:
            text = resources.files("coincide.viewer.rating").joinpath("page.html").read_text(encoding="utf-8")
            self._send(200, "text/html; charset=utf-8", text.encode())
        elif parts == ["state"]:
            self._json({"scale": SCALE, "scores": self.session.seen(rater)})
        elif len(parts) == 2 and parts[0] == "picture" and parts[1].isdigit():
            self._picture(rater, int(parts[1]))
        else:
            self._json({"error": "there is no such page"}, 404)

    def do_POST(self) -> None:
        """A score."""
        if not self._is_local():
            return
        said = self.headers.get("Content-Length") or ""
        length = int(said) if said.isdigit() else 0
        if self.path != "/score" or not 0 < length <= _LONGEST:
            return self._json({"error": "expected a score"}, 400)
        try:
            given = json.loads(self.rfile.read(length))
            self.session.rate(str(given["rater"]), int(given["step"]), int(given["score"]))
        except (ValueError, KeyError, TypeError) as error:
            return self._json({"error": str(error)}, 400)
        except CoincideError as error:
            return self._json({"error": str(error)}, 500)
        return self._json({"kept": True})

    def log_message(self, *words: object) -> None:
        """Say nothing for each request."""

    def _is_local(self) -> bool:
        """Whether the request is meant for this machine: a page elsewhere must not reach us by a name of its own."""
        host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
        origin = urlsplit(self.headers.get("Origin") or "").hostname
        local = host in ("127.0.0.1", "localhost") and origin in (None, "127.0.0.1", "localhost")
        if not local:
            self._json({"error": "served to this machine alone"}, 403)
        return local

    def _picture(self, rater: str, step: int) -> None:
        order = self.session.order(rater)
        if step >= len(order):
            return self._json({"error": "there is no such picture"}, 404)
        try:
            return self._send(200, "image/png", self.picture(order[step]))
        except CoincideError:
            # the message would name the file
            return self._json({"error": "this image cannot be shown"}, 500)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
