from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.records import DeadLetter, caption_row_schema
from sonogloss.transforms.commit_run import commit_run
from sonogloss.transforms.part_files import (
    CONFIGURATION_KEY,
    KIND_KEY,
    PARTS_KEY,
    SOURCES_KEY,
    UNIT_KEY,
    dead_letters_name,
    rows_name,
)
from sonogloss.transforms.progress_file import note
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work import UnitResult
from sonogloss.transforms.write_rows import CaptionRows, UnitWriter, WriteRows

from .conftest import MakeBatch

LETTER = DeadLetter(clip_id=None, uri="/audio/x.wav", member=None, stage="read_audio", code="EMPTY", message="Nothing.")


def writer(tmp_path: Path, **options: object) -> UnitWriter:
    kind = CaptionRows(method="drcap", embedding_dim=options.pop("embedding_dim", None))  # type: ignore[arg-type]
    return UnitWriter(str(tmp_path), configuration="c0ffee", kind=kind, **options)  # type: ignore[arg-type]


def test_a_unit_becomes_two_files_that_describe_themselves(tmp_path: Path, make_batch: MakeBatch) -> None:
    write = writer(tmp_path)
    assert write.add(make_batch(2, number=0, last=False)) is None
    assert not list(tmp_path.rglob("*.parquet"))
    result = write.add(replace(make_batch(1, number=1, first=2), dead=(LETTER,), inputs=2))
    assert result is not None
    assert (result.inputs, result.rows, result.dead_letters, result.codes) == (4, 3, 1, {"EMPTY": 1})
    assert [part.path for part in result.parts] == ["captions/part-u-000.parquet", "dead_letters/part-u.parquet"]
    assert result.seconds == {"read_audio": 1.0}
    file = pq.ParquetFile(tmp_path / "captions/part-u-000.parquet")
    assert file.schema_arrow.remove_metadata() == caption_row_schema()
    assert file.metadata.metadata[CONFIGURATION_KEY] == b"c0ffee"
    assert file.metadata.metadata[PARTS_KEY] == b"1"
    frame = pd.read_parquet(tmp_path / "captions")
    assert list(frame["caption"]) == ["caption 0", "caption 1", "caption 2"]
    query = f"select count(*), sum(len(contexts)) from '{tmp_path}/captions/part-*.parquet'"
    assert duckdb.sql(query).fetchall() == [(3, 3)]


def test_equal_rows_give_equal_bytes(tmp_path: Path, make_batch: MakeBatch) -> None:
    for name in ("a", "b"):
        writer(tmp_path / name).add(make_batch(5))
    for path in (tmp_path / "a").rglob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_many_rows_are_several_files_and_only_the_last_says_so(tmp_path: Path, make_batch: MakeBatch) -> None:
    write = writer(tmp_path, rows_a_part=4)
    assert write.add(make_batch(4, number=0, last=False)) is None
    assert not list(tmp_path.rglob("*.parquet"))  # the last file of a unit is not known before the unit ends
    write.add(make_batch(5, number=1, last=False, first=4))
    assert len(list(tmp_path.rglob("captions/*.parquet"))) == 2
    result = write.add(make_batch(0, number=2))
    assert result is not None
    assert [part.rows for part in result.parts] == [4, 4, 1, 0]
    marked = [PARTS_KEY in pq.read_metadata(tmp_path / part.path).metadata for part in result.parts]
    assert marked == [False, False, True, False]


def test_batches_out_of_order_are_a_broken_job(tmp_path: Path, make_batch: MakeBatch) -> None:
    write = writer(tmp_path)
    write.add(make_batch(1, number=0, last=False))
    with pytest.raises(RuntimeError, match="fused"):
        write.add(make_batch(1, number=2, last=False))


def test_an_attempt_that_failed_leaves_nothing_to_the_next(tmp_path: Path, make_batch: MakeBatch) -> None:
    write = writer(tmp_path)
    write.add(make_batch(3, number=0, last=False))
    result = write.add(make_batch(1, unit="v"))
    assert result is not None
    assert result.rows == 1


def test_the_embedding_column_is_there_on_request(tmp_path: Path, make_batch: MakeBatch) -> None:
    batch = make_batch(2)
    writer(tmp_path, embedding_dim=4).add(batch)
    table = pq.read_table(tmp_path / "captions/part-u-000.parquet")
    assert table.column("embedding").to_pylist() == batch.embeddings.tolist()


