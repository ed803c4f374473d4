"""A source that was decoded once, and its samples again, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.channels import to_mono
from sonogloss.audio.ffmpeg import FfmpegFile, open_ffmpeg
from sonogloss.audio.layout import Stream
from sonogloss.audio.rates import resample_blocks
from sonogloss.audio.sndfile import SndfileFile, open_sndfile
from sonogloss.records import FloatArray


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stream that was decoded once.

    Attributes:
        stream: what to open.
        ffmpeg: FFmpeg's name of the container if it decodes the stream, None if libsndfile does.
        sample_rate: of the stream, in Hz.
        channels: of the stream.
        channel: the one that is heard; None for the mean of all.
        frames: number of decoded frames.
        peak: the largest amplitude.
        antiphase: the channels cancel each other.
        damaged: decoding broke, or there are fewer frames than there must be.
        kept: the mono blocks of a short stream.
    """

    stream: Stream
    ffmpeg: str | None
    sample_rate: int
    channels: int
    channel: int | None
    frames: int
    peak: float
    antiphase: bool
    damaged: bool
    kept: tuple[FloatArray, ...] | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A source that was decoded once.

    Attributes:
        sample_rate: of the source, in Hz; of its first stream where several are joined.
        channels: of the source.
        frames: number of decoded frames at that rate.
        truncated: the header announces more, decoding broke, or bytes were not understood.
        overdriven: samples far beyond full scale were limited.
        joined: the source holds several streams in a row.
        antiphase: the channels cancel each other, so that one of them is heard alone.
        mixed_down: the samples are the mean of several channels.
    """

    sample_rate: int
    channels: int
    frames: int
    truncated: bool
    overdriven: bool
    joined: bool
    antiphase: bool
    mixed_down: bool
    _source: ByteSource = field(repr=False)
    _parts: tuple[Part, ...] = field(repr=False)

    @property
    def duration_s(self) -> float:
        """Duration of the decoded frames in seconds."""
        return self.frames / self.sample_rate

    def blocks(self, channel: int | None = None, *, from_s: int = 0) -> Iterator[FloatArray]:
        """Mono float32 samples in [-1, 1], block by block, each channel limited to full scale.

        Args:
            channel: one channel instead of the mix; streams with fewer channels give their last one.
            from_s: whole seconds to leave out at the beginning, without decoding them where the format allows it.
        """
        left = from_s * self.sample_rate
        for part in self._parts:
            if part.sample_rate == self.sample_rate:
                passed = min(left, part.frames)
                left -= passed
                if passed < part.frames:
                    yield from self._part_blocks(part, channel, passed)
                continue
            for block in resample_blocks(self._part_blocks(part, channel, 0), part.sample_rate, self.sample_rate):
                passed = min(left, len(block))
                left -= passed
                yield block[passed:]

    def through(self, source: ByteSource) -> Recording:
        """The same recording, whose bytes are read from another handle; what was kept of it is let go."""
        return replace(self, _source=source, _parts=tuple(replace(part, kept=None) for part in self._parts))

    def _part_blocks(self, part: Part, channel: int | None, start: int) -> Iterator[FloatArray]:
        if channel is None and part.kept is not None:
            yield from _behind(part.kept, start)
            return
        wanted = part.channel if channel is None else min(channel, part.channels - 1)
        file = _open(self._source, part.stream, part.ffmpeg)
        if file is None:
            return
        with closing(file):
            if start and isinstance(file, SndfileFile) and file.skip(start):
                start = 0
            for block in _behind(self._at_work(file.blocks()), start):
                yield to_mono(block, wanted)

    def _at_work(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for block in blocks:
            self._source.at_work()
            yield block


def _behind(blocks: Iterable[FloatArray], start: int) -> Iterator[FloatArray]:
    """The blocks without their first frames."""
    for block in blocks:
        passed = min(start, len(block))
        start -= passed
        if passed < len(block):
            yield block[passed:]


def _open(source: ByteSource, stream: Stream, ffmpeg: str | None) -> SndfileFile | FfmpegFile | None:
    file = source.open(*stream.pieces)
    return open_sndfile(file) if ffmpeg is None else open_ffmpeg(file, ffmpeg)


def frames_at(part: Part, sample_rate: int, source: ByteSource) -> int:
    """Frames of a stream at another rate; how many a resampler gives is known by counting them."""
    if part.sample_rate == sample_rate:
        return part.frames
    alone = Recording(
        sample_rate=sample_rate,
        channels=part.channels,
        frames=0,
        truncated=False,
        overdriven=False,
        joined=False,
        antiphase=False,
        mixed_down=False,
        _source=source,
        _parts=(part,),
    )
    return sum(len(block) for block in alone.blocks())
