"""Parquet: which column holds the sound, what is carried along, how rows are called."""

from __future__ import annotations

import datetime as dt
import io
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss.errors import Code
from sonogloss.sources import SkipCode, Source, SourceLimits
from sonogloss.sources.carried import LEFT_OUT
from tests.archives import contents, listed, parquet, parquet_of, put, wav

MEMBERS = {f"{number}.wav": wav(number, 200 + number) for number in range(7)}


def one(tmp_path: Path, table: pa.Table, **limits: float) -> list[Source]:
    sources, skipped = listed(put(tmp_path, "a.parquet", parquet_of(table)), limits=SourceLimits(**limits))  # type: ignore[arg-type]
    assert skipped == []
    return sources


def test_small_columns_are_carried_and_bytes_and_long_lists_are_not(tmp_path: Path) -> None:
    day = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)
    table = pa.table(
        {
            "id": [10, 11],
            "audio": [{"bytes": wav(1), "path": "a.wav"}, {"bytes": wav(2), "path": "b.wav"}],
            "caption": ["rain", None],
            "captions": [["one", "two"], []],
            "label": pa.array([3, 4], pa.int8()),
            "when": [day, day],
            "meta": [{"split": "train", "fold": 1}, {"split": "test", "fold": 2}],
            "spectrum": [[0.0] * 5000, [1.0] * 5000],
            "vector": pa.FixedSizeListArray.from_arrays(np.arange(4096, dtype=np.float32), 2048),
            "image": [b"\x89PNG", b"\x89PNG"],
            "meta_bytes": [{"raw": b"x"}, {"raw": b"y"}],
            "text": ["long" * 5000, "short"],
        }
    )
    first, second = one(tmp_path, table, max_extra_bytes=1000)
    assert (first.id, first.member, second.id, second.member) == ("10", "a.wav", "11", "b.wav")
    assert first.extra == {
        "caption": "rain",
        "captions": ["one", "two"],
        "label": 3,
        "when": day,
        "meta": {"split": "train", "fold": 1},
        LEFT_OUT: ["image", "meta_bytes", "spectrum", "text", "vector"],
    }
    assert "text" not in one(tmp_path, table)[1].extra  # the column is large, however short the cell


def test_the_column_of_sound_is_found_by_its_content(tmp_path: Path) -> None:
    bytes_ = [wav(1), wav(2)]
    for table in (
        pa.table({"cover": [b"\x89PNG\r\n", b"\x89PNG"], "flac": bytes_}),
        pa.table({"cover": [{"bytes": b"\x89PNG"}] * 2, "sound": [{"bytes": each} for each in bytes_]}),
        pa.table({"cover": [None, b"\x89PNG"], "wav": pa.array(bytes_, pa.large_binary())}),
        pa.table({"audio": [{"bytes": each, "path": None, "sampling_rate": 8000} for each in bytes_], "flac": bytes_}),
        pa.table({"key": ["x", "y"], "audio": bytes_}),
    ):
        assert [data for _, data in contents(one(tmp_path, table))] == bytes_


@pytest.mark.parametrize("kind", ["view", "dictionary", "fixed", "views in a struct", "dictionary in a struct"])
def test_sound_is_found_however_arrow_lays_it_out(kind: str, tmp_path: Path) -> None:
    """Polars writes views; a table that was read as dictionaries is written as such."""
    bytes_ = [wav(1), wav(2)]
    struct = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    names = pa.array(["x.wav", "y.wav"]).dictionary_encode()
    column = {
        "view": lambda: pa.array(bytes_, pa.binary_view()),
        "dictionary": lambda: pa.array(bytes_).dictionary_encode(),
        "fixed": lambda: pa.array(bytes_, pa.binary(len(bytes_[0]))),
        "views in a struct": lambda: pa.array(
            [{"bytes": data, "path": name} for data, name in zip(bytes_, names.to_pylist(), strict=True)], struct
        ),
        "dictionary in a struct": lambda: pa.StructArray.from_arrays([pa.array(bytes_), names], ["bytes", "path"]),
    }[kind]()
    sources = one(tmp_path, pa.table({"audio": column, "sha": pa.array([b"0" * 16] * 2, pa.binary(16))}))
    assert [data for _, data in contents(sources)] == bytes_
    assert [source.member for source in sources][:2] == (
        ["x.wav", "y.wav"] if "struct" in kind else ["row-00000000", "row-00000001"]
    )


def test_rows_are_called_by_their_path_or_name_and_else_by_their_number(tmp_path: Path) -> None:
    def names(**columns: list[object]) -> list[str | None]:
        return [source.member for source in one(tmp_path, pa.table({"flac": [wav(1), wav(2), wav(3)], **columns}))]

    assert names() == ["row-00000000", "row-00000001", "row-00000002"]
    assert names(file_name=["a", None, ""]) == ["a", "row-00000001", "row-00000002"]
    assert names(id=[7, 8, 9]) == ["7", "8", "9"]
    assert names(name=["a", "a", "b"]) == ["a", "a#1", "b"]


