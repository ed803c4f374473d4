"""Places: what is opened, what is never opened, and how folders are walked."""

from __future__ import annotations

import os
import socket
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import ClipError, Code, MissingInputError, OptionError
from sonogloss.sources import Source, SourceLimits, list_sources, open_source, source_key
from sonogloss.sources.places import open_file
from tests.archives import contents, listed, put, wav

NAMES = [
    "plain.wav", "two  spaces.wav", " leading.wav", "trailing .wav", "take [1].wav", "[a-z]*.wav", "star*.wav",
    "what?.wav",    "new\nline.wav", "tab\t.wav", "quote'\"`.wav", "back\\slash.wav", "$HOME.wav", "~tilde.wav",
    "-dash.wav", "rec::1.wav",    "file:x.wav", "http:x.wav", "simplecache::x.wav", "12:30.wav",
    "雨.wav", "🐶.wav", "UPPER.WAV", "caf\udce9.wav",
    "pct%20.wav", "a,b.wav", "n" * 200 + ".wav", "e\u0301.wav", "é.wav",
]  # fmt: skip


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        put(tmp_path, name, wav(number))
    return tmp_path


def names(*patterns: str) -> list[str]:
    """What patterns name, as paths from the folder of the first, sorted as they came."""
    sources, _ = listed(*patterns)
    return [os.path.relpath(source.uri, os.path.dirname(patterns[0])) for source in sources]


def test_a_folder_holds_its_files_whatever_they_are_called(odd: Path) -> None:
    sources, skipped = listed(str(odd))
    assert skipped == []
    assert [os.path.basename(source.uri) for source in sources] == sorted(NAMES)
    assert {os.path.basename(source.uri): data for source, data in contents(sources)} == {
        name: wav(number) for number, name in enumerate(NAMES)
    }


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_path_that_exists_is_meant_literally(name: str, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(odd)
    for pattern in (str(odd / name), name, f"./{name}"):
        (source,), skipped = listed(pattern)
        assert skipped == []
        assert source.uri == f"{odd}/{name}"
        with open_source(source) as opened:
            assert opened.read() == wav(NAMES.index(name))


def test_brackets_in_the_name_of_a_folder(tmp_path: Path) -> None:
    put(tmp_path, "night [2020]/a.wav", wav(1))
    put(tmp_path, "night [2020]/sub/b.wav", wav(2))
    put(tmp_path, "night 2/c.wav", wav(3))
    assert names(f"{tmp_path}/night [2020]/*.wav") == ["a.wav"]
    assert names(f"{tmp_path}/night [2020]/**/*.wav", f"{tmp_path}/night [2020]") == ["../a.wav", "../sub/b.wav"]
    assert names(f"{tmp_path}/night*/[a-c].wav") == ["../night 2/c.wav", "../night [2020]/a.wav"]


def test_pipes_sockets_devices_and_links_to_nothing_are_never_opened(tmp_path: Path) -> None:
    put(tmp_path, "d/a.wav", wav(1))
    os.mkfifo(tmp_path / "d" / "live.wav")
    os.symlink("live.wav", tmp_path / "d" / "link_to_pipe.wav")
    os.symlink("nowhere", tmp_path / "d" / "dangling.wav")
    os.symlink("itself.wav", tmp_path / "d" / "itself.wav")
    os.symlink("/dev/zero", tmp_path / "d" / "zero.wav")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "d" / "socket"))
        for pattern in (f"{tmp_path}/d", f"{tmp_path}/d/*", f"{tmp_path}/**"):
            sources, skipped = listed(pattern)
            assert [source.uri for source in sources] == [f"{tmp_path}/d/a.wav"]
            assert {os.path.basename(found.uri): found.reason for found in skipped} == {
                "live.wav": "This is a named pipe.",
                "link_to_pipe.wav": "This is a named pipe.",
                "dangling.wav": "This is a link that leads nowhere.",
                "itself.wav": "This is a link that leads nowhere.",
                "zero.wav": "This is a device.",
                "socket": "This is a socket.",
            }
    assert [found.code for found in listed(f"{tmp_path}/d/live.wav")[1]] == ["NOT_A_FILE"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_became_something_else_after_the_listing_is_not_waited_for(kind: str, tmp_path: Path) -> None:
    path = put(tmp_path, "a.wav", wav(1))
    (source,), _ = listed(path)
    os.remove(path)
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda link: os.symlink("/dev/zero", link)}[kind](path)
    with pytest.raises(ClipError, match="READ_ERROR: This is a"), open_source(source):
        pass


