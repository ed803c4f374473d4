from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.errors import FormatError
from sonogloss.records import CaptionLine, DeadLetter, caption_id
from sonogloss.transforms.caption_formats import caption_format
from sonogloss.transforms.read_captions import (
    ReadCount,
    SourceFile,
    check_source_file,
    merge_columns,
    normalize,
    read_captions,
    write_dead_lines,
)


def read(path: Path, **options: str) -> tuple[list[CaptionLine], list[DeadLetter], ReadCount]:
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
    lines, dead, count = read(path, text_column="caption")
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


def test_a_cut_gzip_costs_its_tail_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    whole = gzip.compress("\n".join(f"caption {n} {n * 7919}" for n in range(20000)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    lines, dead, _ = read(path)
    assert len(lines) > 1000
    assert len(dead) == 1
    assert "from here on" in dead[0].message


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20) + b"\nfine\n")
    lines, dead, _ = read(path)
    assert texts(lines) == ["fine"]
    assert "longer than" in dead[0].message


def test_the_head_of_a_source_file_shows_a_wrong_text_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("caption,year\nx,1\n")
    with pytest.raises(FormatError, match="caption, year"):
        check_source_file(SourceFile(uri=str(path), source="s"))
    check_source_file(SourceFile(uri=str(path), source="s", text_column="caption"))


@pytest.mark.parametrize(("name", "content"), [("a.parquet", b"no parquet"), ("a.txt.gz", b"no gzip")])
def test_the_head_of_a_source_file_shows_a_wrong_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FormatError, match="cannot be read"):
        check_source_file(SourceFile(uri=str(path), source="s"))


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
    name = write_dead_lines((str(path), reversed(dead)), output=str(tmp_path / "out"))
    rows = pq.read_table(tmp_path / "out" / name).to_pylist()
    assert [row["member"] for row in rows] == [str(number) for number in range(1, 13)]
    assert {row["stage"] for row in rows} == {"read_captions"}
