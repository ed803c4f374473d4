"""Tables: every format gives the same rows, and what breaks a rule is named with its line."""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import io
import json
import lzma
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import FormatError, InputError, MissingInputError, OptionError
from sonogloss.tables import Table, cell_values, read_names, read_table

COLUMNS = ("file_name", "label")


def read(path: Path, content: str | bytes) -> Table:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(str(path), option="--references")


def rows_of(table: Table) -> list[dict[str, Any]]:
    return [row for _, row in table.rows]


def as_delimited(rows: list[dict[str, str]], delimiter: str, newline: str) -> bytes:
    target = io.StringIO()
    writer = csv.DictWriter(target, COLUMNS, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return target.getvalue().encode()


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), target)
    return target.getvalue()


ENCODE: dict[str, Callable[[list[dict[str, str]]], bytes]] = {
    "rows.csv": lambda rows: as_delimited(rows, ",", "\n"),
    "windows.CSV": lambda rows: b"\xef\xbb\xbf" + as_delimited(rows, ",", "\r\n"),
    "rows.tsv": lambda rows: as_delimited(rows, "\t", "\n"),
    "rows.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "plain.json": lambda rows: b"\xef\xbb\xbf" + json.dumps(rows, ensure_ascii=False).encode(),
    "rows.jsonl": lambda rows: "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode(),
    "rows.ndjson": lambda rows: "\r\n\r\n".join(json.dumps(row) for row in rows).encode(),
    "rows.parquet": as_parquet,
    "rows.pq": as_parquet,
    "rows.csv.gz": lambda rows: gzip.compress(as_delimited(rows, ",", "\n")),
    "rows.tsv.bz2": lambda rows: bz2.compress(as_delimited(rows, "\t", "\n")),
    "rows.jsonl.xz": lambda rows: lzma.compress("\n".join(map(json.dumps, rows)).encode()),
    "rows.parquet.gz": lambda rows: gzip.compress(as_parquet(rows)),
}

# What people type, and what breaks readers that split lines themselves: quotes, delimiters, line separators, blanks.
words = st.text(
    st.sampled_from("aé\"',;\t\n\u2028 [{0") | st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])
)
table_rows = st.tuples(st.text("abc./-é", min_size=1, max_size=8), words).map(
    lambda cells: dict(zip(COLUMNS, cells, strict=True))
)


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(table_rows, min_size=1, max_size=5))
def test_every_format_gives_the_same_rows(rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("tables")
    for name, encode in ENCODE.items():
        table = read(directory / name, encode(rows))
        assert rows_of(table) == rows, name
        assert table.columns == COLUMNS
        assert table.name == f"--references {str(directory / name)!r}"
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.csv", "\n\nx,y\n1,2\n\n\"3\n4\",5\n6,7\n", ["line 4", "line 7", "line 8"]),
        ("a.jsonl", '\n{"x": 1}\n\n{"x": 2}\n', ["line 2", "line 4"]),
        ("a.json", '[{"x": 1},\n{"x": 2}]', ["row 1", "row 2"]),
    ],
)  # fmt: skip
def test_rows_know_where_they_stand(tmp_path: Path, name: str, content: str, places: list[str]) -> None:
    table = read(tmp_path / name, content)
    assert [place for place, _ in table.rows] == places
    assert str(table.wrong(places[-1], "no x")).endswith(f"{name}', {places[-1]}: no x. Correct the row.")


def test_objects_may_lack_keys_and_columns_are_those_of_all(tmp_path: Path) -> None:
    table = read(tmp_path / "a.jsonl", '{"x": 1}\n{"y": [1, 2], "x": null}\n')
    assert table.columns == ("x", "y")
    assert rows_of(table) == [{"x": 1}, {"y": [1, 2], "x": None}]


