"""WAV whose samples of 24 bits fill four bytes each, as recorders with ALSA's format S24_LE write them.

libsndfile takes the fourth byte of some for sound: they come out 48 dB too quiet, or as noise a third too long. As
samples of 32 bits it reads them as they are meant.
"""

from __future__ import annotations

import struct

import numpy as np

from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.layout import Announcement, Stream

_PCM, _EXTENSIBLE = 1, 0xFFFE
_BITS = 14  # where the format says how many
_LEAST_EXPONENT, _LARGEST_EXPONENT = 0x2F, 0x4B  # the high byte of floats from 1e-10 to 1e7
_MOST = 0.9
_LOOKED_AT = 1 << 20  # bytes


def without_padding(
    source: ByteSource, stream: Stream, announced: Announcement, form: int, data: tuple[int, int]
) -> Stream:
    """The stream with a header that says 32 bits, where its samples of 24 bits are padded to that.

    Where the padding is on top, all samples move by a byte, and the least of the 32 bits are padding.

    Args:
        source: the file.
        stream: its stream; one that is in several pieces stays as it is.
        announced: what its format says.
        form: where the body of the format is.
        data: where the samples begin, and where they end.
    """
    padded = announced.bits == 24 and announced.frame_bytes == 4 * announced.channels > 0
    if not padded or announced.codec not in (_PCM, _EXTENSIBLE) or len(stream.pieces) != 1 or form > data[0]:
        return stream
    (piece,) = stream.pieces
    assert not isinstance(piece, bytes)
    start, stop = piece
    head = source.read(data[0], min(_LOOKED_AT, data[1] - data[0]))
    samples = np.frombuffer(head, np.uint8, len(head) // 4 * 4).reshape(-1, 4)
    samples = samples[samples.any(axis=1)]
    if len(samples) and _are_floats(samples):
        return stream
    on_top = bool(samples[:, 0].any()) and bool(np.isin(samples[:, 3], (0, 255)).all())
    moved = ((form + _BITS + 2, data[0]), b"\0", (data[0], data[1] - 1), (data[1], stop))
    whole = ((form + _BITS + 2, stop),)
    return Stream(pieces=((start, form + _BITS), struct.pack("<H", 32), *(moved if on_top else whole)))


def _are_floats(samples: np.ndarray) -> bool:
    """Are these the floats that Cool Edit wrote under the same header? Whole numbers of sound pass through zero."""
    exponents = samples[:, 3] & 0x7F
    return bool(np.mean((exponents >= _LEAST_EXPONENT) & (exponents <= _LARGEST_EXPONENT)) > _MOST)
