"""Decode the bytes of an audio file to mono samples at the source's own rate, block by block.

Headers are not trusted: frames are counted by decoding them. Long recordings are decoded twice (decoding is a small
share of a clip's cost), short ones once, as their samples are kept.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import soundfile

from sonogloss.audio.containers import (
    CONVERT,
    announcement,
    foreign_content,
    ogg_is_cut,
    readable_container,
    unknown_codec,
)
from sonogloss.audio.mpeg import with_frame_count
from sonogloss.errors import ClipError, Code
from sonogloss.records import FloatArray

_BLOCK_FRAMES = 1 << 14  # a third of a second, which is lost where decoding breaks
_KEPT_FRAMES = 1 << 22  # recordings up to this length (87 s at 48 kHz, 16 MiB) are decoded once
_SHORTEST_S = 0.010  # one analysis frame
_OVERDRIVEN = 2.0  # 6 dB over full scale: more than any lossy codec overshoots


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


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A source that was decoded once without an error.

    Attributes:
        sample_rate: of the source, in Hz.
        channels: of the source.
        frames: number of decoded frames.
        truncated: the header announces more, or decoding broke; all earlier samples are good.
        overdriven: samples far beyond full scale were limited.
    """

    sample_rate: int
    channels: int
    frames: int
    truncated: bool
    overdriven: bool
    _data: bytes = field(repr=False)
    _kept: tuple[FloatArray, ...] | None = field(repr=False)

    @property
    def duration_s(self) -> float:
        """Duration of the decoded frames in seconds."""
        return self.frames / self.sample_rate

    def blocks(self) -> Iterator[FloatArray]:
        """Mono float32 samples in [-1, 1], block by block: the mean of all channels, each limited to full scale."""
        if self._kept is not None:
            yield from self._kept
            return
        with suppress(soundfile.LibsndfileError), _open(self._data) as file:
            for block in _decoded_blocks(file):
                yield _mono(block)


def read_recording(data: bytes, limits: AudioLimits | None = None) -> Recording:
    """Decode a source once: count its frames, check every sample, keep the samples of a short one.

    Args:
        data: the bytes of a WAV, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, CAF, Wave64 or AU file, whatever its name.
        limits: of what is accepted.

    Raises:
        ClipError: EMPTY, UNSUPPORTED, CORRUPT, TOO_SHORT, TOO_LARGE or NOT_FINITE, with a description.
    """
    limits = limits or AudioLimits()
    if not data:
        raise ClipError(Code.EMPTY, "The file has no bytes.")
    if len(data) > limits.max_bytes:
        raise ClipError(Code.TOO_LARGE, f"The file has {len(data)} bytes; the limit is {limits.max_bytes}.")
    announced = announcement(data)
    if announced is not None:
        _check_form(announced.channels, announced.sample_rate, limits)
    if readable_container(data) == "MP3":
        data = with_frame_count(data)
    try:
        file = _open(data)
    except soundfile.LibsndfileError as error:
        raise _unopened(data) from error
    with file:
        channels, sample_rate = int(file.channels), int(file.samplerate)
        _check_form(channels, sample_rate, limits)
        decoded = _decode_all(file, limits)
        header_frames = int(file.frames)
    if decoded.frames == 0 and (decoded.broke or header_frames > 0):
        raise ClipError(Code.CORRUPT, f"The {readable_container(data) or 'audio'} file breaks before its first sample.")
    if decoded.frames == 0:
        raise ClipError(Code.EMPTY, "The file has a header and no samples.")
    if decoded.frames < _SHORTEST_S * sample_rate:
        raise ClipError(
            Code.TOO_SHORT,
            f"The recording has {decoded.frames} samples ({1000 * decoded.frames / sample_rate:.1f} ms); 10 ms are "
            "needed.",
        )
    # libsndfile reduces the announced length of a cut WAV to what is there, so the chunk itself is checked.
    missing = announced is not None and announced.missing >= announced.frame_bytes
    return Recording(
        sample_rate=sample_rate,
        channels=channels,
        frames=decoded.frames,
        truncated=decoded.broke or missing or ogg_is_cut(data) or decoded.frames < header_frames,
        overdriven=decoded.peak > _OVERDRIVEN,
        _data=data,
        _kept=None if decoded.kept is None else tuple(decoded.kept),
    )


