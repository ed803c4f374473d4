"""Rows on disk: sorting and selecting them gives what lists give, whatever fits into memory at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import Code, OutputError
from sonogloss.sources import Skipped, Source, SourceTable, source_key, spool

NAMES = st.text(st.sampled_from("ab/\udc80é\U0001f600"), min_size=1, max_size=3)
COUNTS = st.integers(1, 9)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, max_size=60), COUNTS, COUNTS, st.sets(st.integers(0, 59)))
def test_a_table_sorts_and_selects_as_a_list_does(
    monkeypatch: pytest.MonkeyPatch, names: list[str], stretch: int, run: int, chosen: set[int]
) -> None:
    monkeypatch.setattr(spool, "STRETCH", stretch)
    monkeypatch.setattr(spool, "RUN", run)
    sources = [Source(uri=name, member=str(number), bytes=number or None) for number, name in enumerate(names)]
    table, ordered = SourceTable.of(sources).in_order(), sorted(sources, key=lambda source: source.uri)
    assert list(table) == ordered
    rows = np.array(sorted(row for row in chosen if row < len(sources)), np.int64)
    some = table.take(rows)
    assert list(some) == [ordered[row] for row in rows]
    assert list(some[1:3]) == list(some)[1:3]
    assert list(table[2:7].take(np.arange(len(table[2:7])))) == ordered[2:7]
    assert [table[place] for place in range(-len(table), len(table))] == ordered * 2
    assert list(some.keys()) == [source_key(source) for source in some]
    assert list(some.names()) == [(source.uri, source.member) for source in some]
    assert [size for sizes in some.sizes() for size in sizes] == [source.bytes or -1 for source in some]


def test_every_field_of_a_source_comes_back() -> None:
    refused = Skipped(uri="/a.tar", code=Code.READ_ERROR, reason="It cannot be read.", byte_offset=5)
    full = Source(
        uri="/caf\udce9.tar", member="x", start_s=0.5, end_s=2.0, part=(32, None), id="7", bytes=9, version="1",
        extra={"city": "Ulm", "\u00e9": [1, None]}, container="tar", place=(512, 9), refused=refused,
    )  # fmt: skip
    sources = [full, Source(uri="/b.wav"), replace(full, part=(0, 32), refused=None)]
    table = SourceTable.of(sources)
    assert list(table) == sources
    assert [part for parts in table.parts() for part in parts] == [32, -1, 0]


def test_files_of_rows_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    table = SourceTable.of(Source(uri=f"/{number:03d}.wav") for number in range(100))
    assert list(tmp_path.iterdir()) == []
    assert table.in_order()[99].uri == "/099.wav"


def test_memory_holds_a_stretch_of_a_table() -> None:
    before = pa.total_allocated_bytes()
    table = SourceTable.of(Source(uri=f"/{number * 7919 % 40_000:05d}.wav") for number in range(40_000)).in_order()
    assert sum(1 for _ in table.names()) == len(table) == 40_000
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_folder_of_temporary_files_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OutputError, match="TMPDIR"):
        SourceTable.of([Source(uri="/a.wav")])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(path: str, mode: str, real: type[pa.OSFile] = pa.OSFile) -> pa.OSFile:
        return real("/dev/full", mode)

    monkeypatch.setattr(pa, "OSFile", full)
    with pytest.raises(OutputError, match="No space left"):
        SourceTable.of(Source(uri=f"/{number}.wav") for number in range(10_000))
    assert list(tmp_path.iterdir()) == []
