"""Decode audio files once: how long they are, what is in them, and whether they are whole.

Headers are not trusted: frames are counted by decoding them. Long recordings are decoded twice (decoding is a small
share of a clip's cost), short ones once, as their samples are kept.
"""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from sonogloss.audio.byte_source import BinaryHandle, ByteSource
from sonogloss.audio.channels import ChannelPowers, Mixing, limit, peak_of, to_mono
from sonogloss.audio.containers import CONVERT, foreign_content, unknown_codec
from sonogloss.audio.ffmpeg import FfmpegError, FfmpegFile, open_ffmpeg
from sonogloss.audio.layout import Stream
from sonogloss.audio.recording import Part, Recording, frames_at
from sonogloss.audio.sndfile import SndfileFile, open_sndfile
from sonogloss.audio.streams import Found, find_streams
from sonogloss.errors import ClipError, Code
from sonogloss.records import FloatArray

_KEPT_FRAMES = 1 << 22  # recordings up to this length (87 s at 48 kHz, 16 MiB) are decoded once
_SHORTEST_S = 0.010  # one analysis frame
_OVERDRIVEN = 2.0  # 6 dB over full scale: more than any lossy codec overshoots
_BETTER_S = 0.5  # FFmpeg is preferred to libsndfile where it finds so much more in a damaged file


@dataclass(frozen=True, kw_only=True)
class AudioLimits:
    """Limits of a source, checked before memory is allocated.

    Attributes:
        max_bytes: size of the encoded source.
        max_seconds: duration.
        max_channels: number of channels.
        min_sample_rate: in Hz.
        max_sample_rate: in Hz.
    """

    max_bytes: int = 2 << 30
    max_seconds: float = 24 * 3600.0
    max_channels: int = 64
    min_sample_rate: int = 1000
    max_sample_rate: int = 768_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value!r}")
        if self.min_sample_rate > self.max_sample_rate:
            raise ValueError("min_sample_rate must not exceed max_sample_rate")


def read_recording(
    data: bytes | BinaryHandle | ByteSource, limits: AudioLimits | None = None, *, mixing: Mixing = "mean"
) -> Recording:
    """Decode a source once: count its frames, check every sample, keep the samples of a short one.

    Args:
        data: an audio file as bytes or as a seekable handle, whatever its name.
        limits: of what is accepted.
        mixing: from several channels to one: their mean, the first, or the one with the greatest power. Channels whose
            mean cancels them give the loudest one.

    Raises:
        ClipError: LIMIT, EMPTY, UNSUPPORTED, CORRUPT, TRUNCATED, TOO_SHORT, TOO_LONG, TOO_MANY_CHANNELS, BAD_RATE or
            NON_FINITE, with a description.
    """
    limits = limits or AudioLimits()
    source = data if isinstance(data, ByteSource) else ByteSource(data)
    if source.size == 0:
        raise ClipError(Code.EMPTY, "The file has no bytes.")
    if source.size > limits.max_bytes:
        raise ClipError(Code.LIMIT, f"The file has {source.size} bytes; the limit is {limits.max_bytes}.")
    found = _find(source)
    if found.announced is not None:
        _check_form(found.announced.channels, found.announced.sample_rate, limits)
    parts, damaged = _decode_streams(source, found, limits, mixing)
    sample_rate = parts[0].sample_rate
    frames = sum(frames_at(part, sample_rate, source) for part in parts)
    _check_length(frames, sample_rate, any(part.damaged for part in parts), found, source)
    kept = frames <= _KEPT_FRAMES
    return Recording(
        sample_rate=sample_rate,
        channels=max(part.channels for part in parts),
        frames=frames,
        truncated=damaged or found.layout.damaged or any(part.damaged for part in parts),
        overdriven=any(part.peak > _OVERDRIVEN for part in parts),
        joined=len(found.layout.streams) > 1,
        antiphase=any(part.antiphase for part in parts),
        mixed_down=any(part.channel is None and part.channels > 1 for part in parts),
        _source=source,
        _parts=tuple(parts if kept else (replace(part, kept=None) for part in parts)),
    )


def _find(source: ByteSource) -> Found:
    """The layout; junk in front is looked through only where libsndfile knows no header either."""
    found = find_streams(source, behind_junk=False)
    if found.container is None and found.ffmpeg is None:
        file = open_sndfile(source.open())
        if file is None or file.format == "MP3":
            found = find_streams(source, behind_junk=True)
        if file is not None:
            file.close()
    return found


def _decode_streams(source: ByteSource, found: Found, limits: AudioLimits, mixing: Mixing) -> tuple[list[Part], bool]:
    """The streams that can be decoded, at least one, and whether others cannot."""
    parts: list[Part] = []
    failure: ClipError | None = None
    for stream in found.layout.streams:
        try:
            part = _decode_stream(
                source, stream, found, _FirstPass(limits=limits, mixing=mixing, source=source, before=tuple(parts))
            )
        except ClipError as error:
            if error.code not in (Code.CORRUPT, Code.UNSUPPORTED):
                raise
            failure = failure or error
            continue
        parts.append(part)
    if not any(part.frames for part in parts) and failure is not None:
        raise failure
    return [part for part in parts if part.frames > 0] or parts[:1], failure is not None


