from __future__ import annotations

import bz2
import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.dumps.streams import open_dump
from sonogloss.errors import FormatError
from sonogloss.records import CaptionLine, DeadLetter, caption_id
from sonogloss.transforms.caption_formats import FORMATS, caption_format, columns_of
from sonogloss.transforms.read_captions import (
    ReadCaptions,
    ReadCount,
    SourceFile,
    merge_columns,
    normalize,
    read_captions,
    write_dead_letters,
)
from tests.archives import tar


def read(path: Path, **options: Any) -> tuple[list[CaptionLine], list[DeadLetter], ReadCount]:
    items = list(read_captions(SourceFile(uri=str(path), source="s", **options)))
    lines = [item[1] for item in items if isinstance(item, tuple)]
    dead = [item for item in items if isinstance(item, DeadLetter)]
    assert isinstance(items[-1], ReadCount)
    return lines, dead, items[-1]


def texts(lines: list[CaptionLine]) -> list[str]:
    return [line.text for line in lines]


def test_plain_text_is_one_caption_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(
        "\ufeffA dog  barks\r\n\n\tcafe\u0301 noise\nbad \xff".encode("utf-8").replace(b"\xc3\xbf", b"\xff")
    )
    lines, dead, count = read(path)
    assert texts(lines) == ["A dog barks", "caf\u00e9 noise"]
    assert lines[0].id == caption_id("A dog barks")
    assert (count.read, count.empty, count.malformed) == (2, 1, 1)
    assert dead[0].member == "4"
    assert "UTF-8" in dead[0].message


def test_jsonl_keeps_other_columns_and_names_the_bad_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    rows = [
        json.dumps({"caption": "rain", "id": "x1", "seconds": 3, "tags": ["wet"]}),
        "{not json",
        json.dumps({"other": 1}),
        json.dumps(["a list"]),
        json.dumps({"caption": ["one", "two", " "], "seconds": 2.5}),
        json.dumps({"caption": {"deep": 1}}),
    ]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    lines, dead, count = read(path, text_columns=("caption",))
    assert texts(lines) == ["rain", "one", "two"]
    assert dict(lines[0].extra) == {"original_id": "x1", "seconds": 3, "tags": '["wet"]'}
    assert [letter.member for letter in dead] == ["2", "3", "4", "6"]
    assert (count.read, count.empty, count.malformed) == (3, 1, 4)
    assert count.columns == {"original_id": "str", "seconds": "float", "tags": "str"}


def test_csv_and_tsv_know_quotes_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,year,code\n"wind, and\nrain",1999,007\nx,y,z,too many\nsea,2.5,\n')
    lines, dead, _ = read(path)
    assert texts(lines) == ["wind, and rain", "sea"]
    assert [dict(line.extra) for line in lines] == [{"year": 1999, "code": "007"}, {"year": 2.5, "code": ""}]
    assert [letter.member for letter in dead] == ["4"]
    tsv = tmp_path / "a.tsv"
    tsv.write_text("n\ttext\n1\tbirds, many\n")
    assert texts(read(tsv)[0]) == ["birds, many"]


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", None, "b"], "n": [1, 2, 3]}), path)
    lines, dead, count = read(path)
    assert texts(lines) == ["a", "b"]
    assert (count.read, count.malformed) == (2, 1)
    assert dead[0].member == "2"


def test_parquet_whose_columns_have_one_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), path)
    with pytest.raises(ValueError, match="'text' twice"):
        columns_of(str(path), ("text",))


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20) + b"\nfine\n")
    lines, dead, _ = read(path)
    assert texts(lines) == ["fine"]
    assert "longer than" in dead[0].message


def test_kinds_go_by_the_ending() -> None:
    assert caption_format("gs://b/A.JSONL.gz") == "jsonl"
    assert caption_format("x.ndjson") == "ndjson"
    with pytest.raises(FormatError, match=r"notes\.docx"):
        caption_format("notes.docx")


@given(st.text())
def test_normalized_text_is_settled_and_on_one_line(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once
    assert "\n" not in once
    assert once == once.strip()


def test_column_types_widen() -> None:
    assert merge_columns({"a": "int", "b": "int"}, {"a": "float", "b": "str", "c": "int"}) == {
        "a": "float",
        "b": "str",
        "c": "int",
    }


def test_dead_lines_are_kept_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(["oops"] * 12))
    _, dead, _ = read(path)
    name = write_dead_letters(SourceFile(uri=str(path), source="s"), 0, dead, str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / name).to_pylist()
    assert [row["member"] for row in rows] == [str(number) for number in range(1, 13)]
    assert {row["stage"] for row in rows} == {"read_captions"}


