"""Broken, odd and misnamed sound files by the hundred: small, and the same in every run."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import soundfile

from sonogloss.audio.ogg import page_checksum

RATE = 16000

ROW, FLAGGED = "ROW", "ROW+TRUNCATED"
BROKEN = frozenset({ROW, FLAGGED, "CORRUPT", "UNSUPPORTED", "EMPTY", "TOO_SHORT", "TRUNCATED"})
LIMITS = frozenset({"TOO_LONG", "TOO_MANY_CHANNELS", "BAD_RATE", "NON_FINITE", "LIMIT"})
ANY = BROKEN | LIMITS


@dataclass(frozen=True)
class Hostile:
    """A file, and what may become of it: ROW, ROW+FLAG, or codes of dead letters."""

    name: str
    data: bytes
    allowed: frozenset[str]


def tone(seconds: float = 1.0, rate: int = RATE) -> npt.NDArray[np.float64]:
    return 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def encoded(samples: npt.ArrayLike, container: str, subtype: str | None = None, rate: int = RATE) -> bytes:
    target = io.BytesIO()
    soundfile.write(target, np.asarray(samples), rate, format=container, subtype=subtype)
    return _without_time(target.getvalue())


def _without_time(data: bytes) -> bytes:
    """Without what libsndfile takes from the clock: the time of a PEAK chunk, the serial number of an Ogg stream."""
    content = bytearray(data)
    if (peak := data.find(b"PEAK", 0, 200)) >= 0:
        content[peak + 12 : peak + 16] = bytes(4)
    page = 0
    while content[page : page + 4] == b"OggS":
        stop = page + 27 + content[page + 26] + sum(content[page + 27 : page + 27 + content[page + 26]])
        content[page + 14 : page + 18] = content[page + 22 : page + 26] = bytes(4)
        content[page + 22 : page + 26] = page_checksum(bytes(content[page:stop])).to_bytes(4, "little")
        page = stop
    return bytes(content)


def muxed(container: str, codec: str, *, seconds: float = 1.0, rate: int = 44100, layout: str = "mono") -> bytes:
    """A tone in a container that FFmpeg writes."""
    target = io.BytesIO()
    wave = tone(seconds, rate).astype(np.float32)
    channels = 2 if layout == "stereo" else 1
    options = {"fflags": "+bitexact"} if container in ("matroska", "webm") else {}  # these draw numbers otherwise
    with av.open(target, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate)
        context = stream.codec_context
        context.layout = layout
        if codec == "libopencore_amrnb":
            context.bit_rate = 12200
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            format=context.format, layout=layout, rate=rate, frame_size=context.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return target.getvalue()


MUXED = {
    "m4a": ("ipod", "aac", 44100),
    "mp4": ("mp4", "alac", 44100),
    "mov": ("mov", "pcm_s16le", 48000),
    "3gp": ("3gp", "libopencore_amrnb", 8000),
    "mkv": ("matroska", "flac", 44100),
    "webm": ("webm", "libopus", 48000),
    "amr": ("amr", "libopencore_amrnb", 8000),
    "aac": ("adts", "aac", 44100),
    "avi": ("avi", "pcm_s16le", 44100),
    "ts": ("mpegts", "aac", 44100),
    "flv": ("flv", "aac", 44100),
    "ac3": ("ac3", "ac3", 48000),
    "wv": ("wv", "wavpack", 44100),
    "tta": ("tta", "tta", 44100),
}
PLAIN = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", None),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
    "adpcm": ("WAV", "MS_ADPCM"),
    "voc": ("VOC", "PCM_16"),
    "nist": ("NIST", "PCM_16"),
}


def valid() -> dict[str, bytes]:
    """One second of a tone in every format."""
    files = {name: encoded(tone(), container, subtype) for name, (container, subtype) in PLAIN.items()}
    files.update({name: muxed(*arguments[:2], rate=arguments[2]) for name, arguments in MUXED.items()})
    return files


def wav(
    codec: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, payload: bytes = b"", size: int | None = None
) -> bytes:
    """A WAV whose header says anything."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", codec, channels, rate, rate * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    announced = len(payload) if size is None else size
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", announced) + payload
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _cut(files: dict[str, bytes]) -> Iterator[Hostile]:
    for name, data in files.items():
        for number, share in enumerate((0.003, 0.03, 0.3, 0.6, 0.95)):
            yield Hostile(f"cut_{number}.{name}", data[: max(1, int(share * len(data)))], BROKEN | LIMITS)


def _fuzzed(files: dict[str, bytes]) -> Iterator[Hostile]:
    for name, data in files.items():
        chance = random.Random(name)
        for number in range(4):
            changed = bytearray(data)
            for _ in range(1 + 2 * number):
                changed[chance.randrange(min(len(data), 120))] = chance.randrange(256)
            yield Hostile(f"head_{number}.{name}", bytes(changed), ANY)
        changed = bytearray(data)
        for _ in range(12):
            changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield Hostile(f"bits.{name}", bytes(changed), ANY)


