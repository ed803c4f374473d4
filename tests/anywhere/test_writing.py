"""Files are whole or not there, and written once, on every kind of place."""

from __future__ import annotations

import hashlib

import pytest
from fsspec.config import conf

from sonogloss import files, urls
from sonogloss.errors import OutputError, TransientError
from sonogloss.sources.places import open_file
from tests.anywhere.conftest import Store

MIB = 1 << 20


def write(path: str, content: bytes, *, fail: bool = False, new: bool = False) -> None:
    with files.atomic_write(path, new=new) as handle:
        for start in range(0, len(content), MIB):
            handle.write(content[start : start + MIB])
        if fail:
            raise ZeroDivisionError


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_a_writer_that_raises_leaves_nothing(store: Store, size: int) -> None:
    path = files.join(store.root, "folder", "part")
    with pytest.raises(ZeroDivisionError):
        write(path, bytes(size), fail=True)
    assert not files.exists(path)
    assert files.list_below(store.root) == []
    if store.proxy is not None:
        assert not [request for request in store.proxy.requests if not request.startswith(("GET", "HEAD"))]


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_a_writer_that_raises_leaves_the_old_file(store: Store, size: int) -> None:
    path = files.join(store.root, "part")
    files.write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError):
        write(path, bytes(size), fail=True)
    assert files.read_bytes(path) == b"old"
    write(path, b"new")
    assert files.read_bytes(path) == b"new"


@pytest.mark.parametrize("size", [0, 10, 12 * MIB, 17 * MIB])
def test_size_and_digest_are_known_without_reading_back(store: Store, size: int) -> None:
    content = hashlib.sha256(str(size).encode()).digest() * (size // 32) + bytes(size % 32)
    path = files.join(store.root, "part")
    with files.atomic_write(path) as handle:
        handle.write(content[: size // 2])
        handle.write(memoryview(content)[size // 2 :])
    if store.proxy is not None:
        assert len(store.proxy.requests) <= 2
        assert not any(request.startswith(("GET", "HEAD")) for request in store.proxy.requests)
    assert (handle.size, handle.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert files.file_entry(store.root, "part") == {"path": "part", "bytes": size, "sha256": handle.sha256}


@pytest.mark.parametrize("size", [10, 17 * MIB])
def test_a_late_attempt_cannot_change_what_is_there(store: Store, size: int) -> None:
    path = files.join(store.root, "part")
    write(path, b"1" * size, new=True)
    with pytest.raises(FileExistsError):
        write(path, b"2" * (size + 1), new=True)
    assert files.read_bytes(path) == b"1" * size
    assert files.list_below(store.root) == ["part"]


def test_of_two_that_create_one_succeeds(store: Store) -> None:
    path = files.join(store.root, "lease")
    assert files.create_new(path, b"1")
    assert not files.create_new(path, b"2")
    assert files.read_bytes(path) == b"1"


@pytest.mark.parametrize("name", ["gs", "s3"])
def test_a_bucket_that_is_not_there_is_not_made(name: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(name)
    with pytest.raises(OutputError, match=r"Cannot write '\w+://nowhere/part'"):
        files.write_bytes(f"{name}://nowhere/part", b"x")
    assert store.proxy is not None
    assert len(store.proxy.requests) == 1


@pytest.mark.parametrize("name", ["gs", "s3"])
def test_a_store_that_does_not_answer_is_not_waited_for_for_ever(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    assert urls._DEFAULTS["gs"]["requests_timeout"] == 120.0
    short = {"requests_timeout": 0.1} if name == "gs" else {"config_kwargs": {"read_timeout": 0.1}}
    monkeypatch.setitem(conf, name, {**conf[name], **short})
    store.proxy.fault = lambda method, path: "stall"
    with pytest.raises(TransientError, match=r"part' cannot be reached"):
        files.write_bytes(files.join(store.root, "part"), b"content")


@pytest.mark.parametrize("name", ["gs", "s3"])
@pytest.mark.parametrize("fault", ["503", "cut", "half"])
@pytest.mark.parametrize("size", [None, 3 * MIB])
def test_a_recording_is_read_again_when_a_read_breaks(
    name: str, fault: str, size: int | None, request: pytest.FixtureRequest
) -> None:
    """In one request where its size is known, else in blocks."""
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    path, content = files.join(store.root, "a.wav"), bytes(range(256)) * (3 * MIB // 256)
    files.write_bytes(path, content)
    faults = [fault]
    store.proxy.fault = lambda method, at: faults.pop() if faults and method == "GET" else None
    with open_file(path, size=size) as handle:
        assert handle.read() == content
        handle.check()
    assert not faults


@pytest.mark.parametrize("name", ["gs", "s3"])
@pytest.mark.parametrize("fault", ["503", "429", "cut"])
def test_an_upload_is_done_again_and_a_store_that_stays_away_is_named(
    name: str, fault: str, request: pytest.FixtureRequest
) -> None:
    store: Store = request.getfixturevalue(name)
    assert store.proxy is not None
    path = files.join(store.root, "part")
    faults = [fault]
    store.proxy.fault = lambda method, at: faults.pop() if faults else None
    files.write_bytes(path, b"content")
    assert files.read_bytes(path) == b"content"
    store.proxy.fault = lambda method, at: fault
    with pytest.raises(TransientError, match=r"part' cannot be reached .* run the same command again"):
        files.write_bytes(path, b"other")
    store.proxy.fault = lambda method, at: None
    assert files.read_bytes(path) == b"content"
