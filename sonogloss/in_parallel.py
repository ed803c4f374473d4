"""Several calls at the same time to a store, which takes long to answer and does not mind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from sonogloss.urls import is_url

T = TypeVar("T")
R = TypeVar("R")

THREADS = 16


def in_parallel(function: Callable[[T], R], items: Iterable[T], *, place: str) -> Iterator[R]:
    """What a function makes of each item, in their order; at most :data:`THREADS` results are held beside one.

    Args:
        function: reads or writes at the place.
        items: what it is called with.
        place: a URL, or a local path, where one call comes after the other.
    """
    if not is_url(place):
        yield from map(function, items)
        return
    coming = iter(items)
    with ThreadPoolExecutor(THREADS) as threads:
        ahead = deque(threads.submit(function, item) for item in islice(coming, THREADS))
        while ahead:
            result = ahead.popleft().result()
            ahead.extend(threads.submit(function, item) for item in islice(coming, 1))
            yield result
