"""How long is a recording by its header? Nothing is decoded; the header may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.containers import ffmpeg_name
from sonogloss.audio.decode import AudioLimits
from sonogloss.audio.decoder_pool import DecoderPool, shared_pool
from sonogloss.audio.decoder_process import DecoderLimits
from sonogloss.audio.ffmpeg import FfmpegError, open_ffmpeg
from sonogloss.audio.sndfile import open_sndfile
from sonogloss.errors import ClipError, Code

_HEAD_BYTES = 1 << 10


@dataclass(frozen=True, kw_only=True)
class Form:
    """What a header announces: the length in seconds and the number of channels."""

    duration_s: float
    channels: int


def probe(handle: IO[bytes], options: Any = None) -> Iterator[Form]:
    """The form of a recording; none where its header announces no length that is allowed.

    Args:
        handle: the file.
        options: not used; decoder processes hand some over.

    Raises:
        ClipError: UNSUPPORTED, nothing opens the file.
    """
    source = ByteSource(handle)
    file = open_sndfile(source.open())
    name = ffmpeg_name(source.read(0, _HEAD_BYTES))
    try:
        opened = file or (open_ffmpeg(source.open(), name) if name is not None else None)
    except FfmpegError:
        opened = None
    if opened is None:
        raise ClipError(Code.UNSUPPORTED, "Nothing opens the file.")
    with closing(opened):
        duration = opened.frames / opened.sample_rate
        if 0 < duration <= AudioLimits().max_seconds:
            yield Form(duration_s=duration, channels=opened.channels)


def header_readers() -> DecoderPool:
    """Processes that probe, and can be killed."""
    return shared_pool(probe, DecoderLimits(stall_s=10.0, total_s=20.0))
