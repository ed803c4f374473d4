"""Recognize a container by its first bytes."""

from __future__ import annotations

import re

from sonogloss.audio.layout import Announcement

# Containers that libsndfile reads; a file that begins like one of them and does not open is broken.
_READABLE = {
    b"RIFF": "WAV",
    b"RIFX": "WAV",
    b"RF64": "WAV",
    b"BW64": "WAV",
    b"FORM": "AIFF",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b"caff": "CAF",
    b"riff": "Wave64",
    b".snd": "AU",
    b"dns.": "AU",
}

# Sound that FFmpeg decodes: its name for the container, and ours.
_CONVERTIBLE = {
    b"\x1aE\xdf\xa3": ("matroska", "a Matroska or WebM container"),
    b"0&\xb2u\x8ef\xcf\x11": ("asf", "a Windows Media (ASF) container"),
    b"FLV\x01": ("flv", "a Flash video"),
    b"#!AMR": ("amr", "AMR speech"),
    b".RMF": ("rm", "a RealMedia container"),
    b"MAC ": ("ape", "Monkey's Audio"),
    b"wvpk": ("wv", "WavPack"),
    b"TTA1": ("tta", "True Audio"),
    b"\x00\x00\x01\xba": ("mpeg", "an MPEG program stream"),
    b"\x0b\x77": ("ac3", "an AC-3 stream"),
    b"Creative Voice File": ("voc", "a Creative Voice file"),
    b"NIST_1A": ("nistsphere", "a NIST SPHERE file"),
    b"DSD ": ("dsf", "a DSD stream file"),
}

# FFmpeg's names for the containers that libsndfile reads too.
_FFMPEG_NAMES = {
    "WAV": "wav",
    "AIFF": "aiff",
    "FLAC": "flac",
    "Ogg": "ogg",
    "MP3": "mp3",
    "CAF": "caf",
    "Wave64": "w64",
    "AU": "au",
}
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"skip", b"free", b"pnot")
_TS_PACKET = 188

# Other files with the name of an audio file.
_SOUNDLESS = {
    b"MThd": "a MIDI score, which holds notes and no sound",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip file",
    b"\x7fELF": "a program",
    b"SQLite format 3": "a database",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
}

CONVERT = "convert it to WAV, FLAC, Ogg or MP3"

# Codecs inside WAV that libsndfile decodes (WAVEFORMATEX tags); 0xFFFE names its codec further down.
_WAV_CODECS = {0x0001, 0x0002, 0x0003, 0x0006, 0x0007, 0x0011, 0x0031, 0x0040, 0x0045, 0x0055, 0x0064, 0x0065, 0xFFFE}
# Where a container names its codec by four letters, and those that libsndfile decodes.
_NAMED_CODECS = {
    "AIFC": (
        re.compile(rb"FORM.{4}AIFC.{0,900}?COMM.{22}([ -~]{4})", re.DOTALL),
        rb"NONE|sowt|twos|raw |in24|in32|23ni|42n1|(?i:fl32|fl64|ulaw|alaw)|GSM |DWVW|ima4",
    ),
    "CAF": (re.compile(rb"caff.{4}desc.{16}([ -~]{4})", re.DOTALL), rb"lpcm|alac|alaw|ulaw"),
}
_OGG_CODECS = (b"vorbis", b"OpusHead", b"FLAC", b"Speex")


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


def ffmpeg_name(data: bytes) -> str | None:
    """FFmpeg's name of the container, if these first bytes are known: it is never left to guess."""
    container = readable_container(data)
    if container is not None:
        return _FFMPEG_NAMES[container]
    if data[4:8] in _MP4_BOXES:
        return "mov"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "aac"
    if len(data) > 2 * _TS_PACKET and data[0] == data[_TS_PACKET] == data[2 * _TS_PACKET] == 0x47:
        return "mpegts"
    return next((name for magic, (name, _) in _CONVERTIBLE.items() if data.startswith(magic)), None)


def is_foreign(data: bytes) -> bool:
    """Do these first bytes belong to a known kind of file without sound, or to text?"""
    head = data[:512]
    is_text = head.lstrip()[:1] == b"<" or not any(byte < 9 or 13 < byte < 32 for byte in head)
    return is_text or data.startswith(tuple(_SOUNDLESS)) or data[257:262] == b"ustar"


def foreign_content(data: bytes) -> str:
    """A description of a file that libsndfile does not read."""
    if data[4:8] in _MP4_BOXES:
        return "an MP4 or M4A container"
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "an AVI video"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return "a bare AAC stream"
    for magic, (_, name) in _CONVERTIBLE.items():
        if data.startswith(magic):
            return name
    for magic, name in _SOUNDLESS.items():
        if data.startswith(magic):
            return name
    head = data[:512]
    if head.lstrip()[:1] == b"<":
        return "a web page or other markup"
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "text"
    return "an unknown kind of file"


def unknown_codec(data: bytes, announced: Announcement | None) -> str | None:
    """The name of the codec, if the container is readable but the codec is not."""
    if announced is not None and announced.codec not in _WAV_CODECS:
        return f"WAV with {'an unknown codec' if announced.codec < 0 else f'codec {announced.codec:#06x}'}"
    for name, (place, known) in _NAMED_CODECS.items():
        if (found := re.match(place, data)) and not re.fullmatch(known, found[1]):
            return f"{name} with codec {found[1].decode()!r}"
    if data.startswith(b"OggS") and len(data) >= 64 and not any(name in data[:128] for name in _OGG_CODECS):
        return "Ogg with neither Vorbis, Opus, FLAC nor Speex"
    return None
