"""Names and first bytes."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.sources import printable, unprinted
from sonogloss.sources.names import (
    AUDIO_ENDINGS,
    FOREIGN_ARCHIVES,
    OTHER_ENDINGS,
    SeenNames,
    ending,
    left_out,
    looks_like_audio,
    unsafe,
)
from sonogloss.sources.registry import CONTAINERS, container
from tests.archives import parquet, tar, wav, zipped


def test_what_libsndfile_writes_is_known_by_its_first_bytes_or_its_ending(encode) -> None:  # type: ignore[no-untyped-def]
    seen = 0
    # libsndfile keeps half of an SD2 in a second file: for one in memory, `._` in the working folder. As long as that
    # lies there, it opens no MP3 in memory.
    for name in soundfile.available_formats().keys() - {"SD2"}:
        try:
            content = encode([0.0, 0.1, -0.1, 0.2] * 500, 16000, container=name)
        except (soundfile.LibsndfileError, ValueError, TypeError):
            continue
        seen += looks_like_audio(content[:512]) or f".{name.lower()}" in AUDIO_ENDINGS
    assert seen >= 12


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\xff", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n", b"%PDF-1.7",
        b"PK\x03\x04", b"\x1f\x8b\x08",        b"\xff\xfeu\x00r\x00i\x00", b"\xfe\xff\x00u",
        b"\xff" * 512, b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"uri,start\n",
        b"{\"uri\"", b"MThd", b"\x7fELF", bytes(512),
    ],
)  # fmt: skip
def test_other_files_do_not_look_like_audio(head: bytes) -> None:
    assert not looks_like_audio(head)


@pytest.mark.parametrize(
    "head",
    [
        b"\x00\x00\x00\x20ftypM4A ", b"\xff\xfb\x90\x64\x00", b"\xff\xf1\x50\x80\x00", b"ID3\x04", b"\x1aE\xdf\xa3\x9f",
        b"G".ljust(188, b"x") * 3, b"#!AMR\n", b"0&\xb2u\x8ef\xcf\x11\xa6\xd9", b"RIFF\xff\xff\xff\xffAVI LIST",
    ],
)  # fmt: skip
def test_sound_and_videos_do(head: bytes) -> None:
    assert looks_like_audio(head.ljust(16, b"\x00"))


def test_archives_do_not_look_like_audio() -> None:
    for content in (tar({"a.wav": wav(1)}), zipped({"a.wav": wav(1)}), parquet({"a.wav": wav(1)})):
        assert not looks_like_audio(content[:512])


def test_every_ending_stands_for_one_thing() -> None:
    endings = [end for kind in CONTAINERS if kind != "listing" for end in container(kind).ENDINGS]
    assert not AUDIO_ENDINGS & OTHER_ENDINGS
    assert not set(endings) & (AUDIO_ENDINGS | OTHER_ENDINGS)
    assert not set(FOREIGN_ARCHIVES) & (AUDIO_ENDINGS | OTHER_ENDINGS | set(endings))
    assert set(container("listing").ENDINGS) <= OTHER_ENDINGS  # in a folder they are left out


def test_endings() -> None:
    assert [ending(name) for name in ("A.WAV", "d.x/name", ".hidden", "a.tar.gz", "dots...")] == [
        ".wav",
        "",
        "",
        ".gz",
        ".",
    ]


def test_dashes_and_dots_inside_are_not_hidden() -> None:
    assert [left_out(name) for name in ("-a.wav", "a.b.wav", "..", ".", "_x")] == [None] * 5


@pytest.mark.parametrize("name", ["a.wav", "a/b.wav", "./a.wav", "a..b/c.wav", "...", "a//b.wav", "C:a.wav"])
def test_names_that_stay_inside(name: str) -> None:
    assert unsafe(name) is None


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/..", "a/../b", "\\a", "a\\..\\b", "c:\\a", "C:/a", "a\x00b"])
def test_names_that_do_not(name: str) -> None:
    assert unsafe(name) is not None


@given(st.binary(min_size=1, max_size=30))
def test_printable_names_can_be_written_and_read_back(raw: bytes) -> None:
    name = os.fsdecode(raw)
    text = printable(name)
    text.encode()
    if b"\\x" not in raw:
        assert unprinted(text) == name


def test_half_an_emoji_is_printable_too() -> None:
    assert printable("a\ud83d") == "a\\ud83d"
    assert printable("plain 雨.wav") == "plain 雨.wav"


@given(st.lists(st.text("abc", max_size=3)))
def test_seen_names_are_a_set(names: list[str]) -> None:
    seen, known = SeenNames(), set()
    for name in names:
        assert seen.add(name) == (name not in known)
        known.add(name)


def test_seen_names_take_few_bytes() -> None:
    tracemalloc.start()
    try:
        seen = SeenNames()
        assert all(seen.add(("archive.tar", number)) for number in range(50_000))
        assert not any(seen.add(("archive.tar", number)) for number in range(50_000))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 25 * 50_000