def _decode_stream(source: ByteSource, stream: Stream, found: Found, first_pass: _FirstPass) -> Part:
    """One stream by libsndfile, or by FFmpeg where that finds more of a damaged one."""
    part: Part | None = None
    # Of a Creative Voice file libsndfile takes the heads of further blocks for sound.
    file = None if found.ffmpeg == "voc" else open_sndfile(source.open(*stream.pieces))
    if file is not None:
        with closing(file):
            part = first_pass.run(file, stream, None)
    if (part is None or part.damaged) and found.ffmpeg is not None:
        try:
            other = open_ffmpeg(source.open(*stream.pieces), found.ffmpeg)
        except FfmpegError:
            other = None
        if other is not None:
            with closing(other):
                rescued = first_pass.run(other, stream, found.ffmpeg)
            more_s = rescued.frames / rescued.sample_rate - (0 if part is None else part.frames / part.sample_rate)
            if (
                rescued.frames > 0
                and not (part is None and other.is_noise)
                and (part is None or part.frames == 0 or more_s > _BETTER_S)
            ):
                return rescued if part is None else replace(rescued, damaged=True)
    if part is None:
        raise _unopened(source, found)
    return part


@dataclass(frozen=True, kw_only=True)
class _FirstPass:
    """The first decoding of a stream, behind others.

    Attributes:
        limits: of what is accepted.
        mixing: how channels become one.
        source: what is decoded.
        before: the streams before it.
    """

    limits: AudioLimits
    mixing: Mixing
    source: ByteSource
    before: tuple[Part, ...]

    def run(self, file: SndfileFile | FfmpegFile, stream: Stream, ffmpeg: str | None) -> Part:
        """Decode to the end, or to where decoding breaks."""
        sample_rate, channels = file.sample_rate, file.channels
        _check_form(channels, sample_rate, self.limits)
        seconds = sum(part.frames / part.sample_rate for part in self.before)
        most = (self.limits.max_seconds - seconds) * sample_rate
        room = _KEPT_FRAMES - sum(part.frames for part in self.before)
        channel = 0 if channels == 1 or self.mixing == "first" else None
        powers, frames, peak = ChannelPowers(), 0, 0.0
        kept: list[FloatArray] | None = [] if channel == 0 or self.mixing == "mean" else None
        for block in file.blocks():
            self.source.at_work()
            loudest = peak_of(block)
            if not math.isfinite(loudest):
                frames += int(np.argmin(np.isfinite(block).all(axis=1)))
                raise ClipError(Code.NON_FINITE, f"Samples near {frames / sample_rate:.2f} s are not finite numbers.")
            frames += len(block)
            if frames > most:
                raise ClipError(
                    Code.TOO_LONG, f"The recording is longer than the limit of {self.limits.max_seconds:g} s."
                )
            peak = max(peak, loudest)
            if channel is None:
                powers.add(limit(block))
            kept = None if frames > room else kept
            if kept is not None:
                kept.append(to_mono(block, channel))
        antiphase = channel is None and self.mixing == "mean" and powers.antiphase
        if antiphase or (channel is None and self.mixing == "loudest"):
            channel, kept = powers.loudest, None
        least = max(0 if stream.estimated else file.frames, stream.frames or 0)
        return Part(
            stream=stream,
            ffmpeg=ffmpeg,
            sample_rate=sample_rate,
            channels=channels,
            channel=None if channels == 1 else channel,
            frames=frames,
            peak=peak,
            antiphase=antiphase,
            damaged=file.damaged or frames < least or (stream.exact and frames != stream.frames),
            kept=None if kept is None else tuple(kept),
        )


def _check_length(frames: int, sample_rate: int, damaged: bool, found: Found, source: ByteSource) -> None:
    start = found.layout.data_start
    if frames == 0 and found.layout.damaged and start is not None and start >= source.size:
        raise ClipError(Code.TRUNCATED, "The file ends before its first sample.", start)
    if frames == 0 and (damaged or found.layout.damaged):
        raise ClipError(Code.CORRUPT, f"The {found.container or 'audio'} file breaks before its first sample.", start)
    if frames == 0:
        raise ClipError(Code.EMPTY, "The file has a header and no samples.")
    if frames < _SHORTEST_S * sample_rate:
        raise ClipError(
            Code.TOO_SHORT,
            f"The recording has {frames} samples ({1000 * frames / sample_rate:.1f} ms); 10 ms are needed.",
        )


def _check_form(channels: int, sample_rate: int | None, limits: AudioLimits) -> None:
    if channels > limits.max_channels:
        raise ClipError(
            Code.TOO_MANY_CHANNELS, f"The file announces {channels} channels; the limit is {limits.max_channels}."
        )
    if sample_rate is not None and not limits.min_sample_rate <= sample_rate <= limits.max_sample_rate:
        raise ClipError(
            Code.BAD_RATE,
            f"The file announces a sample rate of {sample_rate} Hz; {limits.min_sample_rate} to "
            f"{limits.max_sample_rate} are read.",
        )


def _unopened(source: ByteSource, found: Found) -> ClipError:
    """Why nothing opens the bytes; the decoders' own messages are often 'unknown error'."""
    kind = foreign_content(found.head)
    if found.container is None and found.ffmpeg is None:
        return ClipError(Code.UNSUPPORTED, f"The file is not audio that can be read: it seems to be {kind}.")
    if found.container is None and found.layout.damaged:
        return ClipError(Code.CORRUPT, f"The file seems to be {kind}, but it is broken or cut off.", found.start)
    if found.container is None:
        return ClipError(Code.UNSUPPORTED, f"The file seems to be {kind} and holds no sound that can be decoded.")
    codec = unknown_codec(found.head, found.announced)
    if codec is not None:
        return ClipError(Code.UNSUPPORTED, f"The file is {codec}, which cannot be decoded; {CONVERT}.")
    return ClipError(
        Code.CORRUPT,
        f"The file begins like {found.container}, but its header is broken or cut off.",
        min(found.start, source.size),
    )