def test_links_to_files_are_files_and_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/train/a.wav", wav(1))
    put(tmp_path, "data/test/b.wav", wav(2))
    os.symlink("test", tmp_path / "data" / "again")  # sorts before what it leads to
    os.symlink("../elsewhere/train", tmp_path / "data" / "train")
    os.symlink("../elsewhere/train", tmp_path / "data" / "train2")
    os.symlink(".", tmp_path / "data" / "loop")
    os.symlink("../..", tmp_path / "data" / "test" / "up")
    os.symlink("b.wav", tmp_path / "data" / "test" / "c.wav")
    sources, skipped = listed(f"{tmp_path}/data")
    assert [os.path.relpath(source.uri, tmp_path / "data") for source in sources] == [
        "test/b.wav",
        "test/c.wav",
        "train/a.wav",
    ]
    assert Counter(found.code for found in skipped) == {"LOOP": 5}
    assert names(f"{tmp_path}/data/**/*.wav") == ["../test/b.wav", "../test/c.wav", "../train/a.wav"]
    assert names(f"{tmp_path}/data/*/*.wav") == ["../test/b.wav", "../test/c.wav", "../train/a.wav"]
    assert names(f"{tmp_path}/data/again/*.wav") == ["b.wav", "c.wav"]


def test_a_deep_folder_and_a_long_chain_of_links_end(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(400):
        deep = deep / "d"
    deep.mkdir(parents=True)
    put(deep, "a.wav", wav(1))
    for number in range(100):
        (tmp_path / f"l{number}").symlink_to(tmp_path)
    sources, skipped = listed(str(tmp_path))
    assert len(sources) == 1
    assert len(skipped) == 100


def test_hidden_files_and_what_systems_leave_are_left_out_and_said_to_be(tmp_path: Path) -> None:
    left = {
        "._a.wav": "SYSTEM_FILE",
        ".DS_Store": "SYSTEM_FILE",
        "Thumbs.db": "SYSTEM_FILE",
        "desktop.ini": "SYSTEM_FILE",
        "__MACOSX/._a.wav": "SYSTEM_FILE",
        "@eaDir/a.wav/SYNO@x.wav": "SYSTEM_FILE",
        ".hidden.wav": "HIDDEN",
        ".Trash-1000/files/a.wav": "HIDDEN",
        "notes.txt": "NOT_AUDIO",
        "cover.JPG": "NOT_AUDIO",
        "metadata.csv": "NOT_AUDIO",
        "model.pt": "NOT_AUDIO",
        "unknown": "NOT_AUDIO",
        "table.parquet": "ARCHIVE_CORRUPT",
        "old.7z": "UNSUPPORTED",
        "old.tar.bz2": "UNSUPPORTED",
        "a.wav.gz": "UNSUPPORTED",
        "a.csv.gz": "NOT_AUDIO",
    }
    for name in left:
        put(tmp_path, f"d/{name}", b"PK\x03\x04" if name == "model.pt" else b"x")
    put(tmp_path, "d/a.wav", wav(1))
    sources, skipped = listed(f"{tmp_path}/d")
    assert len(sources) == 1
    found = {os.path.relpath(each.uri, tmp_path / "d"): str(each.code) for each in skipped}
    assert found == {name if "/" not in name else name.partition("/")[0]: code for name, code in left.items()}
    assert [each.failed for each in skipped] == [code in ("ARCHIVE_CORRUPT", "UNSUPPORTED") for code in found.values()]
    assert names(f"{tmp_path}/d/*.wav") == ["a.wav"]
    assert {os.path.basename(each.uri) for each in listed(f"{tmp_path}/d/*.wav")[1]} == {"._a.wav", ".hidden.wav"}
    assert names(f"{tmp_path}/d/.hidden.wav") == [".hidden.wav"]
    assert names(f"{tmp_path}/d/.*.wav") == ["._a.wav", ".hidden.wav"]


def test_a_folder_that_may_not_be_listed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "d/closed/a.wav", wav(1))
    put(tmp_path, "d/open/b.wav", wav(2))
    original = os.scandir

    def scandir(path: str):  # type: ignore[no-untyped-def]
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    sources, skipped = listed(f"{tmp_path}/d")
    assert [os.path.basename(source.uri) for source in sources] == ["b.wav"]
    failure = [("closed", Code.READ_ERROR, True)]
    assert [(os.path.basename(found.uri), found.code, found.failed) for found in skipped] == failure
    sources, skipped = listed(f"{tmp_path}/d/*/*.wav")
    assert [os.path.basename(source.uri) for source in sources] == ["b.wav"]
    assert [(os.path.basename(found.uri), found.code, found.failed) for found in skipped] == failure


