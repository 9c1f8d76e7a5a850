"""A small HTTP server on this machine that answers as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """Answers the n-th request with ``answers[n]`` (the last from then on) and keeps the paths that were asked for."""

    answers: list[tuple[int, bytes, int]] = field(default_factory=list)
    """Status, body, and the length that is announced."""
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def will_send(self, body: bytes, status: int = 200, announced: int | None = None) -> None:
        """Queue an answer; with ``announced`` above the body's length the connection closes too early."""
        self.answers.append((status, body, len(body) if announced is None else announced))


@contextmanager
def running() -> Iterator[Server]:
    """A server on a free port, stopped at the end."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, announced = state.answers[min(len(state.asked), len(state.answers) - 1)]
            state.asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with serving(Handler) as state.url:
        yield state


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed is no news."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on a free port, stopped at the end."""
    server = _Quiet(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
