"""The steps of a datastore: duplicates, shards, embedding, the tables on disk and the manifest."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import InputError, OptionError
from sonogloss.indexes import Datastore, verify
from sonogloss.records import CaptionLine, FloatArray, caption_id
from sonogloss.transforms.build_indexes import DatastoreHead, build_indexes, sum_lines
from sonogloss.transforms.drop_duplicates import (
    DropDuplicates,
    choose_ranges,
    first_of_each,
    pack,
    range_start,
    split,
    to_row,
    to_table,
    unpack,
)
from sonogloss.transforms.embed_text import (
    KNOWN,
    Unit,
    choose_layout,
    embed_texts,
    embed_unit,
    settle,
    unit_name,
)
from sonogloss.transforms.read_captions import ReadCount
from sonogloss.transforms.write_shards import typed, write_units

CLAP = {"name": "toy", "fingerprint": "f" * 64, "dim": 8}


def line(text: str, source: str = "s", **extra: Any) -> CaptionLine:
    return CaptionLine(id=caption_id(text), text=text, source=source, extra=extra)


class LetterClap:
    """Embeds a text by its letters and remembers the batches it was given."""

    name, fingerprint, dim = "letters", "f" * 64, 8

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        self.batches.append(list(texts))
        counts = np.array([[1 + text.count(letter) for letter in "abcdefgh"] for text in texts], np.float32)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True), np.float32)


# -- duplicates -------------------------------------------------------------------------------------------------------


def test_the_first_by_file_and_line_stays_in_whatever_order_lines_come() -> None:
    placed = [
        ((1, 0, 1), line("rain", source="b")),
        ((0, 0, 10), line("rain", source="a10")),
        ((0, 0, 9), line("rain", source="a9", year=1999, tag=None, level=0.5)),
        ((0, 0, 2), line("wind", source="a")),
    ]
    wanted = first_of_each(to_table([to_row(placed[2]), to_row(placed[3])])).to_pylist()
    for ranges in (1, 7):
        random.Random(ranges).shuffle(placed)
        with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
            blocks = pipeline | beam.Create(placed) | DropDuplicates(ranges)
            assert_that(blocks | beam.FlatMap(rows_of_block) | beam.Map(str), equal_to(map(str, wanted)))


def rows_of_block(counted: tuple[int, bytes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = unpack([counted[1]]).to_pylist()
    assert len(rows) == counted[0]
    return rows


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    extra=st.dictionaries(
        st.text(), st.none() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(allow_nan=False)
    ),
    place=st.tuples(*[st.integers(0, 2**40)] * 3),
)
def test_a_placed_line_is_the_same_behind_its_block(text: str, extra: dict[str, Any], place: Any) -> None:
    row = to_row((place, replace(line(text), extra=extra)))
    (back,) = unpack([pack(to_table([row]))]).to_pylist()
    assert tuple(back.values()) == row
    assert json.loads(row[3] or "{}") == extra


@given(st.lists(st.tuples(st.text("ab", max_size=3), st.integers(0, 2), st.integers(0, 5)), max_size=30), st.data())
def test_of_equal_captions_in_any_blocks_the_first_stays(found: list[tuple[str, int, int]], data: Any) -> None:
    rows = [to_row(((file, 0, number), line(text))) for text, file, number in found]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    pieces = [rows[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    kept = unpack([pack(to_table(piece)) for piece in pieces]).to_pylist()
    expected = {text: min(place for other, *place in found if other == text) for text, _, _ in found}
    assert {row["text"]: [row["file"], row["row"]] for row in kept} == expected
    assert [row["id"] for row in kept] == sorted(caption_id(text) for text in expected)


@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=2), st.integers(0, 5)), min_size=1, max_size=30),
    st.booleans(),
)
def test_captions_that_share_an_id_are_not_taken_for_one(found: list[tuple[str, int]], has_a: bool) -> None:
    rows = [(len(text), text, "s", None, 0, 0, place) for text, place in found]
    gathered = unpack([pack(to_table([row])) for row in rows])
    first = {text: min(place for other, place in found if other == text) for text, _ in found}
    assert {row["text"]: row["row"] for row in gathered.to_pylist()} == first
    known = {1: "a"} if has_a else {}
    new, refused = settle(gathered, pa.table({"id": [*known], "text": [*known.values()]}, schema=KNOWN))
    keeps = dict(known)
    for row in gathered.to_pylist():
        keeps.setdefault(row["id"], row["text"])
    assert {row["text"] for row in new.to_pylist()} == set(keeps.values()) - set(known.values())
    assert {row["text"] for row in refused.to_pylist()} == set(first) - set(keeps.values())


@given(ids=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=30, unique=True), ranges=st.integers(1, 20))
def test_a_table_is_split_at_the_starts_of_ranges(ids: list[int], ranges: int) -> None:
    table = first_of_each(to_table([(number, "x", "s", None, 0, 0, 0) for number in ids]))
    parts = dict(split(table, ranges))
    assert [number for part in parts.values() for number in part.column("id").to_pylist()] == sorted(ids)
    for number, part in parts.items():
        assert all(
            range_start(number, ranges) <= each < range_start(number + 1, ranges) for each in part["id"].to_pylist()
        )


def test_ranges_follow_the_bytes_of_the_dumps() -> None:
    assert [choose_ranges(size) for size in (0, 5 << 20, 1 << 50)] == [1, 2, 4096]


# -- embedding --------------------------------------------------------------------------------------------------------


def unit_of(lines: Sequence[CaptionLine], shard: int = 0, number: int = 0, units: int = 1) -> Any:
    return (shard, number, units), [pack(to_table([to_row(((0, 0, row), each))])) for row, each in enumerate(lines)]


@given(ranges=st.integers(1, 300))
def test_the_name_of_a_unit_begins_with_the_first_id_of_its_range(ranges: int) -> None:
    begins = [int(unit_name(number, ranges, [], "clap").removeprefix("units/")[:16], 16) for number in range(ranges)]
    assert begins == [range_start(number, ranges) for number in range(ranges)]
    assert begins[0] == 0
    sizes = [after - begin for begin, after in zip(begins, [*begins[1:], 1 << 63], strict=True)]
    assert max(sizes) - min(sizes) <= 1


@given(captions=st.integers(0, 10**8), shards=st.none() | st.integers(1, 300))
def test_a_unit_holds_about_25000_captions_and_a_shard_a_million(captions: int, shards: int | None) -> None:
    layout = choose_layout(captions, shards)
    assert layout.shards == (shards or max(1, -(-captions // 1_000_000)))
    assert layout.units % layout.shards == 0
    assert captions / layout.units <= 25_000
    assert layout.units == layout.shards or captions / layout.units > 10_000


@given(st.lists(st.text("abcdefgh ", min_size=1, max_size=9), min_size=1, max_size=20, unique=True), st.integers(0, 9))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_unit_lies_on_disk_by_id_with_the_vectors_of_its_texts(tmp_path: Path, texts: list[str], seed: int) -> None:
    lines = [line(text, n=len(text)) for text in texts]
    random.Random(seed).shuffle(lines)
    clap: Any = LetterClap()
    unit = embed_unit(unit_of(lines, shard=3, number=7, units=9), clap, output=str(tmp_path))
    assert (unit.shard, unit.number, unit.count, unit.dim) == (3, 7, len(texts), 8)
    captions = pq.read_table(tmp_path / f"{unit.name}.parquet")
    assert captions.column("id").to_pylist() == sorted(caption_id(text) for text in texts)
    vectors = LetterClap().embed_text(captions.column("text").to_pylist())
    np.testing.assert_array_equal(np.load(tmp_path / f"{unit.name}.npy"), vectors)
    assert typed(captions, {"n": "int"}).column("n").to_pylist() == [len(t) for t in captions["text"].to_pylist()]


def test_texts_of_one_length_share_a_call_and_progress_is_noted(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    progress.touch()
    clap: Any = LetterClap()
    texts = ["a" * (1 + number % 600) for number in range(600)]
    vectors = embed_texts(texts, clap, progress=str(progress))
    np.testing.assert_array_equal(vectors, LetterClap().embed_text(texts))
    lengths = [[len(text) for text in batch] for batch in clap.batches]
    assert [length for batch in lengths for length in batch] == sorted(range(1, 601))
    assert progress.read_text() == "".join(f"{len(batch)} 0 0 0\n" for batch in lengths)
    with pytest.raises(OptionError, match="float32 only"):
        embed_texts(texts, clap, "bfloat16")


def test_a_finished_unit_is_not_embedded_again_unless_anything_differs(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    progress.touch()
    lines = [line(text) for text in ("rain", "wind", "a dog")]

    def calls(captions: Sequence[CaptionLine], fingerprint: str = "f" * 64, precision: str = "float32") -> int:
        clap: Any = LetterClap()
        clap.fingerprint = fingerprint
        clap.embed_text_batches = lambda texts, precision: iter([([*range(len(texts))], clap.embed_text(texts))])
        embed_unit(unit_of(captions), clap, output=str(tmp_path), precision=precision, progress=str(progress))
        return len(clap.batches)

    assert [calls(lines), calls(lines[::-1])] == [1, 0]
    assert progress.read_text().splitlines() == ["3 0 0 0", "of -3"]
    assert calls([*lines, line("a cat")]) == 1
    assert calls(lines, fingerprint="0" * 64) == 1
    assert calls(lines, precision="bfloat16") == 1
    assert [calls(lines), calls(lines, precision="bfloat16")] == [0, 0]


class PoorClap(LetterClap):
    """Raises at the word `crash`, and gives no number for `nan`."""

    def embed_text(self, texts: Sequence[str]) -> FloatArray:
        if any("crash" in text for text in texts):
            raise RuntimeError("index out of range")
        vectors = super().embed_text(texts)
        vectors[["nan" in text for text in texts]] = np.nan
        return vectors


def test_a_text_that_the_clap_fails_on_is_a_dead_letter(tmp_path: Path) -> None:
    clap: Any = PoorClap()
    texts = ["rain", "a crash", "wind", "a banana", "a dog"]
    for _ in range(2):
        unit = embed_unit(unit_of([line(text) for text in texts]), clap, output=str(tmp_path))
        assert (unit.count, unit.failed) == (3, 2)
    assert set(pq.read_table(tmp_path / f"{unit.name}.parquet")["text"].to_pylist()) == {"rain", "wind", "a dog"}
    assert np.load(tmp_path / f"{unit.name}.npy").shape == (3, 8)
    (path,) = (tmp_path / "dead_letters").iterdir()
    letters = {row["member"]: (row["code"], row["uri"], row["stage"]) for row in pq.read_table(path).to_pylist()}
    assert letters == {
        "a crash": ("MODEL_FAILED", "s", "embed_text"),
        "a banana": ("NON_FINITE", "s", "embed_text"),
    }
    with pytest.raises(RuntimeError, match="out of range"):
        embed_unit(unit_of([line("one crash"), line("two crashes")]), clap, output=str(tmp_path))
    with pytest.raises(InputError, match="embeds none of 1 captions"):
        embed_unit(unit_of([line("nan")]), clap, output=str(tmp_path))


# -- tables and the manifest ------------------------------------------------------------------------------------------


def test_further_columns_take_the_type_that_holds_all_files(tmp_path: Path) -> None:
    lines = [line("a", n=3, x=1, tag="t"), line("b", n=None, x=2.5, tag=7), line("c")]
    clap: Any = LetterClap()
    unit = embed_unit(unit_of(lines), clap, output=str(tmp_path))
    table = typed(pq.read_table(tmp_path / f"{unit.name}.parquet"), {"n": "int", "x": "float", "tag": "str"})
    assert table.schema == pa.schema(
        [
            ("id", pa.int64()), ("text", pa.string()), ("source", pa.string()), ("n", pa.int64()), ("x", pa.float64()),
            ("tag", pa.string()),
        ]
    )  # fmt: skip
    rows = {row["text"]: (row["n"], row["x"], row["tag"]) for row in table.to_pylist()}
    assert rows == {"a": (3, 1.0, "t"), "b": (None, 2.5, "7"), "c": (None, None, None)}


def test_lines_add_up() -> None:
    counts = [
        ReadCount(source="a", read=5, empty=1, malformed=2, too_short=1),
        ReadCount(source="b", read=4, empty=0, malformed=1, too_long=1, broken=1),
        ReadCount(source="", read=0, empty=0, malformed=0, failed=1),
    ]
    assert sum_lines(counts, kept=5) == {
        "read": 9, "empty": 1, "malformed": 3, "too_short": 1, "too_long": 1, "failed": 1, "duplicates": 1, "kept": 5,
        "broken_files": 1,
    }  # fmt: skip


@pytest.mark.parametrize("shards", [1, 4])
def test_shards_and_manifest_make_a_datastore(tmp_path: Path, shards: int) -> None:
    texts = [f"{letter} {number}" for letter in "abcdefgh" for number in range(5)]
    clap: Any = LetterClap()
    by_unit: dict[int, list[CaptionLine]] = {}
    for text in texts:
        by_unit.setdefault(caption_id(text) * 4 >> 63, []).append(line(text, note=len(text)))
    by_shard: dict[int, list[Unit]] = {}
    for number, lines in by_unit.items():
        shard = number * shards // 4
        unit = embed_unit(unit_of(lines, shard=shard, number=number, units=4), clap, output=str(tmp_path))
        by_shard.setdefault(shard, []).append(unit)
    written = [
        write_units((shard, units[::-1]), {"note": "int"}, output=str(tmp_path)) for shard, units in by_shard.items()
    ]
    head = DatastoreHead(clap=CLAP, options={"captions": ["x"]}, licenses={"s": "CC0"})
    counts = [ReadCount(source="s", read=50, empty=0, malformed=0)]
    manifest = build_indexes(reversed(written), counts, output=str(tmp_path), head=head)
    assert manifest.options["counts"]["duplicates"] == 10
    assert (manifest.index.kind, manifest.support.count, manifest.count) == ("flat", 40, 40)
    assert verify(str(tmp_path)) == []
    store = Datastore.open(str(tmp_path))
    contexts = store.search(clap.embed_text(["h 3"]), 40)[0]
    assert contexts[0].text.startswith("h")
    assert {context.text for context in contexts} == set(texts)
    first_shard = pq.read_table(tmp_path / "shards/00000/captions.parquet")
    assert first_shard.column_names == ["id", "text", "source", "note"]
    again = build_indexes(written, counts, output=str(tmp_path), head=replace(head, options={"captions": ["y"]}))
    assert again.shards == manifest.shards
