"""Containers by their first bytes, and what odd headers announce."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.audio import read_recording
from sonogloss.audio.byte_source import ByteSource
from sonogloss.audio.chunks import announcement, chunk_layout
from sonogloss.audio.containers import foreign_content, readable_container, unknown_codec
from sonogloss.audio.layout import Announcement, Layout
from sonogloss.audio.ogg import ogg_layout
from sonogloss.errors import ClipError, Code

RATE = 16000
PCM = (1000 * np.sin(np.arange(RATE))).astype("<i2").tobytes()
FMT = struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16)


def chunk(name: bytes, content: bytes, *, size: int | None = None, order: str = "<") -> bytes:
    """A chunk, padded to an even length as RIFF asks."""
    return (
        name + struct.pack(f"{order}I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)
    )


def riff(*chunks: bytes, magic: bytes = b"RIFF", form: bytes = b"WAVE", order: str = "<") -> bytes:
    body = form + b"".join(chunks)
    return magic + struct.pack(f"{order}I", len(body)) + body


def announced(data: bytes) -> Announcement | None:
    return announcement(ByteSource(data))


def layout(data: bytes) -> Layout:
    found = chunk_layout(ByteSource(data), 0)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("container", "subtype", "name"),
    [
        ("WAV", "PCM_16", "WAV"),
        ("RF64", "PCM_16", "WAV"),
        ("AIFF", "PCM_16", "AIFF"),
        ("FLAC", None, "FLAC"),
        ("OGG", "VORBIS", "Ogg"),
        ("MP3", None, "MP3"),
        ("CAF", "PCM_16", "CAF"),
        ("W64", "PCM_16", "Wave64"),
        ("AU", "PCM_16", "AU"),
    ],
)
def test_what_libsndfile_writes_is_known(
    encode: Callable[..., bytes], container: str, subtype: str | None, name: str
) -> None:
    data = encode(np.zeros(RATE), RATE, container=container, subtype=subtype)
    assert readable_container(data) == name
    assert unknown_codec(data, announced(data)) is None


@pytest.mark.parametrize(
    ("container", "subtype", "channels", "bits"),
    [("WAV", "PCM_16", 1, 16), ("WAV", "PCM_24", 3, 24), ("WAVEX", "PCM_16", 2, 16), ("AIFF", "PCM_24", 2, 24)],
)
def test_an_announcement_equals_what_was_written(
    encode: Callable[..., bytes], container: str, subtype: str, channels: int, bits: int
) -> None:
    data = encode(np.zeros((RATE, channels)), RATE, container=container, subtype=subtype)
    found = announced(data)
    assert found is not None
    assert (found.channels, found.frame_bytes) == (channels, channels * bits // 8)
    assert found.sample_rate == (None if container == "AIFF" else RATE)
    assert not layout(data).damaged
    assert layout(data[:-100]).damaged


ODD_HEADERS = {
    "a list of odd length before the samples": riff(chunk(b"LIST", b"INFOx"), chunk(b"fmt ", FMT), chunk(b"data", PCM)),
    "junk before the format": riff(chunk(b"JUNK", bytes(28)), chunk(b"fmt ", FMT), chunk(b"data", PCM)),
    "an empty chunk": riff(chunk(b"fmt ", FMT), chunk(b"JUNK", b""), chunk(b"data", PCM)),
    "a format with an extension": riff(chunk(b"fmt ", FMT + b"\0\0"), chunk(b"data", PCM)),
    "chunks after the samples": riff(chunk(b"fmt ", FMT), chunk(b"data", PCM), chunk(b"LIST", b"INFO")),
    "a wrong size of the whole": b"RIFF" + b"\xff\xff\xff\xff" + riff(chunk(b"fmt ", FMT), chunk(b"data", PCM))[8:],
}


@pytest.mark.parametrize("name", ODD_HEADERS)
def test_odd_headers_are_read_as_soundfile_reads_them(name: str) -> None:
    data = ODD_HEADERS[name]
    expected, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    recording = read_recording(data)
    assert np.array_equal(np.concatenate(list(recording.blocks())), expected)
    assert (recording.sample_rate, recording.frames, recording.truncated) == (rate, RATE, False)


def test_numbers_of_a_big_endian_wav_are_read_in_its_order() -> None:
    fmt = struct.pack(">HHIIHH", 1, 2, RATE, 4 * RATE, 4, 16)
    data = riff(chunk(b"fmt ", fmt, order=">"), chunk(b"data", bytes(400), order=">"), magic=b"RIFX", order=">")
    found = announced(data)
    assert found is not None
    assert (found.codec, found.channels, found.sample_rate, found.frame_bytes) == (1, 2, RATE, 4)
    assert not layout(data).damaged


@pytest.mark.parametrize(("size", "damaged"), [(100, False), (160, True), (1 << 33, True)])
def test_a_long_wav_has_its_size_in_a_chunk_of_its_own(size: int, damaged: bool) -> None:
    ds64 = struct.pack("<QQQI", 0, size, 0, 0)
    data = riff(chunk(b"ds64", ds64), chunk(b"fmt ", FMT), chunk(b"data", bytes(100), size=0xFFFFFFFF), magic=b"RF64")
    assert layout(data).damaged == damaged


@pytest.mark.parametrize(
    "data",
    [
        riff(chunk(b"fmt ", FMT)),
        riff(chunk(b"fmt ", FMT), chunk(b"LIST", b"", size=1 << 30)),
        riff(),
        riff(chunk(b"fmt ", FMT), chunk(b"data", PCM), form=b"WAVX"),
        b"RIFF",
        b"",
    ],
)
def test_a_header_without_samples_has_no_streams(data: bytes) -> None:
    assert chunk_layout(ByteSource(data), 0) is None


def test_a_block_of_no_bytes_is_counted_as_one() -> None:
    """Nothing may be divided by it, and a file that lacks one byte is cut."""
    fmt = struct.pack("<HHIIHH", 1, 0, 0, 0, 0, 0)
    data = riff(chunk(b"fmt ", fmt), chunk(b"data", bytes(10), size=12))
    found = announced(data)
    assert found is not None
    assert found.frame_bytes == 1
    assert layout(data).damaged


@pytest.mark.parametrize(("codec", "known"), [(1, True), (3, True), (0xFFFE, True), (0x0161, False), (0x00FF, False)])
def test_a_codec_that_libsndfile_lacks_is_named(codec: int, known: bool) -> None:
    fmt = struct.pack("<HHIIHH", codec, 1, RATE, 2 * RATE, 2, 16)
    data = riff(chunk(b"fmt ", fmt), chunk(b"data", PCM))
    found = unknown_codec(data, announced(data))
    assert found == (None if known else f"WAV with codec {codec:#06x}")


def test_many_empty_chunks_come_to_an_end() -> None:
    data = riff(*[chunk(b"JUNK", b"") for _ in range(10_000)])
    assert chunk_layout(ByteSource(data), 0) is None


@given(
    data=st.binary(max_size=200), magic=st.sampled_from([b"RIFF0000WAVE", b"RIFX0000WAVE", b"FORM0000AIFF", b"OggS"])
)
def test_no_header_is_an_exception(data: bytes, magic: bytes) -> None:
    found = announced(magic + data)
    assert found is None or found.frame_bytes >= 1
    chunk_layout(ByteSource(magic + data), 0)
    assert foreign_content(data)
    assert ogg_layout(ByteSource(magic + data), 0).streams
    unknown_codec(magic + data, found)


def test_an_ogg_without_its_last_page_is_cut(encode: Callable[..., bytes]) -> None:
    data = encode(0.1 * np.random.default_rng(0).standard_normal(4 * RATE), RATE, container="OGG", subtype="VORBIS")
    last = data.rfind(b"OggS")
    assert not ogg_layout(ByteSource(data), 0).damaged
    for stop in (last, last + 5, last + 27, len(data) - 1):
        assert ogg_layout(ByteSource(data[:stop]), 0).damaged


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"fLaC" + bytes(60), "FLAC"),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16)), chunk(b"data", PCM)), "WAV"),
    ],
)
def test_a_known_container_with_a_broken_header_is_corrupt(data: bytes, words: str) -> None:
    with pytest.raises(ClipError) as caught:
        read_recording(data)
    assert caught.value.code is Code.CORRUPT
    assert words in caught.value.message


def heard(data: bytes) -> np.ndarray:
    recording = read_recording(data)
    assert not recording.truncated
    return np.concatenate(list(recording.blocks()))


def test_an_rf64_that_says_its_size_where_a_wav_does() -> None:
    sizes = chunk(b"ds64", bytes(28))
    data = riff(sizes, chunk(b"fmt ", FMT), chunk(b"data", PCM), magic=b"RF64")
    assert np.array_equal(heard(data), heard(riff(chunk(b"fmt ", FMT), chunk(b"data", PCM))))


def test_a_caf_that_does_not_know_its_length_is_whole(encode: Callable[..., bytes]) -> None:
    data = encode(np.linspace(-0.5, 0.5, RATE), RATE, container="CAF", subtype="PCM_16")
    size = data.index(b"data") + 4
    assert np.array_equal(heard(data[:size] + b"\xff" * 8 + data[size + 8 :]), heard(data))


@pytest.mark.parametrize("channels", [1, 2])
def test_whole_numbers_of_64_bits(channels: int) -> None:
    samples = np.linspace(-0.5, 0.5, RATE * channels).reshape(RATE, channels)
    form = struct.pack("<HHIIHH", 1, channels, RATE, 8 * channels * RATE, 8 * channels, 64)
    data = riff(chunk(b"fmt ", form), chunk(b"data", (samples * 2**63).astype("<i8").tobytes()))
    assert np.allclose(heard(data), samples.mean(axis=1), atol=1e-7)


def aiff_c(codec: bytes) -> bytes:
    rate = struct.pack(">HQ", 16383 + 13, RATE << (63 - 13))
    form = chunk(b"COMM", struct.pack(">hIh", 1, RATE, 16) + rate + codec + b"\0\0", order=">")
    return riff(form, chunk(b"SSND", bytes(8) + PCM, order=">"), magic=b"FORM", form=b"AIFC", order=">")


def test_a_codec_that_is_not_read_is_named_by_its_letters(encode: Callable[..., bytes]) -> None:
    assert read_recording(aiff_c(b"sowt")).frames == RATE
    caf = encode(np.zeros(RATE), RATE, container="CAF", subtype="PCM_16").replace(b"lpcm", b"qLPX")
    for data, words in ((aiff_c(b"QDM2"), "AIFC with codec 'QDM2'"), (caf, "CAF with codec 'qLPX'")):
        with pytest.raises(ClipError, match=words) as caught:
            read_recording(data)
        assert caught.value.code is Code.UNSUPPORTED
