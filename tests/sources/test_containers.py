"""What holds for every container: the same members give the same sources and the same bytes."""

from __future__ import annotations

import pickle
import random
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import ClipError, Code
from sonogloss.sources import Skipped, Source, list_sources, open_members, open_source, source_key
from sonogloss.sources.registry import CONTAINERS, container
from tests.archives import ARCHIVES, Members, contents, listed, parquet, put, tar, wav, zipped

MEMBERS = {f"set/{number}.wav": wav(number, 300 + number) for number in range(7)}
GROWING = {name: build for name, build in ARCHIVES.items() if name != "a.parquet"}

Build = Callable[[Members], bytes]


@pytest.mark.parametrize(("name", "build"), ARCHIVES.items(), ids=ARCHIVES)
def test_every_container_gives_the_members_in_order_with_their_bytes(name: str, build: Build, tmp_path: Path) -> None:
    path = put(tmp_path, name, build(MEMBERS))
    sources, skipped = listed(path)
    assert skipped == []
    assert [source.member for source in sources] == list(MEMBERS)
    assert {source.uri for source in sources} == {path}
    assert {source.member: data for source, data in contents(sources)} == MEMBERS


@pytest.mark.parametrize(("name", "build"), ARCHIVES.items(), ids=ARCHIVES)
def test_a_handle_is_seekable_and_knows_its_size(name: str, build: Build, tmp_path: Path) -> None:
    sources, _ = listed(put(tmp_path, name, build(MEMBERS)))
    source = pickle.loads(pickle.dumps(sources[4]))
    expected = MEMBERS["set/4.wav"]
    with open_source(source) as opened:
        assert opened.size == len(expected)
        assert opened.seek(0, 2) == len(expected)
        assert opened.read() == b""
        opened.seek(40)
        assert opened.read(10) == expected[40:50]
        assert opened.tell() == 50
        opened.seek(-4, 2)
        assert opened.read(100) == expected[-4:]
        opened.seek(len(expected) + 1000)
        assert opened.read(1) == b""


@pytest.mark.parametrize(("name", "build"), ARCHIVES.items(), ids=ARCHIVES)
def test_a_member_is_found_by_its_name_alone(name: str, build: Build, tmp_path: Path) -> None:
    """A dead letter holds no more than that."""
    path = put(tmp_path, name, build(MEMBERS))
    asked = [
        Source(uri=path, member="set/5.wav"),
        Source(uri=path, member="set/1.wav"),
        Source(uri=path, member="nowhere.wav"),
        Source(uri=path, member="set/1.wav", start_s=1.0, end_s=2.0),
    ]
    found = {(source.member, source.start_s): data for source, data in contents(asked)}
    assert found == {
        ("set/5.wav", None): MEMBERS["set/5.wav"],
        ("set/1.wav", None): MEMBERS["set/1.wav"],
        ("set/1.wav", 1.0): MEMBERS["set/1.wav"],
        ("nowhere.wav", None): "READ_ERROR",
    }


@pytest.mark.parametrize(("name", "build"), GROWING.items(), ids=GROWING)
def test_an_archive_that_grew_keeps_the_keys_of_its_old_members(name: str, build: Build, tmp_path: Path) -> None:
    before = {source.member: source_key(source) for source in listed(put(tmp_path, name, build(MEMBERS)))[0]}
    grown = {"set/00.wav": wav(99), **MEMBERS, "set/9.wav": wav(98)}
    grown["set/3.wav"] = wav(97, 303)  # as long as before
    after = {source.member: source_key(source) for source in listed(put(tmp_path, name, build(grown)))[0]}
    changed = {member for member in after if after[member] != before.get(member)}
    assert changed == {"set/00.wav", "set/9.wav", "set/3.wav"}


def test_parquet_that_changed_has_new_keys(tmp_path: Path) -> None:
    before = [source_key(source) for source in listed(put(tmp_path, "a.parquet", parquet(MEMBERS)))[0]]
    after = [source_key(source) for source in listed(put(tmp_path, "a.parquet", parquet(MEMBERS, n=list(range(7)))))[0]]
    assert len(before) == len(after) == 7
    assert not set(before) & set(after)


def test_everything_in_one_run(tmp_path: Path) -> None:
    loose = put(tmp_path, "loose/a.wav", wav(0))
    paths = [put(tmp_path, name, build(MEMBERS)) for name, build in ARCHIVES.items()]
    listing = put(tmp_path, "list.txt", b"loose/b.wav\na.tar\n")
    put(tmp_path, "loose/b.wav", wav(1))
    sources, skipped = listed(loose, str(tmp_path / "loose" / "*.wav"), *paths, listing)
    assert len(sources) == 2 + 7 * len(paths)
    assert {found.code for found in skipped} == {"REPEATED"}
    assert len(skipped) == 2 + 7  # a.wav by the glob, b.wav and a.tar by the listing
    whole = list(contents(sources))
    assert all(data == MEMBERS[source.member] for source, data in whole if source.member)
    assert [data for source, data in whole if not source.member] == [wav(0), wav(1)]


def test_a_folder_of_archives(tmp_path: Path) -> None:
    for name, build in ARCHIVES.items():
        put(tmp_path, f"sub/{name}", build(MEMBERS))
    put(tmp_path, "no_ending", wav(5))
    put(tmp_path, "tar_without_ending", tar(MEMBERS))
    put(tmp_path, "sound.wav.zip", wav(6))
    sources, skipped = listed(str(tmp_path))
    assert skipped == []
    assert len(sources) == 7 * (len(ARCHIVES) + 1) + 2


