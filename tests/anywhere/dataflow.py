"""A Dataflow of our own: it takes jobs, says how they are, is asked to cancel, and runs nothing."""

from __future__ import annotations

import base64
import bz2
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from apache_beam.portability.api import beam_runner_api_pb2 as beam_api

ID = "2026-01-01_00_00_00-1"
_RUNNING = "JOB_STATE_RUNNING"


@dataclass
class FakeDataflow:
    """The REST service; jobs are staged in a local folder.

    Attributes:
        staging: that folder.
        states: the job's state each time that it is asked for; the last one stays.
        counters: what the job has counted.
        asked: is called with every question for the state.
        jobs: those that were submitted, as JSON.
        cancelled: was the job asked to cancel?
    """

    staging: Path
    states: list[str] = field(default_factory=lambda: [_RUNNING])
    counters: dict[str, int] = field(default_factory=dict)
    asked: Callable[[], None] = lambda: None
    jobs: list[dict[str, Any]] = field(default_factory=list)
    cancelled: bool = False

    @property
    def flags(self) -> list[str]:
        """What sends a job here."""
        return [
            *("--runner", "DataflowRunner", "--project", "a-project", "--region", "europe-west4", "--no_auth"),
            *("--dataflow_endpoint", self.url, "--sdk_location", "container", "--sdk_container_image", "an-image:1"),
            *("--temp_location", str(self.staging), "--staging_location", str(self.staging)),
        ]

    def pipeline(self) -> beam_api.Pipeline:
        """The graph that was staged last."""
        return beam_api.Pipeline.FromString((self.staging / "pipeline.pb").read_bytes())

    def answer(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What the service says; None where there is nothing."""
        job = {"id": ID, "name": "a-job", "projectId": "a-project", "location": "europe-west4"}
        if method == "POST" and re.search(r"/jobs$", path):
            self.jobs.append(body)
            return {**job, "clientRequestId": body.get("clientRequestId", ""), "currentState": "JOB_STATE_PENDING"}
        if not re.search(rf"/jobs/{ID}", path):
            return None
        if path.endswith("/metrics"):
            return {"metrics": [each for item in self.counters.items() for each in self._counter(*item)]}
        if path.endswith("/messages"):
            return {}
        if method == "PUT":
            self.cancelled = body.get("requestedState") in ("JOB_STATE_CANCELLED", 5)
            return {**job, "currentState": "JOB_STATE_CANCELLING"}
        self.asked()
        return {**job, "currentState": self.states.pop(0) if len(self.states) > 1 else self.states[0]}

    def _counter(self, name: str, count: int) -> Iterator[dict[str, Any]]:
        """As committed, and as attempted."""
        for more in ({}, {"tentative": "true"}):
            context = {"namespace": "sonogloss", "step": "s1", **more}
            yield {"name": {"origin": "user", "name": name, "context": context}, "scalar": count}

    def __enter__(self) -> FakeDataflow:
        service = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def log_message(self, *arguments: object) -> None:
                pass

            def reply(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                path = self.path.partition("?")[0]
                found = service.answer(self.command, path, json.loads(content) if content else {})
                self.send_response(404 if found is None else 200)
                said = json.dumps(found or {}).encode()
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

        for method in ("GET", "POST", "PUT"):
            setattr(Handler, f"do_{method}", Handler.reply)
        self._server = ThreadingHTTPServer(("localhost", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def steps(graph: beam_api.Pipeline) -> Iterator[str]:
    """The labels of the outermost steps, in the order of their data."""
    transforms = graph.components.transforms
    (root,) = graph.root_transform_ids
    ahead = list(transforms[root].subtransforms)
    made: set[str] = set()
    while ahead:
        ready = [name for name in ahead if set(transforms[name].inputs.values()) <= made]
        for name in ready or ahead[:1]:
            yield transforms[name].unique_name
            made.update(transforms[name].outputs.values())
            ahead.remove(name)


def unpacked(payload: bytes) -> bytes:
    """The pickle that Beam has packed."""
    return bz2.decompress(base64.b64decode(payload)) if payload else b""


def payloads(graph: beam_api.Pipeline) -> dict[str, bytes]:
    """The DoFn of each step that has one, as it travels."""
    return {
        each.unique_name: beam_api.ParDoPayload.FromString(each.spec.payload).do_fn.payload
        for each in graph.components.transforms.values()
        if each.spec.urn == "beam:transform:pardo:v1"
    }
