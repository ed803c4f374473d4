"""Work that is shared out among threads: calls to a store that take long to answer, or products that leave Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from sonogloss.urls import is_url

T = TypeVar("T")
R = TypeVar("R")

CALLS = 16
"""Calls at the same time to a store."""


def in_order(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """What a function makes of each item, in their order; at most `threads` results are held beside one."""
    if threads <= 1:
        yield from map(function, items)
        return
    coming = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(function, item) for item in islice(coming, threads))
        while ahead:
            result = ahead.popleft().result()
            ahead.extend(pool.submit(function, item) for item in islice(coming, 1))
            yield result


def in_parallel(function: Callable[[T], R], items: Iterable[T], *, place: str) -> Iterator[R]:
    """The same, :data:`CALLS` at a time where the function reads or writes at a URL; on this machine one by one."""
    yield from in_order(function, items, CALLS if is_url(place) else 1)