def test_an_archive_in_an_archive_is_not_opened(tmp_path: Path) -> None:
    inner = zipped(MEMBERS)
    members = {
        "a.wav": wav(1),
        "b.zip": inner,
        "c.tar.gz": b"",
        "blob": inner,
        "d.7z": b"",
        "e.parquet": parquet(MEMBERS),
    }
    for name in ("a.tar", "deflated.zip", "a.tar.zst"):
        sources, skipped = listed(put(tmp_path, name, ARCHIVES[name](members)))
        assert [source.member for source in sources] == ["a.wav"]
        assert {found.member: str(found.code) for found in skipped} == dict.fromkeys(list(members)[1:], "NESTED")


@pytest.mark.parametrize("name", ["a.tar", "a.tar.zst", "deflated.zip", "a.parquet"])
def test_memory_does_not_grow_with_the_members(name: str, tmp_path: Path) -> None:
    """Twenty thousand headers, as Python objects, would take twenty megabytes."""
    path = put(tmp_path, name, ARCHIVES[name]({f"clips/{number:08d}.wav": b"RIFF" for number in range(20_000)}))
    container("parquet")
    first = next(iter(list_sources([path])))
    assert isinstance(first, Source)
    tracemalloc.start()
    try:
        count = sum(isinstance(found, Source) for found in list_sources([path]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 6 << 20


@settings(max_examples=30, deadline=None)
@given(
    members=st.dictionaries(
        st.text("abcé .-:[]*☂", min_size=1, max_size=12).map(lambda name: f"x{name}.wav"),
        st.binary(max_size=3000),
        max_size=5,
    ),
    kind=st.sampled_from(sorted(ARCHIVES)),
)
def test_whatever_the_members_are_their_bytes_come_back(members: dict[str, bytes], kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources, skipped = listed(put(Path(folder), kind, ARCHIVES[kind](members)))
        assert skipped == []
        assert {source.member: data for source, data in contents(sources)} == members


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 1 << 32), kind=st.sampled_from(sorted(ARCHIVES)))
def test_whatever_is_overwritten_nothing_but_words_comes_out(seed: int, kind: str) -> None:
    """Damage costs members, never the job, and what is given without an error has the size that was announced."""
    chance = random.Random(seed)
    content = bytearray(ARCHIVES[kind](MEMBERS))
    for _ in range(chance.randint(1, 8)):
        start = chance.randrange(len(content))
        content[start : start + chance.randint(1, 40)] = chance.randbytes(chance.randint(1, 40))
    with tempfile.TemporaryDirectory() as folder:
        path = put(Path(folder), kind, bytes(content))
        found = list(list_sources([path]))
        assert all(isinstance(each, Source | Skipped) for each in found)
        for source, opened in open_members(each for each in found if isinstance(each, Source)):
            if isinstance(opened, ClipError):
                continue
            assert len(opened.read()) == opened.size or opened.problem is not None
            assert source.container != "zip" or opened.size == source.bytes


def test_a_kind_that_nobody_knows_is_answered_in_one_sentence() -> None:
    with pytest.raises(Exception, match=r"no kind of container 'rar'\. Choose one of file, tar, zip, parquet, listing"):
        container("rar")


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_archive_that_is_gone_costs_its_sources_only(name: str, tmp_path: Path) -> None:
    gone = [Source(uri=str(tmp_path / "gone"), member=str(number), container=name, place=(0,)) for number in range(2)]
    here = Source(uri=put(tmp_path, "a.wav", wav(0)))
    found = [(source.uri, data) for source, data in contents([*gone, here])]
    assert found == [(gone[0].uri, "READ_ERROR")] * 2 + [(here.uri, wav(0))]


def test_a_container_is_one_module_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container of somebody else: recordings one after another, each behind its length."""
    module = """
from sonogloss.sources import Opened, Source
from sonogloss.sources.places import open_file
from sonogloss.sources.handles import Window
ENDINGS = (".rows",)
def recognizes(head, handle):
    return head.startswith(b"ROWS")
def list_members(entry, limits):
    with open_file(entry.uri) as handle:
        at = 4
        while True:
            handle.seek(at)
            if not (length := handle.read(1)):
                return
            yield Source(uri=entry.uri, member=str(at), bytes=length[0], container="rows", place=(at + 1,))
            at += 1 + length[0]
def open_members(uri, sources, limits):
    with open_file(uri) as handle:
        for source in sources:
            yield source, Opened(Window(handle, source.place[0], source.bytes))
"""
    (tmp_path / "rows_container.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(CONTAINERS, "rows", "rows_container")
    path = put(tmp_path, "x.rows", b"ROWS\x03abc\x02de")
    sources, skipped = listed(path)
    assert skipped == []
    assert [data for _, data in contents(sources)] == [b"abc", b"de"]
    nested, refused = listed(put(tmp_path, "a.tar", tar({"x.rows": b"ROWS"})))
    assert nested == []
    assert [found.code for found in refused] == ["NESTED"]


def test_codes_of_dead_letters_are_failures_and_others_are_not() -> None:
    assert Skipped(uri="a", reason="", code=Code.ARCHIVE_CORRUPT).failed
    found = [each for each in Code if not Skipped(uri="a", reason="", code=each).failed]
    assert found == []
