"""The rating page, served to this machine alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from urllib.parse import parse_qs, urlsplit

from coincide.errors import CoincideError, InputError, OptionError, OutputError
from coincide.io import read_image
from coincide.viewer.rating.draw import Shown
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
    shown = lru_cache(maxsize=4)(lambda place: Shown(read_image(session.images[place])))

    class Page(_Page):
        pass

    Page.session, Page.shown = session, staticmethod(shown)
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Page)
    except OSError as error:
        raise OutputError(
            f"port {port} cannot be used ({error.strerror}). Name another --port, or leave it out."
        ) from error


class _Page(BaseHTTPRequestHandler):
    """What the browser asks for. Nothing that it is told names an image."""

    session: Session
    shown: Callable[[int], Shown]

    def do_GET(self) -> None:
        """The page, its state, what planes an image has, one of them."""
        url = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        rater = asked.get("rater", "")
        parts = url.path.strip("/").split("/")
        if not self._is_local():
            return
        if parts == [""]:
            text = resources.files("coincide.viewer.rating").joinpath("page.html").read_text(encoding="utf-8")
            self._send(200, "text/html; charset=utf-8", text.encode())
        elif parts == ["state"]:
            self._state(rater)
        elif len(parts) == 2 and parts[0] == "planes":
            self._shown(rater, parts[1], lambda shown: self._json(shown.described))
        elif len(parts) == 3 and parts[0] == "picture":
            self._shown(rater, parts[1], lambda shown: self._picture(shown, parts[2], asked))
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
            self.session.rate(str(given["rater"]), str(given["image"]), int(given["score"]))
        except CoincideError as error:
            return self._json({"error": str(error)}, 400 if isinstance(error, InputError) else 500)
        except (ValueError, KeyError, TypeError):
            return self._json({"error": "expected a rater, an image and a score"}, 400)
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

    def _state(self, rater: str) -> None:
        try:
            scores = self.session.seen(rater)
        except CoincideError as error:
            return self._json({"error": str(error)}, 500)
        return self._json({"scale": SCALE, "scores": scores, "images": self.session.tokens(rater)})

    def _shown(self, rater: str, token: str, answer: Callable[[Shown], None]) -> None:
        try:
            place = self.session.place(rater, token)
        except OptionError as error:
            return self._json({"error": str(error)}, 404)
        try:
            shown = self.shown(place)
        except CoincideError:
            # the message would name the file
            return self._json({"error": "this image cannot be shown"}, 500)
        return answer(shown)

    def _picture(self, shown: Shown, number: str, asked: dict[str, str]) -> None:
        try:
            values = [
                float(asked.get(name, usual)) for name, usual in (("at", 0.5), ("low", 0.0), ("high", 1.0))
            ]
            if not all(-100 <= value <= 100 for value in values) or int(number) < 0:
                raise ValueError("out of range")
            body = shown.png(int(number), *values)
        except (ValueError, IndexError):
            return self._json({"error": "there is no such picture"}, 404)
        return self._send(200, "image/png", body)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, "application/json", json.dumps(value).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)
