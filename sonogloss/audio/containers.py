"""Recognize a container by its first bytes, and read the chunks of a RIFF or AIFF header."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Containers that libsndfile reads; a file that begins like one of them and does not open is broken.
_READABLE = {
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "WAV",
    b"FORM": "AIFF",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"caff": "CAF",
    b"riff": "Wave64",
    b".snd": "AU",
}

# Sound that other programs decode.
_CONVERTIBLE = {
    b"\x1aE\xdf\xa3": "a Matroska or WebM container",
    b"0&\xb2u\x8ef\xcf\x11": "a Windows Media (ASF) container",
    b"FLV\x01": "a Flash video",
    b"#!AMR": "AMR speech",
    b".RMF": "a RealMedia container",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
}

# Other files with the name of an audio file.
_SOUNDLESS = {
    b"MThd": "a MIDI score, which holds notes and no sound",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}

CONVERT = "convert it to WAV, FLAC, Ogg or MP3"

# Codecs inside WAV that libsndfile decodes (WAVEFORMATEX tags); 0xFFFE names its codec further down.
_WAV_CODECS = {0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0x0040, 0x0045, 0x0055, 0x0064, 0x0065, 0xFFFE}
_OGG_CODECS = (b"vorbis", b"OpusHead", b"FLAC", b"Speex")
_UNKNOWN_SIZE = 0x7FFFF000  # writers to a pipe announce this much or more, as they do not know the size


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What the header of a WAV or AIFF file announces, which may be wrong.

    Attributes:
        codec: WAVEFORMATEX tag; 1 (PCM) for AIFF.
        channels: number of channels.
        sample_rate: in Hz, or None for AIFF, which writes it as an 80-bit float.
        missing: bytes of the sample chunk that are announced but missing.
        frame_bytes: bytes of one block of samples.
    """

    codec: int
    channels: int
    sample_rate: int | None
    missing: int
    frame_bytes: int


def readable_container(data: bytes) -> str | None:
    """The name of the container, if libsndfile reads it."""
    if data[:4] == b"RIFF" and data[8:12] not in (b"WAVE", b""):
        return None
    for magic, name in _READABLE.items():
        if data.startswith(magic):
            return name
    # An MPEG frame begins with eleven set bits; layer bits 00 are AAC's, not MPEG audio's.
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "MP3"
    return None


def foreign_content(data: bytes) -> str:
    """A description of a file that libsndfile does not read, with advice if there is sound in it."""
    if data[4:8] == b"ftyp":
        return f"an MP4 or M4A container (AAC sound); {CONVERT}"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return f"an AVI video; {CONVERT}"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return f"a bare AAC stream; {CONVERT}"
    for magic, name in _CONVERTIBLE.items():
        if data.startswith(magic):
            return f"{name}; {CONVERT}"
    for magic, name in _SOUNDLESS.items():
        if data.startswith(magic):
            return name
    head = data[:512]
    if head.lstrip()[:1] == b"<":
        return "a web page or other markup"
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "text"
    return "an unknown kind of file"


def unknown_codec(data: bytes) -> str | None:
    """The name of the codec, if the container is readable but the codec is not."""
    announced = announcement(data)
    if announced is not None and announced.codec not in _WAV_CODECS:
        return f"WAV with codec {announced.codec:#06x}"
    if data.startswith(b"OggS") and len(data) >= 64 and not any(name in data[:128] for name in _OGG_CODECS):
        return "Ogg with neither Vorbis, Opus, FLAC nor Speex"
    return None


def announcement(data: bytes) -> Announcement | None:
    """Read the chunks of a WAV (RIFF, RIFX, RF64) or AIFF file up to the samples.

    Returns:
        None for other files, and where the header ends before the samples.
    """
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        order = ">" if data[:4] == b"RIFX" else "<"
    elif data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        order = ">"
    else:
        return None
    codec, channels, frame_bytes = 0, 0, 1
    sample_rate: int | None = None
    long_size: int | None = None
    position = 12
    while position + 8 <= len(data):
        name = data[position : position + 4]
        (size,) = struct.unpack_from(f"{order}I", data, position + 4)
        body = position + 8
        if name == b"fmt " and body + 16 <= len(data):
            codec, channels, sample_rate, _, frame_bytes = struct.unpack_from(f"{order}HHIIH", data, body)
        elif name == b"COMM" and body + 8 <= len(data):
            channels, _, bits = struct.unpack_from(">HIH", data, body)
            codec, frame_bytes = 1, channels * ((bits + 7) // 8)
        elif name == b"ds64" and body + 16 <= len(data):
            (long_size,) = struct.unpack_from("<Q", data, body + 8)
        elif name in (b"data", b"SSND"):
            if long_size is not None and size == 0xFFFFFFFF:
                size = long_size
            elif size >= _UNKNOWN_SIZE:
                size = 0
            return Announcement(
                codec=codec,
                channels=channels,
                sample_rate=sample_rate,
                missing=max(0, size - (len(data) - body)),
                frame_bytes=max(1, frame_bytes),
            )
        position = body + size + size % 2
    return None


def ogg_is_cut(data: bytes) -> bool:
    """Does an Ogg file end without the page that ends its stream?"""
    last = data.rfind(b"OggS")
    return data.startswith(b"OggS") and (last + 5 >= len(data) or not data[last + 5] & 0x04)
