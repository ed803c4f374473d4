"""Pools of decoder processes that tests make, and what their files give."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sonogloss.audio.decoder_pool import DecodeRequest, DecoderPool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.decoding_journal import DecodingJournal
from sonogloss.errors import ClipError, OptionError

SHORT = DecoderLimits(stall_s=0.5, total_s=1.5, memory_bytes=64 << 20)


opened: list[DecoderPool] = []


def make(function: Callable[..., Any], limits: DecoderLimits | None = None) -> DecoderPool:
    pool = DecoderPool(function, limits)
    opened.append(pool)
    return pool


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found.update(map(int, (task / "children").read_text().split()))
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def outcome(pool: DecoderPool, source: Any = b"", options: Any = None) -> tuple[list[Any], Exception | None]:
    """The items, and the error that ended them."""
    items: list[Any] = []
    try:
        for item in pool.decode(source, options):
            items += [item]
    except (ClipError, OptionError) as error:
        return items, error
    return items, None


def pids(pool: DecoderPool) -> set[int]:
    return {process.pid for process in pool._idle}


def outcomes(pool: DecoderPool, requests: Iterable[DecodeRequest], journal: DecodingJournal | None = None) -> list[Any]:
    """The number of items of each file, or the code of its error."""
    found: list[Any] = []
    for items in pool.decode_each(requests, journal):
        try:
            found.append(len(list(items)))
        except ClipError as error:
            found.append(error.code)
    return found