def test_the_run_adds_the_units_up(tmp_path: Path, make_batch: MakeBatch) -> None:
    results = []
    for unit in ("b", "a"):
        result = writer(tmp_path).add(make_batch(2, unit=unit))
        assert isinstance(result, UnitResult)
        results.append(result)
    run = commit_run(results, output=str(tmp_path), head={"fingerprints": {}}, started=Stopwatch())
    assert run["counts"] == {"inputs": 4, "captions": 4, "dead_letters": 0, "skipped": 0}
    assert [part["path"] for part in run["parts"]] == sorted(part["path"] for part in run["parts"])
    assert (tmp_path / "run.json").exists()


def test_progress_is_noted_by_whole_lines_and_only_where_somebody_looks(tmp_path: Path) -> None:
    from sonogloss.pipelines.running.progress import Tail, Work

    path = tmp_path / "progress"
    note(str(path), done=3)
    assert not path.exists()
    path.touch()
    tail = Tail(str(path))
    assert tail.look().done == 0
    note(str(path), done=3, failed=1)
    note(str(path), done=2, units=1)
    with path.open("ab") as handle:
        handle.write(b"9 9 0")
    tally = tail.look()
    assert (tally.done, tally.failed, tally.units) == (5, 1, 1)
    with path.open("ab") as handle:
        handle.write(b" 5\n")
    assert tail.look().done == 14
    assert "14 clips, 7.0 a second" in tally.say("clips", 2.0, None)
    work = Work(units=4, noun="recordings", size=20, before=6)
    assert tally.say("clips", 2.0, work).endswith("7 of 10 recordings (6 done before), about 6 s to go")
    assert tally.say("clips", 2.0, Work(units=4)).endswith("1 of 4 units, about 6 s to go")
    note(None, done=1)


def dead(number: int, code: str = "EMPTY") -> DeadLetter:
    return replace(LETTER, uri=f"/audio/dead{number}.wav", code=code)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=6),
    rows_a_part=st.integers(1, 5),
)
def test_parts_roll_whatever_the_batches_and_no_row_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    make_batch: MakeBatch,
    batches: list[tuple[int, int]],
    rows_a_part: int,
) -> None:
    output = tmp_path_factory.mktemp("rolled")
    write = writer(output, rows_a_part=rows_a_part)
    result, first, dead_before = None, 0, 0
    for number, (rows, failures) in enumerate(batches):
        letters = tuple(dead(dead_before + extra, "EMPTY" if extra % 2 else "CORRUPT") for extra in range(failures))
        last = number == len(batches) - 1
        batch = make_batch(rows, number=number, last=last, first=first)
        assert result is None
        result = write.add(replace(batch, dead=letters, inputs=rows + failures))
        first, dead_before = first + rows, dead_before + failures
    assert result is not None

    *rows_parts, dead_part = result.parts
    assert [part.path for part in rows_parts] == [f"captions/part-u-{n:03d}.parquet" for n in range(len(rows_parts))]
    assert dead_part.path == "dead_letters/part-u.parquet"
    assert all(part.rows == rows_a_part for part in rows_parts[:-1])
    assert min(first, 1) <= rows_parts[-1].rows <= rows_a_part
    captions = [row for part in rows_parts for row in pq.read_table(output / part.path).column("caption").to_pylist()]
    assert captions == [f"caption {row}" for row in range(first)]
    uris = pq.read_table(output / dead_part.path).column("uri").to_pylist()
    assert uris == [f"/audio/dead{number}.wav" for number in range(dead_before)]

    # The counts add up, in the result as on disk.
    assert result.inputs == result.rows + result.dead_letters == first + dead_before
    assert (result.rows, result.dead_letters) == (first, dead_before)
    assert sum(result.codes.values()) == dead_before
    run = commit_run([result], output=str(output), head={}, started=Stopwatch())
    assert run["counts"] == {
        "inputs": first + dead_before,
        "captions": first,
        "dead_letters": dead_before,
        "skipped": 0,
    }
    assert {part["path"]: part["rows"] for part in run["parts"]} == {part.path: part.rows for part in result.parts}
    for part in result.parts:
        content = (output / part.path).read_bytes()
        assert (part.bytes, part.sha256) == (len(content), hashlib.sha256(content).hexdigest())

    # What `resume` reads: the footers name unit and configuration, and the last file of rows says that it is the last.
    for part in result.parts:
        footer = pq.read_metadata(output / part.path).metadata
        expected = {CONFIGURATION_KEY: b"c0ffee", UNIT_KEY: b"u", KIND_KEY: b"captions"}
        if part == dead_part:
            expected[SOURCES_KEY] = b"[]"
        if part == rows_parts[-1]:
            expected[PARTS_KEY] = str(len(rows_parts)).encode()
        assert {key: value for key, value in footer.items() if key != b"ARROW:schema"} == expected


