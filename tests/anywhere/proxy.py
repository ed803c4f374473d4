"""A proxy in front of a fake store: it counts requests, and fails some of them."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import unquote, urlsplit

_NAME = re.compile(rb'"name": "([^"]*)"')
_HOP = {"connection", "transfer-encoding", "keep-alive", "content-length"}


@dataclass
class Proxy:
    """Passes requests on to `target` (a URL) and notes each as `METHOD path`, uploads to gs:// with a name.

    Attributes:
        target: the server behind it.
        fault: what becomes of a request: None to pass it on, `503`, `429`, `cut` to close the connection, `half` to
            do so in the middle of the answer, `slow` to answer after a while, `stall` only when the test is over.
        requests: those that arrived, in order, whatever process they came from.
    """

    target: str
    fault: Callable[[str, str], str | None] = lambda method, path: None
    requests: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Proxy:
        host, port = urlsplit(self.target).hostname, urlsplit(self.target).port
        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30

            def log_message(self, *arguments: object) -> None:
                pass

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = unquote(self.path)
                if path.startswith("/upload/") and (named := _NAME.search(body, 0, 1000)):
                    path += f"&name={named[1].decode()}"
                with lock:
                    proxy.requests.append(f"{self.command} {path}")
                    fault = proxy.fault(self.command, path)
                if fault == "cut":
                    self.close_connection = True
                    self.connection.close()
                    return
                if fault in ("stall", "slow"):
                    proxy._over.wait(30 if fault == "stall" else 0.2)
                if fault is not None and fault.isdigit():
                    self.answer(int(fault), {}, b"slow down")
                    return
                with closing(http.client.HTTPConnection(str(host), port, timeout=30)) as away:
                    away.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = away.getresponse()
                    headers = {name: value.replace(proxy.target, proxy.url) for name, value in answer.getheaders()}
                    content = answer.read()
                with suppress(ConnectionError):  # the client has gone
                    length = answer.getheader("Content-Length") or "0" if self.command == "HEAD" else ""
                    if fault == "half":
                        length, content = str(len(content) or 1), content[: len(content) // 2]
                        self.close_connection = True
                    self.answer(answer.status, headers, content, length)

            def answer(self, status: int, headers: dict[str, str], content: bytes, length: str = "") -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in _HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", length or str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

        for method in ("GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"):
            setattr(Handler, f"do_{method}", Handler.pass_on)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def of(self, name: str) -> list[str]:
        """The requests that are about an object, or any object below a folder."""
        return [request for request in self.requests if name in request]