@dataclass
class _Decoded:
    """The first pass over a source: frames, largest amplitude, whether decoding broke, and blocks if it is short."""

    frames: int = 0
    peak: float = 0.0
    broke: bool = False
    kept: list[FloatArray] | None = field(default_factory=list)


def _decode_all(file: soundfile.SoundFile, limits: AudioLimits) -> _Decoded:
    """Decode to the end, or to where decoding breaks."""
    sample_rate, decoded = int(file.samplerate), _Decoded()
    try:
        for block in _decoded_blocks(file):
            if not np.isfinite(block).all():
                raise ClipError(
                    Code.NOT_FINITE, f"Samples near {decoded.frames / sample_rate:.2f} s are not finite numbers."
                )
            decoded.frames += len(block)
            if decoded.frames > limits.max_seconds * sample_rate:
                raise ClipError(Code.TOO_LARGE, f"The recording is longer than the limit of {limits.max_seconds:g} s.")
            decoded.peak = max(decoded.peak, float(np.abs(block).max()))
            if decoded.frames > _KEPT_FRAMES:
                decoded.kept = None
            if decoded.kept is not None:
                decoded.kept.append(_mono(block))
    except soundfile.LibsndfileError:
        decoded.broke = True
    return decoded


class _Stream(soundfile.SoundFile):
    """A file that is read from beginning to end.

    After every read soundfile seeks to its present position; for MP3 that empties the decoder's bit reservoir, and the
    first frame of the next block is wrong. It does not seek in a file that says that it cannot.
    """

    def seekable(self) -> bool:
        return False


def _open(data: bytes) -> soundfile.SoundFile:
    return _Stream(io.BytesIO(data))


def _decoded_blocks(file: soundfile.SoundFile) -> Iterator[FloatArray]:
    """Blocks `[frames, channels]` up to the end, read in a fixed size that does not depend on the header."""
    while True:
        block = np.empty((_BLOCK_FRAMES, file.channels), dtype=np.float32)
        count = file.buffer_read_into(block, dtype="float32")
        if count == 0:
            return
        yield block[:count]


def _mono(block: FloatArray) -> FloatArray:
    limited = np.clip(block, -1.0, 1.0)
    return limited[:, 0] if limited.shape[1] == 1 else limited.mean(axis=1, dtype=np.float32)


def _check_form(channels: int, sample_rate: int | None, limits: AudioLimits) -> None:
    if channels > limits.max_channels:
        raise ClipError(Code.TOO_LARGE, f"The file announces {channels} channels; the limit is {limits.max_channels}.")
    if sample_rate is None:
        return
    if sample_rate > limits.max_sample_rate:
        raise ClipError(
            Code.TOO_LARGE,
            f"The file announces a sample rate of {sample_rate} Hz; the limit is {limits.max_sample_rate}.",
        )
    if sample_rate < limits.min_sample_rate:
        raise ClipError(
            Code.UNSUPPORTED,
            f"The file announces a sample rate of {sample_rate} Hz; {limits.min_sample_rate} are needed.",
        )


def _unopened(data: bytes) -> ClipError:
    """Why libsndfile cannot open the bytes; its own message is often 'unknown error'."""
    container = readable_container(data)
    if container is None:
        return ClipError(
            Code.UNSUPPORTED, f"The file is not audio that can be read: it seems to be {foreign_content(data)}."
        )
    codec = unknown_codec(data)
    if codec is not None:
        return ClipError(Code.UNSUPPORTED, f"The file is {codec}, which cannot be decoded; {CONVERT}.")
    return ClipError(Code.CORRUPT, f"The file begins like {container}, but its header is broken or cut off.")
