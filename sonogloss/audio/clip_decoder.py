"""The clips of a recording, decoded in a process of its own: what decoder processes run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sonogloss.audio.decode import AudioLimits
from sonogloss.audio.decoder_pool import DecoderPool, shared_pool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.windows import WindowPolicy, cut_clips
from sonogloss.records import Clip


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """What :func:`decode_clips` is told of a file; see :func:`~sonogloss.audio.windows.cut_clips`."""

    uri: str
    member: str | None
    policy: WindowPolicy
    sample_rate: int
    limits: AudioLimits
    start_s: float | None = None
    end_s: float | None = None
    part: tuple[int, int | None] | None = None
    version: str | None = None


def decode_clips(handle: IO[bytes], cutting: Cutting) -> Iterator[Clip]:
    """Decode a file and cut it into clips.

    Args:
        handle: the file.
        cutting: how.

    Raises:
        ClipError: the file gives none, or no more.
    """
    return cut_clips(handle, **vars(cutting))


def clip_decoders(limits: DecoderLimits | None = None) -> DecoderPool:
    """The decoder processes of this process."""
    return shared_pool(decode_clips, limits or DecoderLimits())