def test_the_bytes_of_a_part_do_not_depend_on_how_its_rows_came(tmp_path: Path, make_batch: MakeBatch) -> None:
    for name, sizes in (("one", [6]), ("three", [1, 3, 2]), ("with empty ones", [0, 6, 0])):
        write, first = writer(tmp_path / name, rows_a_part=4), 0
        for number, size in enumerate(sizes):
            write.add(make_batch(size, number=number, last=number == len(sizes) - 1, first=first))
            first += size
    for path in sorted((tmp_path / "one").rglob("*.parquet")):
        for other in ("three", "with empty ones"):
            twin = tmp_path / other / path.relative_to(tmp_path / "one")
            assert twin.read_bytes() == path.read_bytes()


def test_a_unit_without_rows_still_leaves_its_two_files(tmp_path: Path, make_batch: MakeBatch) -> None:
    result = writer(tmp_path).add(replace(make_batch(0), dead=(LETTER,), inputs=1))
    assert result is not None
    assert [part.rows for part in result.parts] == [0, 1]
    assert pq.read_schema(tmp_path / result.parts[0].path).remove_metadata() == caption_row_schema()


def test_names_of_parts_never_change() -> None:
    """`resume` finds what an earlier release wrote by these names."""
    assert rows_name("captions", "1c5f83a3", 7) == "captions/part-1c5f83a3-007.parquet"
    assert dead_letters_name("1c5f83a3") == "dead_letters/part-1c5f83a3.parquet"
    keys = (CONFIGURATION_KEY, UNIT_KEY, PARTS_KEY, KIND_KEY, SOURCES_KEY)
    names = ("configuration", "unit", "parts", "kind", "sources")
    assert keys == tuple(f"sonogloss.{name}".encode() for name in names)


def test_rows_are_written_in_a_job_and_bundles_do_not_mix(tmp_path: Path, make_batch: MakeBatch) -> None:
    progress = tmp_path / "progress"
    progress.touch()
    batches = [make_batch(2, unit=unit) for unit in ("a", "b", "c")]
    kind = CaptionRows(method="drcap")
    with beam.Pipeline("FnApiRunner", options=PipelineOptions([])) as pipeline:
        written = (
            pipeline
            | beam.Create(batches)
            | WriteRows(str(tmp_path), configuration="c0ffee", kind=kind, progress=str(progress))
        )
        assert_that(written | beam.Map(lambda result: (result.unit, result.rows)), equal_to([(u, 2) for u in "abc"]))
    assert len(list(tmp_path.rglob("*.parquet"))) == 6
    lines = progress.read_text().splitlines()
    assert [line for line in lines if not line.startswith("eg ")] == ["2 0 0 0 0.000000 20.000"] * 3
    examples = [json.loads(line.removeprefix("eg ")) for line in lines if line.startswith("eg ")]
    assert examples[:2] == ["000.wav 0-10 s: caption 0", "001.wav 0-10 s: caption 1"]


def test_the_run_names_codes_and_times_summed_over_units(tmp_path: Path) -> None:
    results = [
        UnitResult(unit="b", parts=(), inputs=3, rows=1, dead_letters=2, codes={"EMPTY": 2}, seconds={"score": 1.5}),
        UnitResult(unit="a", parts=(), inputs=2, rows=1, dead_letters=1, codes={"CORRUPT": 1}, seconds={"read": 0.25}),
        UnitResult(unit="c", parts=(), inputs=1, rows=0, dead_letters=1, codes={"EMPTY": 1}, seconds={"score": 0.0004}),
    ]
    head = {"configuration": {"digest": "d"}, "fingerprints": {"clap": "f"}}
    run = commit_run(results, output=str(tmp_path), head=head, started=Stopwatch(), rows="labels")
    assert list(run) == [
        "format", "format_version", "created_by", "counts", "skipped_codes", "dead_letter_codes", "configuration",
        "fingerprints", "ran_on", "wall_time_s", "stage_times_s", "parts",
    ]  # fmt: skip
    assert run["counts"] == {"inputs": 6, "labels": 2, "dead_letters": 4, "skipped": 0}
    assert run["dead_letter_codes"] == {"CORRUPT": 1, "EMPTY": 3}
    assert run["stage_times_s"] == {"read": 0.25, "score": 1.5}
    assert json.loads((tmp_path / "run.json").read_text()) == run
    reordered = commit_run(results[::-1], output=str(tmp_path), head=head, started=Stopwatch(), rows="labels")
    assert {**reordered, "wall_time_s": 0} == {**run, "wall_time_s": 0}