# -- every format, and what people's files are made of ----------------------------------------------------------------

# No carriage returns or line feeds in the middle: a plain text cannot hold them, and JSON and csv quote them.
captions = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20).filter(
    # A list is several captions, and in csv NaN can only be written as a word.
    lambda text: not text.lstrip().startswith("[") and text.strip() not in ("nan", "NaN")
)


def write_csv(texts: list[str], path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter=delimiter)
        writer.writerow(["text", "n"])
        writer.writerows([text, str(number)] for number, text in enumerate(texts))


def as_jsonl(texts: list[str]) -> bytes:
    return "".join(json.dumps({"text": text, "n": number}) + "\n" for number, text in enumerate(texts)).encode()


def write_tar(texts: list[str], path: Path) -> None:
    """A WebDataset shard: a recording and its JSON a sample."""
    members = {}
    for number, text in enumerate(texts):
        members[f"{number:05d}.wav"] = b"sound"
        members[f"{number:05d}.json"] = json.dumps({"text": text, "n": number}).encode()
    path.write_bytes(tar(members))


def in_an_object(texts: list[str]) -> bytes:
    return b'{"n": 1, "data": [' + as_jsonl(texts).strip().replace(b"\n", b",") + b"]}"


WRITERS: dict[str, Callable[[list[str], Path], object]] = {
    "a.txt": lambda texts, path: path.write_bytes("\n".join(texts).encode()),
    "a.txt.xz": lambda texts, path: path.write_bytes(lzma.compress("\n".join(texts).encode())),
    "a.jsonl": lambda texts, path: path.write_bytes(as_jsonl(texts)),
    "a.ndjson.bz2": lambda texts, path: path.write_bytes(bz2.compress(as_jsonl(texts))),
    "a.json": lambda texts, path: path.write_text(json.dumps([{"text": t, "n": n} for n, t in enumerate(texts)])),
    "a.json.gz": lambda texts, path: path.write_bytes(gzip.compress(in_an_object(texts))),
    "a.jsonl.zst": lambda texts, path: path.write_bytes(zstandard.ZstdCompressor().compress(as_jsonl(texts))),
    "a.tar": write_tar,
    "a.csv": write_csv,
    "a.tsv": lambda texts, path: write_csv(texts, path, "\t"),
    "a.parquet": lambda texts, path: pq.write_table(pa.table({"text": texts, "n": range(len(texts))}), path),
    "a.pq": lambda texts, path: pq.write_table(pa.table({"text": texts, "n": range(len(texts))}), path),
}


def test_every_ending_is_tried_below() -> None:
    assert {caption_format(name) for name in WRITERS} == set(FORMATS)


