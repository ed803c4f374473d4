"""What a walk over a file's structure finds: its streams, in pieces that a decoder opens one after the other."""

from __future__ import annotations

from dataclasses import dataclass

from sonogloss.audio.byte_source import ByteSource, Piece

_TRAILERS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"3DI")


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """The form that a header announces, which may be wrong.

    Attributes:
        codec: WAVEFORMATEX tag of a WAV, -1 for an unknown GUID; 1 elsewhere.
        channels: number of channels.
        sample_rate: in Hz; None where the header writes it as a float.
        frame_bytes: bytes of one block of samples.
    """

    codec: int
    channels: int
    sample_rate: int | None
    frame_bytes: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One stream of a file, which a decoder opens by itself.

    Attributes:
        pieces: what to open; the whole source if there are none.
        frames: how many frames there must be at least, where the walk knows it better than the decoder.
        exact: there must be no more of them either.
    """

    pieces: tuple[Piece, ...] = ()
    frames: int | None = None
    exact: bool = False


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
    """Are the bytes from `start` to the end nothing but zeros or tags of titles?"""
    head = source.read(start, 32)
    if head.startswith(_TRAILERS):
        return True
    while start < source.size:
        block = source.read(start, 1 << 16)
        if not block or block.count(0) < len(block):
            return head[:1] == b"\0" and block.lstrip(b"\0").startswith(_TRAILERS)
        start += len(block)
    return True