def _joined(files: dict[str, bytes]) -> Iterator[Hostile]:
    tag = b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10)
    for name, data in files.items():
        yield Hostile(f"twice.{name}", data + data, frozenset({ROW}))
        yield Hostile(f"tag_before.{name}", tag + data, frozenset({ROW}))
        if name in ("wav", "flac", "ogg", "mp3", "aiff", "caf"):
            yield Hostile(f"junk_before.{name}", bytes(range(1, 200)) + data, frozenset({FLAGGED}))
    yield Hostile("rates.mp3", files["mp3"] + encoded(tone(1, 44100), "MP3", rate=44100), frozenset({ROW}))


def _headers(pcm: bytes) -> Iterator[Hostile]:
    for channels in (0, 65, 1000, 65535):
        allowed = {"TOO_MANY_CHANNELS"} if channels else {"CORRUPT"}
        yield Hostile(f"channels_{channels}.wav", wav(channels=channels, payload=pcm), frozenset(allowed))
    for rate in (0, 1, 999, 768_001, 4_000_000_000):
        yield Hostile(f"rate_{rate}.wav", wav(rate=rate, payload=pcm), frozenset({"BAD_RATE"}))
    for rate in (1000, 768_000):
        yield Hostile(f"rate_{rate}.wav", wav(rate=rate, payload=pcm), frozenset({ROW}))
    for size in (0, 2, 1000):
        yield Hostile(f"size_{size}.wav", wav(payload=pcm, size=size), frozenset({FLAGGED}))
    for size in (0x7FFFF000, 0xFFFFFFFF):
        yield Hostile(f"size_{size:x}.wav", wav(payload=pcm, size=size), frozenset({ROW}))
    yield Hostile("size_beyond.wav", wav(payload=pcm, size=1 << 24), frozenset({FLAGGED}))
    yield Hostile("announced_only.wav", wav(size=1 << 24), frozenset({"TRUNCATED"}))
    yield Hostile("no_samples.wav", wav(), frozenset({"EMPTY"}))
    yield Hostile("short.wav", wav(payload=bytes(100)), frozenset({"TOO_SHORT"}))
    for codec in (0x0000, 0x0161, 0x00FF, 0x1234):
        yield Hostile(f"codec_{codec:04x}.wav", wav(codec, payload=pcm), frozenset({"UNSUPPORTED", "CORRUPT"}))
    for name, bad in (("nan", np.nan), ("inf", np.inf), ("minus_inf", -np.inf)):
        samples = tone()
        samples[len(samples) // 2] = bad
        yield Hostile(f"{name}.wav", encoded(samples, "WAV", "FLOAT"), frozenset({"NON_FINITE"}))
    yield Hostile("huge.wav", encoded(tone() * 1e30, "WAV", "FLOAT"), frozenset({"ROW+CLIPPED"}))
    yield Hostile("double.wav", encoded(tone() * 1e300, "WAV", "DOUBLE"), frozenset({"NON_FINITE"}))
    yield Hostile("chunks.wav", wav(payload=pcm)[:12] + b"JUNK\0\0\0\0" * 5000 + wav(payload=pcm)[12:], BROKEN)


def _misnamed(files: dict[str, bytes]) -> Iterator[Hostile]:
    for name in ("flac", "m4a", "webm", "mp3"):
        yield Hostile(f"{name}_inside.wav", files[name], frozenset({ROW}))
    chance = random.Random(0)
    others = {
        "text": b"no sound at all\n" * 50,
        "html": b"<!DOCTYPE html><html>404</html>",
        "zip": b"PK\x03\x04" + chance.randbytes(500),
        "tar": b"name.wav".ljust(257, b"\0") + b"ustar\x0000" + bytes(247) + files["wav"],
        "png": b"\x89PNG\r\n\x1a\n" + chance.randbytes(500),
        "pdf": b"%PDF-1.7\n" + chance.randbytes(500),
        "midi": b"MThd\0\0\0\x06" + bytes(100),
        "playlist": b"#EXTM3U\nfile:///etc/passwd\n",
        "cue": b'FILE "a.wav" WAVE\n',
        "random": chance.randbytes(20000),
        "zeros": bytes(20000),
    }
    for name, data in others.items():
        yield Hostile(f"{name}.wav", data, frozenset({"UNSUPPORTED"}))
    yield Hostile("ones.mp3", b"\xff" * 200_000, frozenset({"CORRUPT", "UNSUPPORTED"}))
    yield Hostile("nothing.wav", b"", frozenset({"EMPTY"}))


def hostile_files() -> list[Hostile]:
    """All of them, in order."""
    files = valid()
    pcm = (tone() * 32767).astype("<i2").tobytes()
    plain = {name: data for name, data in files.items() if name not in ("adpcm", "nist", "voc")}
    return [
        *(Hostile(f"whole.{name}", data, frozenset({ROW})) for name, data in files.items()),
        *_cut(files),
        *_fuzzed(files),
        *_joined(plain),
        *_headers(pcm),
        *_misnamed(files),
    ]
