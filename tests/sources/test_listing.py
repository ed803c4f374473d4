"""Listings: how rows name recordings, and what a bad row costs."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import Code, FormatError
from sonogloss.sources import SkipCode, Source, SourceLimits, listing, printable
from sonogloss.sources.carried import LEFT_OUT
from tests.archives import ARCHIVES, contents, listed, parquet_of, put, tar, wav, zipped

ROWS: list[dict[str, Any]] = [
    {"uri": "a.wav", "member": None, "start": None, "end": None, "id": "first", "text": "rain"},
    {"uri": "sub/b.wav", "member": None, "start": 1.5, "end": 3.0, "id": "second", "text": 'a, "quoted" word'},
    {"uri": "s.tar", "member": "x.wav", "start": None, "end": 2.0, "id": "third", "text": "two\nlines"},
]


def written(kind: str, rows: list[dict[str, Any]]) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "parquet":
        return parquet_of(pa.Table.from_pylist(rows))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="," if kind == "csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path, "a.wav", wav(1))
    put(tmp_path, "sub/b.wav", wav(2))
    put(tmp_path, "s.tar", tar({"w.wav": wav(3), "x.wav": wav(4), "x.json": b'{"text": "sidecar", "tag": 1}'}))
    return tmp_path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_every_kind_of_table_says_the_same(kind: str, folder: Path) -> None:
    sources, skipped = listed(put(folder, f"list.{kind}", written(kind, ROWS)))
    assert skipped == []
    assert [(source.uri, source.member, source.start_s, source.end_s, source.id) for source in sources] == [
        (f"{folder}/a.wav", None, None, None, "first"),
        (f"{folder}/sub/b.wav", None, 1.5, 3.0, "second"),
        (f"{folder}/s.tar", "x.wav", None, 2.0, "third"),
    ]
    assert [dict(source.extra) for source in sources] == [
        {"text": "rain"},
        {"text": 'a, "quoted" word'},
        {"text": "two\nlines", "tag": 1},
    ]
    assert [data for _, data in contents(sources)] == [wav(1), wav(2), wav(4)]
    loose, archived = listed(f"{folder}/a.wav", f"{folder}/s.tar")[0][::2]
    assert (sources[0].version, sources[2].version) == (loose.version, archived.version)


def test_a_text_names_a_path_a_line(folder: Path) -> None:
    put(folder, " leading.wav", wav(5))
    put(folder, "#1.wav", wav(6))
    for content in (
        "a.wav\n\n leading.wav\n#1.wav",
        "\ufeffa.wav\r\n\r\n leading.wav\r\n#1.wav\r\n",
        "a.wav\r leading.wav\r#1.wav",
    ):
        sources, skipped = listed(put(folder, "list.txt", content.encode()))
        assert skipped == []
        assert [os.path.basename(source.uri) for source in sources] == ["a.wav", " leading.wav", "#1.wav"]
    assert len(listed(put(folder, "list.txt", "a.wav\nsub/b.wav\n".encode("utf-16")))[0]) == 2


def test_a_name_in_another_form_of_unicode_is_found_and_an_equal_one_comes_first(folder: Path) -> None:
    nfc, nfd = "\u00e9.wav", "e\u0301.wav"  # macOS writes the second
    put(folder, nfd, wav(5))
    put(folder, "mac.zip", zipped({nfd: wav(6), "./b.wav": wav(7)}))
    rows = [{"uri": nfc}, *({"uri": "mac.zip", "member": name} for name in (nfc, "b.wav", "c.wav"))]
    sources, skipped = listed(put(folder, "list.jsonl", written("jsonl", rows)))
    assert [(os.path.basename(source.uri), source.member) for source in sources] == [
        (nfd, None),
        ("mac.zip", nfd),
        ("mac.zip", "./b.wav"),
    ]
    assert [each.member for each in skipped] == ["c.wav"]
    put(folder, nfc, wav(8))
    put(folder, "mac.zip", zipped({nfd: wav(6), nfc: wav(9)}))
    sources, _ = listed(put(folder, "list.jsonl", written("jsonl", rows[:2])))
    assert [data for _, data in contents(sources)] == [wav(8), wav(9)]


def test_whole_numbers_that_became_floats_are_whole_again(folder: Path) -> None:
    """As in a column with a gap."""
    rows = [{"uri": "a.wav", "start": second, "id": id_} for second, id_ in ((0.0, 7.0), (0.01, float("nan")))]
    for kind in ("jsonl", "parquet"):
        sources, skipped = listed(put(folder, f"list.{kind}", written(kind, rows)))
        assert (skipped, [source.id for source in sources]) == ([], ["7", None])


ODD = [
    "rec::1.wav",
    "take [1]*.wav",
    "50% #3 ?.wav",
    "-dash.wav",
    "~tilde.wav",
    "simplecache::x.wav",
    "http:x.wav",
    "a\nb.wav",
    "caf\udce9.wav",
    "back\\slash.wav",
]


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_a_name_in_a_listing_is_only_a_name(name: str, folder: Path) -> None:
    put(folder, name, wav(7))
    listings = {"list.jsonl": json.dumps({"uri": name}).encode(), "list.csv": os.fsencode(f'uri\n"{name}"\n')}
    if "\n" not in name:
        listings["list.txt"] = os.fsencode(name)
    for path, content in listings.items():
        sources, skipped = listed(put(folder, path, content))
        assert skipped == []
        assert [source.uri for source in sources] == [f"{folder}/{name}"]
        assert [data for _, data in contents(sources)] == [wav(7)]


def test_a_name_that_was_made_printable_is_found_again(folder: Path) -> None:
    """Parquet cannot hold a name that is not UTF-8; a dead letter holds what can be printed."""
    name = "caf\udce9 \\x41.wav"
    put(folder, name, wav(7))
    table = pa.table({"uri": [printable(f"{folder}/{name}")]})
    sources, skipped = listed(put(folder, "list.parquet", parquet_of(table)))
    assert skipped == []
    assert [source.uri for source in sources] == [f"{folder}/{name}"]


def test_members_whose_names_are_not_utf8_are_found_by_their_text(folder: Path) -> None:
    put(folder, "n.tar", tar({"caf\udce9.wav": wav(6)}))
    table = pa.table({"uri": ["n.tar"], "member": [printable("caf\udce9.wav")]})
    (source,), skipped = listed(put(folder, "list.parquet", parquet_of(table)))
    assert (source.member, skipped) == ("caf\udce9.wav", [])


def test_what_no_file_takes_is_replaced_in_what_is_carried(folder: Path) -> None:
    put(folder, "t.tar", tar({"a.wav": wav(1), "a.json": b'{"text": ["half \\ud83d", {"\\udc00": 1}]}'}))
    sources, _ = listed(put(folder, "list.csv", b"uri,text\na.wav,caf\xe9\n"), f"{folder}/t.tar")
    assert [source.extra["text"] for source in sources] == ["caf\ufffd", ["half \ufffd", {"\ufffd": 1}]]


def test_absolute_paths_urls_and_paths_that_lead_up(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/listing/rec::1.wav", wav(8))
    memory.pipe(
        "/listing/sub/list.csv", b"uri\n../rec::1.wav\nmemory:///listing/rec::1.wav\n" + f"{folder}/a.wav\n".encode()
    )
    rows = (
        f"uri\n{folder}/a.wav\nfile://{folder}/sub/../sub/b.wav\nmemory:///listing/rec::1.wav\n../{folder.name}/s.tar\n"
    )
    sources, skipped = listed(put(folder, "list.csv", rows.encode()))
    assert skipped == []
    assert [source.uri for source in sources] == [
        f"{folder}/a.wav",
        f"{folder}/sub/b.wav",
        "memory:///listing/rec::1.wav",
        f"{folder}/s.tar",
        f"{folder}/s.tar",
    ]
    assert [data for _, data in contents(sources)] == [wav(1), wav(2), wav(8), wav(3), wav(4)]
    remote, skipped = listed("memory://listing/sub/list.csv")
    assert [found.code for found in skipped] == [SkipCode.REPEATED]
    assert [data for _, data in contents(remote)] == [wav(8), wav(1)]


def test_a_row_that_names_an_archive_stands_for_its_members(folder: Path) -> None:
    put(folder, "z.zip", zipped({"y.wav": wav(9)}))
    sources, skipped = listed(put(folder, "list.csv", b"uri,split,start\ns.tar,train,\nz.zip,test,\nz.zip,test,1\n"))
    assert [(source.member, source.extra["split"]) for source in sources] == [
        ("w.wav", "train"),
        ("x.wav", "train"),
        ("y.wav", "test"),
    ]
    assert [found.code for found in skipped] == [Code.BAD_ROW]


def test_what_a_row_names_and_is_not_there(folder: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    put(folder, "cut.tar", tar({"a.wav": wav(1), "b.wav": wav(2)})[:2000])
    put(folder, "list2.txt", b"a.wav\n")
    rows = "gone.wav, pipe.wav, sub, list2.txt, s.tar,gone.wav a.wav,x.wav gone.tar,x.wav cut.tar,b.wav cut.tar,a.wav"
    rows = "uri,member\n" + rows.replace(", ", ",\n").replace(" ", "\n") + "\n"
    sources, skipped = listed(put(folder, "list.csv", rows.encode()))
    assert [source.member for source in sources] == ["a.wav"]
    assert [(os.path.basename(found.uri), found.member, str(found.code)) for found in skipped] == [
        ("gone.wav", None, "READ_ERROR"),
        ("pipe.wav", None, "NOT_A_FILE"),
        ("sub", None, "NOT_A_FILE"),
        ("list2.txt", None, "NESTED"),
        ("s.tar", "gone.wav", "READ_ERROR"),
        ("a.wav", "x.wav", "READ_ERROR"),
        ("gone.tar", "x.wav", "READ_ERROR"),
        ("cut.tar", "b.wav", "ARCHIVE_CORRUPT"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"uri": ""},
        {"uri": None},
        {"text": "no uri"},
        {"uri": ["a.wav"]},
        {"uri": True},
        {"uri": "a.wav", "start": "soon"},
        {"uri": "a.wav", "start": -1},
        {"uri": "a.wav", "start": True},
        {"uri": "a.wav", "end": float("nan")},
        {"uri": "a.wav", "start": 2, "end": 2},
        {"uri": "half an emoji \ud83d.wav"},
        {"uri": "a.wav", "member": 1.5},
        [1],
        "not JSON",
    ],
    ids=repr,
)
def test_a_bad_row_is_one_failure_with_its_line(row: Mapping[str, Any], folder: Path) -> None:
    line = row if isinstance(row, str) else json.dumps(row)
    sources, skipped = listed(
        put(folder, "list.jsonl", f'{{"uri": "a.wav"}}\n{line}\n{{"uri": "sub/b.wav"}}\n'.encode())
    )
    assert [os.path.basename(source.uri) for source in sources] == ["a.wav", "b.wav"]
    assert [(found.code, found.reason.startswith("Line 2: ")) for found in skipped] == [(Code.BAD_ROW, True)]


def test_a_long_uri_in_parquet_is_still_the_uri(folder: Path) -> None:
    """Signed URLs are longer than what is carried along."""
    uri = "./" * 1500 + "a.wav"
    (source,), _ = listed(put(folder, "list.parquet", parquet_of(pa.table({"uri": [uri] * 40}))))
    assert source.uri == f"{folder}/a.wav"


def test_rows_of_our_own_results_are_a_listing(folder: Path) -> None:
    """Ranges are called start_s and end_s there."""
    table = pa.table({"uri": [f"{folder}/a.wav"], "start_s": [10.0], "end_s": [20.0], "clip_id": ["c"]})
    sources, _ = listed(put(folder, "part-0.parquet", parquet_of(table)))
    assert [(source.start_s, source.end_s, source.extra) for source in sources] == [(10.0, 20.0, {"clip_id": "c"})]


def test_a_quote_that_never_closes_costs_its_line(folder: Path) -> None:
    rows = 'uri,text\na.wav,"open\nsub/b.wav,fine\n' + "".join(f"{number}.wav,x\n" for number in range(200))
    for number in range(200):
        put(folder, f"{number}.wav", wav(number))
    sources, skipped = listed(put(folder, "list.csv", rows.encode()))
    assert len(sources) == 201
    assert [(found.code, found.reason[:7]) for found in skipped] == [(Code.BAD_ROW, "Line 2:")]
    sources, skipped = listed(put(folder, "list.csv", b'uri,text\na.wav,x,y\nsub/b.wav,"x"y\na.wav,ok'))
    assert ([source.extra for source in sources], len(skipped)) == ([{"text": "ok"}], 2)


def test_inches_in_a_tsv_are_no_quotes(folder: Path) -> None:
    sources, skipped = listed(put(folder, "list.tsv", b'uri\ttext\na.wav\t"12 tape\nsub/b.wav\t7" disc\n'))
    assert skipped == []
    assert [source.extra["text"] for source in sources] == ['"12 tape', '7" disc']


def test_a_line_without_end_takes_no_memory(folder: Path) -> None:
    for name, rest in (("list.txt", b""), ("list.jsonl", b""), ("list.csv", b"uri\n")):
        good = {"list.txt": b"a.wav", "list.jsonl": b'{"uri": "a.wav"}', "list.csv": b"a.wav"}[name]
        sources, skipped = listed(
            put(folder, name, rest + good + b"\n" + b"x" * (3 << 20) + b"\n" + good.replace(b"a.w", b"sub/b.w") + b"\n")
        )
        assert [os.path.basename(source.uri) for source in sources] == ["a.wav", "b.wav"]
        assert [found.code for found in skipped] == [Code.BAD_ROW]


def test_a_repeated_row_is_counted_and_a_range_is_no_repetition(folder: Path) -> None:
    rows = b"uri,start,end\na.wav,0,1\na.wav,1,2\na.wav,,\na.wav,0,1\n"
    sources, skipped = listed(put(folder, "list.csv", rows))
    assert len(sources) == 3
    assert [found.code for found in skipped] == [SkipCode.REPEATED]


def test_large_cells_are_not_carried(folder: Path) -> None:
    row = {"uri": "a.wav", "text": "x" * 100, "list": ["y" * 100], "ok": 1}
    path = put(folder, "list.jsonl", json.dumps(row).encode())
    (source,), _ = listed(path, limits=SourceLimits(max_extra_bytes=50))
    assert source.extra == {"ok": 1, LEFT_OUT: ["list", "text"]}


@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_a_table_without_uri_is_refused_at_once_when_it_is_named(name: str, folder: Path) -> None:
    path = put(folder, name, b"filename\tclass\na.wav\tdog\n")
    with pytest.raises(FormatError, match=r"has no column uri \(columns: filename"):
        listed(path)
    sources, skipped = listed(f"{folder}/*.{name[-3:]}")
    assert sources == []
    assert [found.code for found in skipped] == [SkipCode.NOT_AUDIO]


def test_a_listing_is_followed_only_where_it_is_named(folder: Path) -> None:
    put(folder, "list.csv", b"uri\nsub/b.wav\n")
    put(folder, "list.parquet", parquet_of(pa.table({"uri": ["sub/b.wav"]})))
    put(folder, "sound.txt", wav(9))

    def found(pattern: str) -> list[str]:
        return [os.path.relpath(source.uri, folder) for source in listed(f"{folder}/{pattern}")[0]]

    assert found("*.csv") == ["sub/b.wav"]
    assert found("*.parquet") == ["sub/b.wav"]
    assert found("list.*") == []
    assert found("sound.txt") == ["sound.txt"]  # its content is sound, whatever it is called
    assert sorted(found("")) == ["a.wav", "s.tar", "s.tar", "sub/b.wav"]


def test_an_archive_that_many_rows_name_is_listed_once_for_all_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {f"{number}.wav": wav(number) for number in range(50)}
    for name in ("m.tar.gz", "m.parquet"):
        kind = "a.tar.gz" if name.endswith("gz") else "a.parquet"
        put(folder, name, ARCHIVES[kind](members))
    calls = []
    original = listing._members
    monkeypatch.setattr(listing, "_members", lambda *arguments: calls.append(1) or original(*arguments))
    rows = "".join(f"m.tar.gz,{number}.wav\nm.parquet,{number}.wav\n" for number in reversed(range(50)))
    sources, skipped = listed(put(folder, "list.csv", f"uri,member\n{rows}".encode()))
    assert (len(sources), skipped, len(calls)) == (100, [], 2)
    by_archive = sorted(sources, key=lambda source: source.uri)
    assert all(data == members[str(source.member)] for source, data in contents(by_archive))


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1, max_size=20).filter(
            lambda name: name not in (".", "..") and len(name.encode()) < 200
        ),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    kind=st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_any_name_that_a_disk_takes_can_stand_in_a_listing(names: list[str], kind: str) -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where) / "d"
        for number, name in enumerate(names):
            put(folder, name, wav(number))
        rows = [{"uri": name, "n": number} for number, name in enumerate(names)]
        if kind == "csv" and any("\r" in name for name in names):
            kind = "jsonl"
        sources, skipped = listed(
            put(Path(where), f"list.{kind}", written(kind, [{**row, "uri": f"d/{row['uri']}"} for row in rows]))
        )
        assert skipped == []
        assert [source.uri for source in sources] == [f"{folder}/{name}" for name in names]


def test_a_listing_as_a_source_gives_no_sound(folder: Path) -> None:
    source = Source(uri=put(folder, "list.txt", b"a.wav"), member="a.wav")
    assert [data for _, data in contents([source])] == ["READ_ERROR"]


@pytest.mark.parametrize("heading", ["uri,uri", "uri,start,start", "uri,note,note"])
def test_a_heading_that_names_a_column_twice_is_refused(folder: Path, heading: str) -> None:
    row = ",".join(["a.wav"] * len(heading.split(",")))
    with pytest.raises(FormatError, match="two columns"):
        listed(put(folder, "list.csv", f"{heading}\n{row}\n".encode()))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_row_that_gives_bytes_and_version_is_believed(
    kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the numbers of the file system the recording is the one that a look finds; nobody looks."""
    found = (folder / "a.wav").stat()
    rows = [{"uri": "a.wav", "bytes": found.st_size, "version": str(found.st_mtime_ns), "text": "rain"}]
    rows += [{"uri": "memory://b/there.wav", "bytes": 7, "version": "1764", "text": "wind"}]
    path = put(folder, f"told.{kind}", written(kind, rows))
    (looked,) = listed(f"{folder}/a.wav")[0]
    monkeypatch.setattr(listing, "look", lambda uri: pytest.fail(f"looked at {uri}"))
    here, there = listed(path)[0]
    assert here == replace(looked, extra={"text": "rain"})
    told = Source(uri="memory://b/there.wav", bytes=7, version="7-1764", container="file", extra={"text": "wind"})
    assert replace(there, uri=told.uri) == told
    assert there.uri == fsspec.filesystem("memory").unstrip_protocol("/b/there.wav")


@pytest.mark.parametrize(
    "cells", [{"bytes": "many", "version": "1"}, {"bytes": 5}, {"version": 2}, {"bytes": 5, "version": True}]
)
def test_one_of_bytes_and_version_is_a_column_like_others(cells: dict[str, Any], folder: Path) -> None:
    (source,) = listed(put(folder, "half.jsonl", written("jsonl", [{"uri": "a.wav", **cells}])))[0]
    assert source.bytes == (folder / "a.wav").stat().st_size
    assert source.extra == cells
