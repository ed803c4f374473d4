"""One short line a batch in a local file: how a driver follows its workers on one machine, threads or processes."""

from __future__ import annotations

import os
from contextlib import suppress


def note(path: str | None, *, done: int, failed: int = 0, units: int = 0, size: int = 0) -> None:
    """Append what a batch achieved. Lines this short are appended whole, also by several processes at once.

    Args:
        path: a local file; None notes nothing.
        done: records that went through.
        failed: records that became dead letters.
        units: units of work that ended with this batch.
        size: bytes of these units.
    """
    _append(path, f"{done} {failed} {units} {size}\n")


def _append(path: str | None, line: str) -> None:
    if path is None:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return  # the driver has gone; the work goes on without it
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def note_total(path: str | None, captions: int) -> None:
    """Note how many records there are to do; further notes add to it, and what need not be done takes away.

    Args:
        path: a local file; None notes nothing.
        captions: records.
    """
    _append(path, f"of {captions}\n")


def note_failure(path: str | None, error: Exception) -> None:
    """Note what ends the job: a driver whose runner does not come back learns it here."""
    if path is not None:
        with suppress(OSError), open(f"{path}.failed", "w", encoding="utf-8") as handle:
            handle.write(str(error))


def read_failure(path: str) -> str | None:
    """What a worker has noted, None when nothing failed."""
    try:
        with open(f"{path}.failed", encoding="utf-8") as handle:
            return handle.read() or None
    except OSError:
        return None
