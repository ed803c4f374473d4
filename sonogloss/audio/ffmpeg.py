"""Decode what libsndfile does not read (AAC, WebM, WMA, AMR, ...) by FFmpeg, which comes in PyAV's wheel.

The container is named by us, never guessed by FFmpeg, and nothing outside the source may be opened: a playlist under a
sound's name reaches neither the disk nor the network. FFmpeg's messages go nowhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np

from sonogloss.records import FloatArray

av.logging.set_level(None)

_OPTIONS = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}
# Not that of AVI: of ADPCM it is wrong by the size of a block.
_LENGTH_IS_KNOWN = {"mov", "matroska", "asf", "flv", "ape", "wv", "tta"}
_TOLERANCE_S = 0.15  # of a length in a header, which is rounded to packets of sound or frames of a video
_MOST_PLANES = 8  # PyAV reads past the end of a longer list of planes, and crashes
_BAD_SHARE = 4
_BAD_PACKETS = 8  # more than the good ones: this is no sound


class FfmpegError(Exception):
    """FFmpeg finds no sound that it can decode."""


@dataclass
class FfmpegFile:
    """The best stream of sound of a file that FFmpeg opened.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: what the header announces; 0 where it is unknown.
        damaged: set while decoding: packets were broken or missing.
        bad: how many packets did not decode.
        good: how many frames came out.
    """

    sample_rate: int
    channels: int
    frames: int
    _container: Any
    _stream: Any
    damaged: bool = False
    bad: int = 0
    good: int = 0

    @property
    def is_noise(self) -> bool:
        """Do so many packets not decode that what came out is no sound, but other data under a codec's name?"""
        return _BAD_SHARE * self.bad > self.good

    def blocks(self) -> Iterator[FloatArray]:
        """Blocks `[frames, channels]` of float32 to the end, without the packets that do not decode."""
        for packet in self._packets():
            self.damaged = self.damaged or packet.is_corrupt
            try:
                frames = packet.decode()
            except (av.error.FFmpegError, ValueError):
                self.damaged, self.bad = True, self.bad + 1
                if self.bad > _BAD_PACKETS + self.good:
                    return
                continue
            for frame in frames:
                self.good += 1
                channels = frame.layout.nb_channels
                changes = frame.sample_rate != self.sample_rate or channels != self.channels
                if changes or (frame.format.is_planar and channels > _MOST_PLANES):
                    self.damaged = True
                    return
                block = _samples(frame)
                if len(block):
                    yield block

    def close(self) -> None:
        """Free the decoder."""
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, ValueError):
                self.damaged = True
                return
            if packet is None:
                return
            yield packet


def open_ffmpeg(file: io.IOBase, name: str) -> FfmpegFile:
    """Open the best stream of sound.

    Args:
        file: seekable, at its start.
        name: FFmpeg's name of the container.

    Raises:
        FfmpegError: there is none that FFmpeg decodes.
    """
    try:
        container = av.open(file, mode="r", format=name, options=_OPTIONS, metadata_errors="replace")
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        raise FfmpegError(str(error)) from error
    try:
        stream: Any = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            raise FfmpegError("there is no sound in it")
        context = stream.codec_context
        context.thread_count = 1
        rate, channels = int(context.sample_rate or 0), int(context.channels or 0)
        if rate <= 0 or channels <= 0:
            raise FfmpegError("its codec is unknown")
        return FfmpegFile(
            sample_rate=rate,
            channels=channels,
            frames=_announced(container, stream, rate),
            _container=container,
            _stream=stream,
        )
    except FfmpegError:
        container.close()
        raise
    except (av.error.FFmpegError, ValueError, OverflowError) as error:
        container.close()
        raise FfmpegError(str(error)) from error


def _announced(container: Any, stream: Any, rate: int) -> int:
    """The least number of samples by the header's duration; 0 where a duration would be an estimate."""
    if container.format.name not in _LENGTH_IS_KNOWN:
        return 0
    if stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        seconds = container.duration / 1_000_000 - float((stream.start_time or 0) * (stream.time_base or 0))
    else:
        return 0
    return max(0, int((seconds - _TOLERANCE_S) * rate))


def _samples(frame: Any) -> FloatArray:
    """Samples `[frames, channels]` of a decoded frame, full scale at 1."""
    array: Any = _wide(frame) if frame.format.name in ("s64", "s64p") else frame.to_ndarray()
    samples = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        scale = float(1 << (8 * samples.dtype.itemsize - 1))
        return (samples / scale).astype(np.float32)
    return samples.astype(np.float32)


def _wide(frame: Any) -> np.ndarray:
    """Samples of 64 bits, which PyAV does not know, as `to_ndarray` lays them out."""
    count = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    return np.stack([np.frombuffer(plane, np.int64, count) for plane in frame.planes])
