import errno
import hashlib
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sonogloss import files, retries
from sonogloss.errors import ClipError, Code, OutputError, TransientError
from sonogloss.retries import WAITS_S, is_transient, retry


class HttpError(Exception):
    """As gcsfs raises it."""

    def __init__(self, code: object) -> None:
        super().__init__(f"status {code}")
        self.code = code


class ClientResponseError(Exception):
    """As aiohttp raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


class BotoError(Exception):
    """As botocore raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.response = {"Error": {"Code": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}


class EndpointConnectionError(Exception):
    pass


class ServerDisconnectedError(Exception):
    pass


class ReadTimeoutError(Exception):
    pass


def from_boto(error: OSError, status: int) -> OSError:
    error.__cause__ = BotoError(status)
    return error


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_throttled_or_broken_server_passes(status: int) -> None:
    found = [HttpError(status), HttpError(str(status)), ClientResponseError(status), BotoError(status)]
    assert all(is_transient(error) for error in [*found, from_boto(OSError(errno.EIO, "x"), status)])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 412, 416, 501])
def test_what_is_missing_or_refused_stays_so(status: int) -> None:
    found = [HttpError(status), HttpError(str(status)), ClientResponseError(status), BotoError(status)]
    assert not any(is_transient(error) for error in found)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), True),
        (ConnectionRefusedError(), True),
        (BrokenPipeError(), True),
        (OSError(errno.EBUSY, "Please reduce your request rate"), True),
        (OSError(errno.ENETUNREACH, "no network"), True),
        (ServerDisconnectedError(), True),
        (EndpointConnectionError(), True),
        (ReadTimeoutError(), True),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (PermissionError(errno.EACCES, "x"), False),
        (OSError("Forbidden: bucket/key"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (OSError(errno.EIO, "Input/output error"), False),
        (ValueError("x"), False),
        (HttpError(None), False),
        (ClipError(Code.READ_ERROR, "x"), False),
    ],
)
def test_time_outs_and_broken_connections_pass_and_other_errors_do_not(error: Exception, passes: bool) -> None:
    assert is_transient(error) is passes


def test_a_call_is_made_again_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retries, "pause", pauses.append)
    outcomes: list[Exception | str] = [HttpError(503), TimeoutError(), "done"]

    def call() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    assert retry(call, what="gs://b/a") == "done"
    assert len(pauses) == 2
    assert all(wait / 2 <= paused <= wait for paused, wait in zip(pauses, WAITS_S, strict=False))


def test_a_call_that_keeps_failing_ends_in_words_after_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(retries, "pause", pauses.append)

    def call() -> None:
        raise HttpError(503)

    with pytest.raises(
        TransientError, match=r"'gs://b/a' cannot be reached \(HttpError: status 503\)\. What is"
    ) as caught:
        retry(call, what="gs://b/a")
    assert isinstance(caught.value.__cause__, HttpError)
    assert len(pauses) == len(WAITS_S)
    assert sum(pauses) <= sum(WAITS_S)


@pytest.mark.parametrize("error", [FileNotFoundError(), OutputError("What.", "Do."), TransientError("What.", "Do.")])
def test_what_does_not_pass_is_raised_at_once(error: Exception) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        retry(call, what="x")
    assert caught.value is error
    assert len(calls) == 1


def test_opening_a_file_and_its_digest_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "memory://retries/file.bin"
    files.write_bytes(path, b"content")
    real, refusals = MemoryFileSystem.open, [errno.EBUSY, errno.EBUSY]

    def throttled(fs: MemoryFileSystem, *arguments: Any, **options: Any) -> Any:
        if refusals:
            raise OSError(refusals.pop(), "Service Unavailable")
        return real(fs, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "open", throttled)
    with files.open_read(path) as handle:
        assert handle.read() == b"content"
    assert not refusals
    refusals += [errno.EBUSY]
    assert files.digest(path) == hashlib.sha256(b"content").hexdigest()
    refusals += [errno.EBUSY] * (len(WAITS_S) + 1)
    with pytest.raises(TransientError, match="retries"), files.open_read(path):
        pass