@settings(deadline=None, max_examples=40)
@given(texts_=st.lists(captions, min_size=1, max_size=6))
def test_every_format_gives_the_same_captions_and_the_counts_add_up(
    texts_: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = [normal for text in texts_ if (normal := normalize(text))]
    directory = tmp_path_factory.mktemp("captions")
    for name, write in WRITERS.items():
        write(texts_, directory / name)
        lines, dead, count = read(directory / name)
        assert texts(lines) == expected, name
        assert dead == []
        blank_end = name.startswith("a.txt") and not texts_[-1]  # a text's last line is none when it is empty
        assert count.read + count.empty + blank_end == len(texts_)
        assert [line.id for line in lines] == [caption_id(text) for text in expected]
        if not name.startswith("a.txt") and lines:
            assert count.columns == {"n": "int"}
            assert [line.extra["n"] for line in lines] == [n for n, text in enumerate(texts_) if normalize(text)]


@settings(deadline=None, max_examples=200)
@given(content=st.binary(max_size=80), name=st.sampled_from([*WRITERS, "a.jsonl.gz"]))
def test_no_content_ends_in_a_traceback_and_every_bad_line_is_counted(
    content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    path.write_bytes(content)
    lines, dead, count = read(path)
    assert len(lines) == count.read
    assert len(dead) == count.malformed
    word = "Row" if caption_format(name) in ("json", "parquet", "pq", "tar") else "Line"
    assert all(letter.message.startswith(f"{word} {letter.member}: ") for letter in dead)
    assert all(line.text == normalize(line.text) for line in lines)


def test_a_new_format_is_a_reader_and_its_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def subtitles(uri: str, text_columns: tuple[str, ...], part: object) -> Iterator[tuple[int, dict[str, str] | str]]:
        with open_dump(uri) as stream:
            for number, line in enumerate(stream.read(1 << 20).decode().splitlines(), 1):
                time, arrow, text = line.partition(">")
                yield number, {text_columns[0]: text, "time": time} if arrow else "The line has no time."

    monkeypatch.setitem(FORMATS, "sub", subtitles)
    path = tmp_path / "a.sub.gz"
    path.write_bytes(gzip.compress(b"1s>a dog barks\nrain\n2s>wind\n"))
    lines, dead, _ = read(path)
    assert [(line.text, line.extra["time"]) for line in lines] == [("a dog barks", "1s"), ("wind", "2s")]
    assert [letter.message for letter in dead] == ["Line 2: The line has no time."]
    with pytest.raises(FormatError, match=r"\.sub"):
        caption_format("notes.docx")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None), ("a", "a"), (3, 3), (2.5, 2.5), (2**63, str(2**63)), (-(2**63), -(2**63)), (True, "true"),
        ([1, "é"], '[1, "é"]'), ({"a": None}, '{"a": null}'),
    ],
)  # fmt: skip
def test_further_columns_hold_numbers_and_text_and_nested_values_as_json(
    tmp_path: Path, value: object, kept: object
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "rain", "x": value}))
    (line,), _, count = read(path)
    assert line.extra["x"] == kept
    assert count.columns == ({} if kept is None else {"x": type(kept).__name__})


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.sampled_from(["int", "float", "str"])), max_size=5))
def test_columns_merge_to_the_same_types_in_any_order(counts: list[dict[str, str]]) -> None:
    merged: dict[str, str] = {}
    for columns in counts:
        merged = merge_columns(merged, columns)
    order = ["int", "float", "str"]
    for name in {name for columns in counts for name in columns}:
        kinds = [columns[name] for columns in counts if name in columns]
        assert merged[name] == max(kinds, key=order.index)
    backwards: dict[str, str] = {}
    for columns in reversed(counts):
        backwards = merge_columns(columns, backwards)
    assert backwards == merged


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("1", 1), ("-3", -3), ("2.5", 2.5), ("007", "007"), ("1e5", "1e5"), ("1_000", "1_000"), ("nan", "nan"),
        (" 1", " 1"), ("", ""),
    ],
)  # fmt: skip
def test_a_csv_cell_is_a_number_only_where_it_would_be_written_the_same(
    tmp_path: Path, value: str, kept: object
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f'text,x\nrain,"{value}"\n')
    assert read(path)[0][0].extra["x"] == kept


def test_a_file_that_breaks_off_keeps_what_came_before_in_every_compression(tmp_path: Path) -> None:
    lines = [f"caption {number} {number * 7919 % 10007}" for number in range(20_000)]
    for ending, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        path = tmp_path / f"a.txt.{ending}"
        whole = compress("\n".join(lines).encode())
        path.write_bytes(whole[: len(whole) // 2])
        found, dead, count = read(path)
        assert (1000 if ending == "gz" else 0) <= len(found) < len(lines)
        assert texts(found) == lines[: len(found)]
        assert (count.malformed, len(dead)) == (1, 1)
        assert "from here on" in dead[0].message


def test_captions_counts_and_bad_lines_leave_the_job_by_three_ways(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"rain\nbad \xff\nwind")
    (tmp_path / "b.jsonl").write_text('{"text": "rain"}\nbroken\n')
    names = ("a.txt", "b.jsonl")
    sources = [SourceFile(uri=str(tmp_path / name), source=name, number=n) for n, name in enumerate(names)]
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        found = pipeline | beam.Create(sources) | ReadCaptions(str(tmp_path / "out"))
        placed = found.lines | beam.Map(lambda item: (names[item[0][0]], item[0][2], item[1].text))
        counts = found.counts | beam.Map(lambda count: (count.source, count.read, count.malformed))
        expected = [("a.txt", 1, "rain"), ("a.txt", 3, "wind"), ("b.jsonl", 1, "rain")]
        assert_that(placed, equal_to(expected), label="lines")
        assert_that(counts, equal_to([("a.txt", 2, 1), ("b.jsonl", 1, 1)]), label="counts")
        folders = found.dead | beam.Map(lambda name: name.partition("/")[0])
        assert_that(folders, equal_to(["dead_letters"] * 2), label="dead")
    rows = [row for path in (tmp_path / "out").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert sorted((Path(row["uri"]).name, row["member"]) for row in rows) == [("a.txt", "2"), ("b.jsonl", "2")]
