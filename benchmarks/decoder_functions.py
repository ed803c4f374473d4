"""Decoding functions for the benchmark of decoder processes, which import them by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from sonogloss.audio import Cutting, WindowPolicy, cut_clips, decoder_child
from sonogloss.records import Clip


def decode_clips(handle: IO[bytes], sample_rate: int) -> Iterator[Clip]:
    """The clips of a file, ten seconds each."""
    return cut_clips(handle, Cutting(uri="file", policy=WindowPolicy(), sample_rate=sample_rate))


def decode_clips_for_pipes(handle: IO[bytes], sample_rate: int) -> Iterator[Clip]:
    """The same, in a decoder process whose arrays travel through the pipe."""
    decoder_child.ARRAY_BYTES = 0
    return decode_clips(handle, sample_rate)