def test_row_groups_are_opened_wherever_a_row_lies(tmp_path: Path) -> None:
    path = put(tmp_path, "a.parquet", parquet(MEMBERS))
    sources, _ = listed(path)
    assert [source.place for source in sources] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    mixed = [sources[number] for number in (6, 1, 0, 4)]
    assert {source.member: data for source, data in contents(mixed)} == {
        name: MEMBERS[name] for name in ("6.wav", "1.wav", "0.wav", "4.wav")
    }


def test_rows_without_bytes_and_rows_over_the_limit_are_errors_of_their_own(tmp_path: Path) -> None:
    table = pa.table(
        {
            "audio": [
                {"bytes": wav(1), "path": "a"},
                {"bytes": None, "path": "b"},
                None,
                {"bytes": wav(2, 900), "path": "d"},
            ]
        }
    )
    sources = one(tmp_path, table)
    assert [source.member for source in sources] == ["a", "b", "row-00000002", "d"]
    found = [data for _, data in contents(sources, SourceLimits(max_member_bytes=1000))]
    assert found == [wav(1), "EMPTY", "EMPTY", "LIMIT"]


def test_parquet_that_is_cut_is_one_problem_wherever(tmp_path: Path) -> None:
    content = parquet(MEMBERS)
    for cut in range(0, len(content), len(content) // 40):
        sources, skipped = listed(put(tmp_path, "a.parquet", content[:cut]))
        assert sources == []
        assert [(found.member, found.code) for found in skipped] == [(None, Code.ARCHIVE_CORRUPT)], cut


@pytest.mark.parametrize("name", ["audio", "label"])
def test_a_column_whose_name_is_damaged_is_one_problem(name: str, tmp_path: Path) -> None:
    data = parquet_of(pa.table({"audio": [wav(1)], "label": ["rain"]}))
    damaged = data.replace(name.encode(), name[:-1].encode() + b"\xdc")
    _, skipped = listed(put(tmp_path, "x.parquet", damaged))
    assert [each.code for each in skipped] == [Code.ARCHIVE_CORRUPT]


def test_a_damaged_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    content = bytearray(parquet(MEMBERS))
    sources, _ = listed(put(tmp_path, "a.parquet", bytes(content)))
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(1).column(0)
    assert column.path_in_schema == "audio.bytes"
    content[column.dictionary_page_offset : column.dictionary_page_offset + 12] = b"\xff" * 12
    put(tmp_path, "a.parquet", bytes(content))
    found = {source.member: data for source, data in contents(sources)}
    assert found == {**MEMBERS, **dict.fromkeys(["3.wav", "4.wav", "5.wav"], "ARCHIVE_CORRUPT")}


def test_a_table_without_sound_is_left_out_in_words(tmp_path: Path) -> None:
    path = put(tmp_path, "a.parquet", parquet_of(pa.table({"text": ["a"], "image": [b"\x89PNG"]})))
    sources, skipped = listed(path)
    assert sources == []
    assert [(found.code, "text, image" in found.reason) for found in skipped] == [(SkipCode.NOT_AUDIO, True)]
    assert [data for _, data in contents([Source(uri=path, member="row-00000000")])] == ["READ_ERROR"]


def test_caps(tmp_path: Path) -> None:
    path = put(tmp_path, "a.parquet", parquet(MEMBERS))
    sources, skipped = listed(path, limits=SourceLimits(max_members=3))
    assert len(sources) == 3
    assert [found.code for found in skipped] == [Code.LIMIT]
    noise = parquet({"zeros.wav": b"RIFF" + bytes(1 << 20)})
    sources, skipped = listed(
        put(tmp_path, "b.parquet", noise), limits=SourceLimits(max_ratio=5, ratio_from_bytes=1000)
    )
    assert sources == []
    assert [found.code for found in skipped] == [Code.LIMIT]


@pytest.mark.parametrize("columns", [{}, {"caption": ["x"] * 40}])
def test_listing_does_not_read_the_bytes(columns: dict[str, list[object]], tmp_path: Path) -> None:
    members = {f"{number}.wav": wav(number, 100_000) for number in range(40)}
    path = put(tmp_path, "a.parquet", parquet(members, **columns))
    listed(path)
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        sources, _ = listed(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(sources) == 40
    assert peak < 1_000_000
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_page_at_a_time_is_in_memory(tmp_path: Path) -> None:
    members = {f"{number}.wav": wav(number, 500_000) for number in range(12)}
    table = pa.table({"flac": list(members.values())})
    sources, _ = listed(put(tmp_path, "a.parquet", parquet_of(table, row_group_size=12, rows_a_page=1)))
    before, peak = pa.total_allocated_bytes(), 0
    for _, data in contents(sources):
        assert len(data) == 1_000_044
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 8_000_000
