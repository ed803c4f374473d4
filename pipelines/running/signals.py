"""Ctrl-C and SIGTERM end a command within two seconds, a second one at once, and nothing stays behind.

The first signal raises :class:`Interrupted` in the main thread, and whatever holds something (a lease, processes, a
temporary folder) gives it back on the way out. The main thread may be inside a library that does not come back; a
thread then does the cleaning and ends the process.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from sonogloss.whole_files import begin_no_more

GRACE_S = 1.4
_CLEAN_WITHIN_S = 0.4
_cleanings: list[Callable[[], None]] = []
_patient = False


class Interrupted(KeyboardInterrupt):
    """The user, or the system, has had enough; `code` is the exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextmanager
def cleaning(function: Callable[[], None]) -> Iterator[None]:
    """Call a function at the end, also when a signal ends the process."""
    _cleanings.append(function)
    try:
        yield
    finally:
        _cleanings.remove(function)
        function()


@contextmanager
def patient() -> Iterator[None]:
    """The first signal raises and no more: a job elsewhere may take its time to be cancelled. A second one ends all."""
    global _patient
    before, _patient = _patient, True
    try:
        yield
    finally:
        _patient = before


def end_on_signals() -> None:
    """Take SIGINT and SIGTERM over; for a process whose main thread this is."""
    hear, say = socket.socketpair()
    say.setblocking(False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)
    # The number is written the moment a signal comes, also while the main thread is in a library.
    signal.set_wakeup_fd(say.detach(), warn_on_full_buffer=False)
    threading.Thread(target=_listen, args=(hear,), name="sonogloss-signals", daemon=True).start()


def _raise(number: int, frame: FrameType | None) -> None:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, _leave_to_listener)
    begin_no_more()
    raise Interrupted(number)


def _leave_to_listener(number: int, frame: FrameType | None) -> None:
    """A second signal: the listener has heard it as well."""


def _listen(hear: socket.socket) -> None:
    number = 0
    while number not in (signal.SIGINT, signal.SIGTERM):
        number = hear.recv(1)[0]
    hear.settimeout(None if _patient else GRACE_S)
    with suppress(TimeoutError):
        hear.recv(1)
    clean = threading.Thread(target=_clean, daemon=True)
    clean.start()
    clean.join(_CLEAN_WITHIN_S)
    os._exit(128 + number)


def _clean() -> None:
    for function in reversed(_cleanings):
        with suppress(Exception):
            function()
