"""Decode by libsndfile, from beginning to end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile

from sonogloss.records import FloatArray

_BLOCK_FRAMES = 1 << 14  # a third of a second, which is lost where decoding breaks
_UNKNOWN_FRAMES = 1 << 48
_EXACT = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "FLAC")  # of PCM: no sample depends on those before it


class _Stream(soundfile.SoundFile):
    """A file that is read from beginning to end.

    After every read soundfile seeks to its present position; for MP3 that empties the decoder's bit reservoir, and the
    first frame of the next block is wrong. It does not seek in a file that says that it cannot.
    """

    def seekable(self) -> bool:
        return False


@dataclass
class SndfileFile:
    """A file that libsndfile opened.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: what the header announces; 0 where it is unknown.
        format: libsndfile's name of the container.
        damaged: set while decoding: it broke.
    """

    sample_rate: int
    channels: int
    frames: int
    format: str
    subtype: str
    _file: _Stream
    damaged: bool = False

    def blocks(self) -> Iterator[FloatArray]:
        """Blocks `[frames, channels]` of float32 up to the end, in a size that does not depend on the header."""
        while True:
            block = np.empty((_BLOCK_FRAMES, self.channels), dtype=np.float32)
            try:
                count = self._file.buffer_read_into(block, dtype="float32")
            except soundfile.LibsndfileError:
                self.damaged = True
                return
            if count == 0:
                return
            yield block[:count]

    @property
    def seeks_exactly(self) -> bool:
        """Are samples behind a seek the ones that reading up to them gives?"""
        return self.format in _EXACT and self.subtype.startswith(("PCM_", "FLOAT", "DOUBLE"))

    def skip(self, frames: int) -> bool:
        """Go on behind this many frames from the start; False where that is not exact, and nothing has moved."""
        if not self.seeks_exactly:
            return False
        try:
            return int(self._file.seek(frames)) == frames
        except soundfile.LibsndfileError:
            self._file.seek(0)
            return False

    def close(self) -> None:
        """Free the decoder."""
        self._file.close()


def open_sndfile(file: io.IOBase) -> SndfileFile | None:
    """Open a file, at its start; None if libsndfile cannot."""
    try:
        stream = _Stream(file)
    except soundfile.LibsndfileError:
        return None
    frames = int(stream.frames)
    # Of MP3 in WAV they are guessed from the bitrate of the first frame.
    guessed = stream.format != "MP3" and stream.subtype.startswith("MPEG_")
    return SndfileFile(
        sample_rate=int(stream.samplerate),
        channels=int(stream.channels),
        frames=frames if frames < _UNKNOWN_FRAMES and not guessed else 0,
        format=str(stream.format),
        subtype=str(stream.subtype),
        _file=stream,
    )
