"""What the benchmarks of decoder processes run in them: today's reader as a decoding function."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from sonogloss.audio import AudioLimits, WindowPolicy, cut_clips
from sonogloss.records import Clip


def decode_clips(handle: IO[bytes], sample_rate: int) -> Iterator[Clip]:
    """The clips of a file, ten seconds each."""
    yield from cut_clips(
        handle.read(), uri="file", member=None, policy=WindowPolicy(), sample_rate=sample_rate, limits=AudioLimits()
    )
