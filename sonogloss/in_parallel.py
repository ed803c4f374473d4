"""Several calls at the same time, for a store takes long to answer and does not mind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = 16


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What a function makes of each item, in their order; at most :data:`THREADS` results are held."""
    coming = iter(items)
    with ThreadPoolExecutor(THREADS) as threads:
        while some := list(islice(coming, THREADS)):
            yield from threads.map(function, some)