def test_a_heading_may_be_spaced(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path / "a.csv", 'x , y\n1, "a, b"\n')) == [{"x": "1", "y": "a, b"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "x,y\n1,2\n3\n", "line 3: 1 cells where the heading has 2"),
        ("a.csv", "x,y\n1,2\n3,4,5\n", "line 3: 3 cells where the heading has 2"),
        ("a.tsv", "x\ty\n1,2\n", "line 2: 1 cells"),
        ("a.csv", "x,y,x\n1,2,3\n", "two columns 'x'"),
        ("a.csv", "x,y\n1,2\n3,caf\xe9\n".encode("latin-1"), "line 3: not UTF-8"),
        ("a.csv", "x,y\n1,2\n".encode("utf-16"), "line 1: not UTF-8 .it is UTF-16"),
        ("a.csv", 'x,y\n1,2\n3,"open\n', "line 3: unexpected end of data"),
        ("a.csv", 'x,y\n1,"a" b\n', "line 2: ',' expected after '\"'"),
        ("a.csv", "x,y\n", "holds no rows"),
        ("a.csv", "", "holds no rows"),
        ("a.csv", "\n  \n", "holds no rows"),
        ("a.jsonl", "", "holds no rows"),
        ("a.json", "[]", "holds no rows"),
        ("a.jsonl", '{"x": 1}\n{"x": \n', "line 2: not JSON"),
        ("a.jsonl", '{"x": 1}\n[1]\n', "line 2: JSON, but not an object"),
        ("a.jsonl", '{"x": 1, "x": 2}\n', "line 1: an object names a key twice"),
        ("a.json", '[{"x": 1},\n{"x" 2}]', "line 2: not JSON"),
        ("a.json", '[{"x": 1}, 2]', "row 2: JSON, but not an object"),
        ("a.json", "[" * 100_000, "not JSON|recursion"),
        ("a.parquet", "x,y\n1,2\n", "is not Parquet"),
        ("a.csv.gz", "x,y\n1,2\n", "cannot be read"),
        ("a.csv.xz", "x,y\n1,2\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"x,y\n" + b"1,2\n" * 999)[:-9], "cannot be read"),
        ("a.txt", "x\n", "not a kind of table.*csv, .tsv, .json"),
        ("a", "x\n", "not a kind of table"),
    ],
)
def test_what_breaks_a_rule_is_one_sentence_with_file_and_line(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    with pytest.raises(FormatError, match=words) as caught:
        read(tmp_path / name, content)
    assert caught.value.what.startswith(f"--references {str(tmp_path / name)!r}")
    assert "\n" not in str(caught.value)
    assert caught.value.remedy


def test_two_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(FormatError, match=r"two columns 'x'"):
        read_table(str(tmp_path / "a.parquet"), option="--references")


def test_a_path_that_is_no_file_is_named_with_its_option(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(MissingInputError, match=r"--labels .* is not a file"):
            read_table(str(path), option="--labels")
    with pytest.raises(OptionError, match="nosuch"):
        read_table("nosuch://bucket/a.csv", option="--labels")


@settings(deadline=None, max_examples=300)
@given(content=st.binary(max_size=60), name=st.sampled_from(sorted(ENCODE)))
def test_no_content_ends_in_a_traceback(content: bytes, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    with contextlib.suppress(FormatError):
        table = read(path, content)
        assert table.rows
        assert all(set(row) <= set(table.columns) for _, row in table.rows)


def test_a_missing_column_is_answered_with_those_there_are(tmp_path: Path) -> None:
    table = read(tmp_path / "a.csv", "x,y\n1,2\n")
    assert table.find(["z", "y", "x"]) == "y"
    assert table.find(["z"]) is None
    assert table.require("z", "x") == "x"
    with pytest.raises(FormatError, match=r"no column label or class \(columns: x, y\)\. Give it a column label\."):
        table.require("label", "class")


@pytest.mark.parametrize(
    ("row", "values"),
    [
        ({"many": ["a", "b"]}, ["a", "b"]),
        ({"many": '["a", "b"]'}, ["a", "b"]),
        ({"many": " ['a', \"b's\"]"}, ["a", "b's"]),
        ({"many": "[rain] falls"}, ["[rain] falls"]),
        ({"many": "a"}, ["a"]),
        ({"one": "a"}, ["a"]),
        ({"one": '["a", "b"]'}, ['["a", "b"]']),
        ({"many": None, "one": "a"}, [None]),
        ({}, [None]),
        ({"many": []}, []),
        ({"many": "[]"}, []),
        ({"many": '{"a": 1}'}, ['{"a": 1}']),
    ],
)
def test_lists_stand_in_cells_in_several_ways(row: dict[str, Any], values: list[Any]) -> None:
    assert cell_values(row, "many", "one") == values


def test_half_an_emoji_is_a_mark_and_a_whole_one_stays(tmp_path: Path) -> None:
    halves = r'{"x": "\ud83d", "y": ["\ud83d\ude00", "a \udE00 b"], "\ud83d": 1}'
    expected = {"x": "\ufffd", "y": ["\U0001f600", "a \ufffd b"], "\ufffd": 1}
    for name, content in (("a.jsonl", halves), ("a.json", f"[{halves}]")):
        ((_, row),) = read(tmp_path / name, content).rows
        assert row == expected
    (tmp_path / "labels.json").write_text(r'["dog", "\ud83d"]')
    assert read_names(str(tmp_path / "labels.json"), option="--labels", columns=("name",)) == ["dog", "\ufffd"]
    assert cell_values({"many": r'["a \ud83d"]'}, "many", "one") == ["a \ufffd"]


@given(st.lists(st.text(max_size=9), max_size=4))
def test_lists_survive_the_cells_of_pandas_and_json(values: list[str]) -> None:
    assert cell_values({"many": json.dumps(values)}, "many", "one") == values
    if "\x00" not in "".join(values):  # Python refuses to read source with a null
        assert cell_values({"many": repr(values)}, "many", "one") == values


NAMES = ["Dog", "Male speech, man speaking", 'It\'s "loud"']


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "\ufeff" + "\r\n".join(NAMES)),
        ("names", "\n".join(NAMES)),
        ("names.lst.gz", gzip.compress("\n".join(NAMES).encode())),
        ("heading.csv", 'index, label\n0,Dog\n1,"Male speech, man speaking"\n2,"It\'s ""loud"""\n'),
        ("heading.tsv", 'label\nDog\nMale speech, man speaking\nIt\'s "loud"\n'),
        ("bare.csv", 'Dog\n"Male speech, man speaking"\n"It\'s ""loud"""\n'),
        ("commas.csv", 'Dog\nMale speech, man speaking\nIt\'s "loud"\n'),
        ("bare.tsv", "\n".join(NAMES)),
        ("list.json", json.dumps(NAMES)),
        ("objects.json", json.dumps([{"id": 1, "label": name} for name in NAMES])),
        ("rows.jsonl", "\n".join(json.dumps({"display": name, "x": 0}) for name in NAMES)),
        ("by_index.json", json.dumps(dict(enumerate(NAMES)))),
        ("by_name.json", json.dumps({name: str(index) for index, name in reversed(list(enumerate(NAMES)))}, indent=1)),
        ("by_number.json", json.dumps({name: 7 + index for index, name in reversed(list(enumerate(NAMES)))})),
    ],
)
def test_names_come_in_many_files(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    if name == "by_name.json":  # texts on both sides: from index to name, whatever they are
        assert read_names(str(path), option="--labels", columns=("label",)) == ["2", "1", "0"]
    else:
        assert read_names(str(path), option="--labels", columns=("label", "display")) == NAMES


@pytest.mark.parametrize("name", ["names.txt", "bare.csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_line_ends_of_files_end_a_name(tmp_path: Path, name: str, end: str) -> None:
    names = ["dog\u2028bark", "rain\x85", "form\ffeed", "file\x1cseparator"]
    (tmp_path / name).write_bytes((end.join(names) + end).encode())
    assert read_names(str(tmp_path / name), option="--labels", columns=("label",)) == names


def test_names_out_of_parquet_and_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": NAMES, "n": range(3)})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.csv"):
        assert read_names(str(tmp_path / name), option="--labels", columns=("label",)) == NAMES


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "sound,n\nDog,1\n", "no column label"),
        ("a.csv", "label,n\nDog\n", "line 2: 1 cells"),
        ("a.jsonl", '{"label": "Dog"}\n{"label": 3}\n', "line 2: label is not text"),
        ("a.json", "3", "holds no names"),
        ("a.json", '["Dog", 3]', "holds no names"),
        ("a.json", '{"Dog": "x", "Cat": 1}', "'x' is not the index"),
        ("a.json", '{"Dog": null}', "None is not the index"),
        ("a.json", "[", "not JSON"),
        ("a.txt", b"Dog\nCaf\xe9\n", "line 2: not UTF-8"),
        ("a.csv", "x" * 200_000, "field larger"),
    ],
)
def test_what_holds_no_names_is_refused_in_words(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(FormatError, match=words) as caught:
        read_names(str(path), option="--labels", columns=("label",))
    assert isinstance(caught.value, InputError)
    assert caught.value.what.startswith(f"--labels {str(path)!r}")
