"""What a walk over a file's structure finds: its streams, in pieces that a decoder opens one after the other."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sonogloss.audio.byte_source import ByteSource, Piece


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """The form that a header announces, which may be wrong.

    Attributes:
        codec: WAVEFORMATEX tag of a WAV, -1 for an unknown GUID; 1 elsewhere.
        channels: number of channels.
        sample_rate: in Hz; None where the header writes it as a float.
        frame_bytes: bytes of one block of samples.
        extended: the header holds parameters of the codec.
        bits: of a sample; 0 where nobody asks.
    """

    codec: int
    channels: int
    sample_rate: int | None
    frame_bytes: int
    extended: bool = False
    bits: int = 0


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of a file, which a decoder opens by itself.

    Attributes:
        pieces: what to open; the whole source if there are none.
        frames: how many frames there must be at least, where the walk knows it better than the decoder.
        exact: there must be no more of them either.
        estimated: what the decoder takes for the number of frames is an estimate.
    """

    pieces: tuple[Piece, ...] = ()
    frames: int | None = None
    exact: bool = False
    estimated: bool = False


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The streams of a file, in order.

    Attributes:
        streams: at least one.
        damaged: bytes are missing, or some were not understood.
        announced: the form of the first stream, where a header says it.
        data_start: where the samples begin, where a header says it.
    """

    streams: tuple[Stream, ...] = (Stream(),)
    damaged: bool = False
    announced: Announcement | None = None
    data_start: int | None = None


def is_harmless(source: ByteSource, start: int) -> bool:
    """Are the bytes from `start` to the end nothing but zeros and tags of titles?"""
    while start < source.size:
        after = after_tag(source, start)
        if after is not None:
            start = after
            continue
        if source.read(start, 11) == b"LYRICSBEGIN":  # it is as long as its lyrics are
            return True
        block = source.read(start, 1 << 16)
        zeros = len(block) - len(block.lstrip(b"\0"))
        if zeros == 0:
            return False
        start += zeros
    return True


def after_tag(source: ByteSource, position: int) -> int | None:
    """Where an ID3v2, ID3v1 or APE tag that begins here ends; None if none does."""
    head = source.read(position, 32)
    after = after_id3(source, position)
    if after == position and head.startswith(b"TAG"):
        after = position + 128
    elif after == position and head.startswith(b"APETAGEX") and len(head) == 32:
        size, flags = struct.unpack("<I", head[12:16])[0], struct.unpack("<I", head[20:24])[0]
        after = position + (size + 32 if flags & 1 << 29 else 32)
    return min(after, source.size) if after > position else None


def after_id3(source: ByteSource, position: int = 0) -> int:
    """The position behind an ID3v2 tag, whose size is written in seven bits a byte; unchanged where none begins."""
    head = source.read(position, 10)
    if not head.startswith(b"ID3") or len(head) < 10 or any(byte & 0x80 for byte in head[6:10]):
        return position
    a, b, c, d = head[6:10]
    return position + 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)
