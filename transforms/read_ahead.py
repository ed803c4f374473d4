"""Reading ahead: a thread makes the next item while the present one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

from sonogloss.transforms.work import Batch, Unit

T = TypeVar("T")
_ENDS_WITHIN_S = 5.0


class ReadAhead(Generic[T]):
    """Iterates over what a generator yields, which runs in a thread and is one item ahead.

    Args:
        items: the generator. It is closed by its thread.
    """

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._ready: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(1)
        self._left = False
        # A thread that waits for a decoder must not keep a process from ending.
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item = self._ready.get()
        if isinstance(item, BaseException):
            self._ready.put(item)
            raise item
        self._room.release()
        return item

    def close(self) -> None:
        """End the thread. It is waited for, but not for ever."""
        self._left = True
        self._room.release()
        self._thread.join(_ENDS_WITHIN_S)

    def _run(self) -> None:
        try:
            while self._room.acquire() and not self._left:
                self._ready.put(next(self._items))
            self._items.close()
        except BaseException as error:  # noqa: BLE001  # StopIteration among them; it belongs to who takes the items
            self._ready.put(error)


class UnitsAhead:
    """Units that are handed in one by one -> their batches, the next unit being read while the last one is used.

    Args:
        read: from units to batches, in order; each unit ends in a batch that is marked as its last.
    """

    def __init__(self, read: Callable[[Iterator[Unit]], Generator[Batch, None, None]]) -> None:
        self._units: queue.SimpleQueue[Unit | None] = queue.SimpleQueue()
        self._batches = ReadAhead(read(iter(self._units.get, None)))
        self._open = 0  # units whose last batch has not been taken

    def add(self, unit: Unit) -> Iterator[Batch]:
        """Hand in a unit; the batches of those before it."""
        self._units.put(unit)
        self._open += 1
        while self._open > 1:
            yield self._next()

    def finish(self) -> Iterator[Batch]:
        """The other batches; no unit comes after this."""
        self._units.put(None)
        while self._open:
            yield self._next()

    def close(self) -> None:
        """Leave, whatever is not read yet."""
        self._units.put(None)
        self._batches.close()

    def _next(self) -> Batch:
        batch = next(self._batches)
        self._open -= batch.last
        return batch
