from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sonogloss.records import CAPTION_ROW_SCHEMA, DeadLetter
from sonogloss.transforms.commit_run import commit_run
from sonogloss.transforms.progress_file import note
from sonogloss.transforms.work import UnitResult
from sonogloss.transforms.write_rows import CONFIGURATION_KEY, PARTS_KEY, CaptionRows, UnitWriter

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
    assert file.schema_arrow.remove_metadata() == CAPTION_ROW_SCHEMA
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
    run = commit_run(results, output=str(tmp_path), head={"fingerprints": {}}, started_at=0.0)
    assert run["counts"] == {"inputs": 4, "captions": 4, "dead_letters": 0, "skipped": 0}
    assert [part["path"] for part in run["parts"]] == sorted(part["path"] for part in run["parts"])
    assert (tmp_path / "run.json").exists()


def test_progress_is_noted_by_whole_lines_and_only_where_somebody_looks(tmp_path: Path) -> None:
    from sonogloss.pipelines.running.progress import Tail

    path = tmp_path / "progress"
    note(str(path), done=3)
    assert not path.exists()
    path.touch()
    tail = Tail(str(path))
    assert tail.look().done == 0
    note(str(path), done=3, failed=1)
    note(str(path), done=2, units=1)
    with path.open("ab") as handle:
        handle.write(b"9 9")
    tally = tail.look()
    assert (tally.done, tally.failed, tally.units) == (5, 1, 1)
    with path.open("ab") as handle:
        handle.write(b" 0\n")
    assert tail.look().done == 14
    assert "14 clips" in tally.say("clips", 2.0, 4)
    assert "unit 1 of 4" in tally.say("clips", 2.0, 4)
    note(None, done=1)
