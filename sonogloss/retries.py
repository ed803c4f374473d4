"""Failures that pass: which they are, and calls that are tried again after a while.

A store that throttles, a server that is restarted and a connection that breaks say nothing about a recording. Such a
call is tried again; when it keeps failing, a :class:`~sonogloss.errors.TransientError` ends the bundle, so that the
engine does all of it again. What is missing, refused or damaged stays so, and is never tried twice.
"""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sonogloss.errors import SonoglossError, TransientError

T = TypeVar("T")
P = ParamSpec("P")

WAITS_S = (1.0, 2.0, 4.0)
"""Seconds between two tries. The libraries of gs:// and s3:// have tries of their own inside each."""

pause: Callable[[float], None] = time.sleep

_STATUS = {408, 425, 429, 500, 502, 503, 504}
_FAILED = {str(status) for status in range(400, 600)}
_NUMBERS = {
    getattr(errno, name)
    for name in (
        "EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
        "ENETRESET", "ENETUNREACH", "EPIPE", "EREMOTEIO", "ETIMEDOUT",
    )
    if hasattr(errno, name)
}  # fmt: skip
# By name, so that no store's library has to be installed: aiohttp, requests, urllib3, botocore.
_NAMES = {
    "ChecksumError", "ChunkedEncodingError", "ClientConnectionError", "ClientPayloadError", "ConnectionClosedError",
    "ConnectionError", "ConnectTimeoutError", "EndpointConnectionError", "HTTPClientError", "IncompleteRead",
    "ProtocolError", "ReadTimeoutError", "ResponseParserError", "ServerDisconnectedError", "Timeout", "TransportError",
}  # fmt: skip


def is_transient(error: BaseException) -> bool:
    """May the same call succeed later? Status 408, 425, 429 or 5xx, a time-out, or a connection that broke."""
    return any(_passes(each) for each in _causes(error))


def retry(call: Callable[[], T], *, what: str) -> T:
    """Call until it succeeds, with growing pauses.

    Args:
        call: may be made several times.
        what: is read or written, for the message.

    Raises:
        TransientError: it kept failing.
        Exception: whatever else the call raised, at once.
    """
    for wait in (*WAITS_S, None):
        try:
            return call()
        except Exception as error:
            if isinstance(error, SonoglossError) or not is_transient(error):
                raise
            if wait is None:
                raise gave_up(what, error) from error
        pause(wait * random.uniform(0.5, 1.0))  # noqa: S311  # many workers must not come back together
    raise AssertionError("unreachable")


def retried(function: Callable[Concatenate[str, P], T]) -> Callable[Concatenate[str, P], T]:
    """Make a function of a path one that calls until it succeeds, see :func:`retry`."""

    @wraps(function)
    def call(path: str, /, *arguments: P.args, **options: P.kwargs) -> T:
        return retry(lambda: function(path, *arguments, **options), what=path)

    return call


def gave_up(what: str, error: BaseException) -> TransientError:
    """The error of a call that kept failing for a reason that passes."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return TransientError(
        f"{what!r} cannot be reached ({reason}).", "What is committed stays valid; run the same command again later."
    )


def _passes(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status in _STATUS
    if isinstance(error, TimeoutError | ConnectionError | asyncio.TimeoutError):
        return True
    if isinstance(error, OSError) and error.errno in _NUMBERS:
        return True
    return any(kind.__name__ in _NAMES for kind in type(error).__mro__)


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error tells, as the libraries of gs://, s3:// and http:// keep it."""
    response: Any = getattr(error, "response", None)
    told = [getattr(error, "status", None), getattr(error, "code", None), getattr(response, "status_code", None)]
    if isinstance(response, dict):
        told.append(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    return next((int(text) for text in map(str, told) if text in _FAILED), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from; s3fs turns a status into a plain OSError."""
    found: BaseException | None = error
    seen: set[int] = set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__
