"""Recordings behind URLs: listed, read and named as files are."""

from __future__ import annotations

import io

import fsspec
import pytest

from sonogloss.errors import ClipError, MissingInputError, TransientError
from sonogloss.sources import Source, SourceLimits, list_sources, open_source, source_key
from sonogloss.urls import is_url
from tests.archives import contents, listed, tar, wav, zipped


@pytest.fixture
def memory() -> fsspec.AbstractFileSystem:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    return fs


def test_urls(memory: fsspec.AbstractFileSystem) -> None:
    members = {"x.wav": wav(5), "y.wav": wav(6)}
    files = {
        "/b/a.wav": wav(1),
        "/b/sub/take [1].wav": wav(2),
        "/b/sub/._a.wav": b"x",
        "/b/rec::1.wav": wav(3),
        "/b/s.tar": tar(members),
        "/b/s.zip": zipped(members),
        "/b/no_ending": wav(4),
    }
    for name, content in files.items():
        memory.pipe(name, content)

    def found(*patterns: str) -> list[tuple[str, str | None]]:
        return [(source.uri.removeprefix("memory:///b/"), source.member) for source in listed(*patterns)[0]]

    everything = [
        ("a.wav", None), ("no_ending", None), ("rec::1.wav", None), ("s.tar", "x.wav"), ("s.tar", "y.wav"),
        ("s.zip", "x.wav"), ("s.zip", "y.wav"), ("sub/take [1].wav", None),
    ]  # fmt: skip
    assert found("memory://b") == everything
    assert found("memory:///b/") == everything
    assert found("memory://b/*.wav") == [("a.wav", None), ("rec::1.wav", None)]
    assert found("memory://b/**/*.wav") == [("a.wav", None), ("rec::1.wav", None), ("sub/take [1].wav", None)]
    assert found("memory://b/sub/take [1].wav", "memory://*/a.wav") == [("sub/take [1].wav", None), ("a.wav", None)]
    assert found("memory:///b/rec::1.wav") == [("rec::1.wav", None)]
    sources, skipped = listed("memory://b")
    assert [str(each.code) for each in skipped] == ["SYSTEM_FILE"]
    assert [data for _, data in contents(sources)] == [
        wav(1), wav(4), wav(3), wav(5), wav(6), wav(5), wav(6), wav(2),
    ]  # fmt: skip
    with pytest.raises(MissingInputError, match="does not exist"):
        list_sources(["memory://nowhere/a.wav"])


def test_versions_of_objects_are_the_same_listed_and_asked_for(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/b/a.wav", wav(1))
    (alone,), _ = listed("memory://b/a.wav")
    (in_folder,), _ = listed("memory://b")
    assert alone == in_folder
    assert alone.version is not None
    memory.pipe("/b/a.wav", wav(2))
    assert source_key(listed("memory://b")[0][0]) != source_key(alone)


def test_chains_of_urls(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/b/a.wav", wav(1))
    memory.pipe("/b/c.wav", wav(3))
    memory.pipe("/b/z.zip", zipped({"d/x.wav": wav(2)}))
    for pattern, uris, data in (
        ("simplecache::memory://b/a.wav", ["simplecache::memory://b/a.wav"], [wav(1)]),
        (
            "simplecache::memory://b/*.wav",
            ["simplecache::memory:///b/a.wav", "simplecache::memory:///b/c.wav"],
            [wav(1), wav(3)],
        ),
        ("zip://d/x.wav::memory://b/z.zip", ["zip://d/x.wav::memory://b/z.zip"], [wav(2)]),
        ("zip://d::memory://b/z.zip", ["zip://d/x.wav::memory://b/z.zip"], [wav(2)]),
    ):
        sources, _ = listed(pattern)
        assert [source.uri for source in sources] == uris
        assert [found for _, found in contents(sources)] == data


def test_an_object_whose_size_nobody_says_is_read_up_to_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Streaming(fsspec.AbstractFileSystem):
        """A server that sends what it has and says no more."""

        def info(self, path: str, **options: object) -> dict[str, object]:
            return {"name": path, "type": "file", "size": None}

        def _open(self, path: str, mode: str = "rb", **options: object) -> io.RawIOBase:
            return Stream(wav(1))

    monkeypatch.setattr("sonogloss.sources.places.file_system", lambda url: (Streaming(), url))
    source = Source(uri="memory:///b/a.wav")
    with open_source(source) as opened:
        assert opened.read() == wav(1)
        opened.seek(4)
        assert opened.read(4) == wav(1)[4:8]
    with pytest.raises(ClipError, match="LIMIT"), open_source(source, limits=SourceLimits(max_member_bytes=100)):
        pass


def test_a_network_that_fails_in_the_middle_is_not_the_end_of_the_sound(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/b/a.wav", wav(1, 200_000))

    def decode() -> None:
        with open_source(Source(uri="memory:///b/a.wav")) as opened:
            assert len(opened.read(1000)) == 1000
            monkeypatch.setattr(type(memory.store["/b/a.wav"]), "read", broken_read)
            opened.read()
            raise ValueError("what a decoder says of it")

    with pytest.raises(TransientError, match=r"'memory:///b/a.wav' cannot be reached .*reset"):
        decode()


def broken_read(self: object, size: int = -1) -> bytes:
    raise ConnectionResetError("connection reset")


def test_only_protocols_that_exist_make_a_url() -> None:
    assert [is_url(text) for text in ("s3://b/a", "memory://x", "simplecache::s3://b/a", "zip://a::s3://b")] == [
        True
    ] * 4
    assert [is_url(text) for text in ("/a::b", "rec::1.wav", "x://y", "file:///a", "C:/a", "owner/name")] == [False] * 6


class Stream(io.RawIOBase):
    """Bytes that come once, a few at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        piece, self._data = self._data[: min(100, len(buffer))], self._data[100:]
        buffer[: len(piece)] = piece
        return len(piece)
