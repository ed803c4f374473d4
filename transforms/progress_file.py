"""One short line a batch in a local file: how a driver follows its workers on one machine, threads or processes."""

from __future__ import annotations

import os


def note(path: str | None, *, done: int, failed: int = 0, units: int = 0, size: int = 0) -> None:
    """Append what a batch achieved. Lines this short are appended whole, also by several processes at once.

    Args:
        path: a local file; None notes nothing.
        done: records that went through.
        failed: records that became dead letters.
        units: units of work that ended with this batch.
        size: bytes of these units.
    """
    if path is None:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    except FileNotFoundError:
        return  # the driver has gone; the work goes on without it
    try:
        os.write(handle, f"{done} {failed} {units} {size}\n".encode())
    finally:
        os.close(handle)