def test_what_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    put(tmp_path, "a.wav", wav(1))
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(MissingInputError, match="--audio is empty"):
        list_sources([""])
    for pattern, words in (
        ("missing.wav", "does not exist"),
        ("*.flac", "matches no file"),
        ("**/*.flac", "matches no file"),
        ("owner/name", "does not exist"),
        ("empty", "holds no file"),
        ("a.wav/b.wav", "does not exist"),
    ):
        with pytest.raises(MissingInputError, match=words) as caught:
            list_sources([str(tmp_path / "a.wav"), str(tmp_path / pattern)])
        assert "--audio" in str(caught.value)


def test_a_protocol_whose_package_is_not_installed_is_a_mistake_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr("sonogloss.urls.url_to_fs", missing)
    monkeypatch.setattr(fsspec, "get_filesystem_class", missing)
    for pattern in ("gs://bucket/a.wav", "gs://bucket/*.wav", "gs://bucket/rec::1.wav"):
        with pytest.raises(OptionError, match="gcsfs"):
            list_sources([pattern])


def test_a_file_has_one_name_whichever_way_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "sub/a.wav", wav(1))
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("HOME", str(tmp_path))
    ways = ["a.wav", "../sub/./a.wav", f"{tmp_path}//sub/a.wav", f"file://{tmp_path}/sub", "~/sub/*.wav", "../**/a.wav"]
    for way in ways:
        (source,), _ = listed(way)
        assert source.uri == f"{tmp_path}/sub/a.wav"
    sources, skipped = listed(*ways)
    assert (len(sources), [found.code for found in skipped]) == (1, ["REPEATED"] * 5)


def test_versions_follow_size_and_time(tmp_path: Path) -> None:
    path = put(tmp_path, "a.wav", wav(1))
    os.utime(path, ns=(1, 1_000_000_001))
    (first,), _ = listed(path)
    assert (first.bytes, first.version) == (844, "844-1000000001")
    os.utime(path, ns=(1, 1_000_000_002))
    (second,), _ = listed(path)
    assert source_key(first) != source_key(second)


def test_a_file_over_the_limit_and_a_file_that_shrinks(tmp_path: Path) -> None:
    path = put(tmp_path, "a.wav", wav(1, 200_000))
    with pytest.raises(ClipError, match="LIMIT"):
        open_file(path, SourceLimits(max_bytes=1000))

    def read_while_it_shrinks() -> None:
        with open_source(Source(uri=path)) as opened:
            opened.read(10)
            os.truncate(path, 150_000)
            assert len(opened.read()) == 149_990

    with pytest.raises(ClipError, match=r"READ_ERROR.*cut while"):
        read_while_it_shrinks()
    with open_source(Source(uri=path)) as opened:  # what is written on meanwhile is not read
        with open(path, "ab") as more:
            more.write(b"x" * 1000)
        assert len(opened.read()) == 150_000


def test_a_recording_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with open(path, "wb") as file:
        file.truncate(1 << 33)
    with open_source(Source(uri=str(path))) as opened:
        tracemalloc.start()
        try:
            opened.seek(1 << 32)
            assert opened.read(1000) == bytes(1000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert opened.size == 1 << 33
    assert peak < 1 << 20


def test_files_of_the_kernel_whose_size_is_a_lie_are_empty() -> None:
    with open_source(Source(uri="/proc/self/status")) as opened:
        assert opened.read() == b""


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b.d", "[c]", ".f", "._e", "@eaDir"]), max_size=3).map("/".join),
        max_size=6,
        unique=True,
    )
)
def test_every_file_of_a_folder_is_a_source_or_left_out(paths: list[str]) -> None:
    """Nothing is dropped without a word: each file is found, or it or a folder above it is said to be left out."""
    with tempfile.TemporaryDirectory() as folder:
        written = {put(Path(folder) / path, "x.wav", wav(number)) for number, path in enumerate(paths)}
        written |= {put(Path(folder) / path, "y.txt", b"") for path in paths}
        put(Path(folder), "z.wav", wav(0))
        sources, skipped = listed(folder)
        found = {source.uri for source in sources}
        left = {each.uri for each in skipped}
        assert found - {f"{folder}/z.wav"} <= written
        for path in written - found:
            assert any(path == each or path.startswith(f"{each}/") for each in left)
        assert [source.uri for source in sources] == sorted(found)
