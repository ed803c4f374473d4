"""What stands beside recordings arrives in their rows and dead letters, and what was left out is listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss.records import DEAD_LETTER_SCHEMA, FIRST_DEAD_LETTER_SCHEMA
from sonogloss.sources.carried import LEFT_OUT
from tests.archives import parquet_of, put, tar, wav

from .conftest import CAPTIONS, Run

Classify = Callable[..., dict[str, Any]]


@pytest.fixture
def classify(run: Run, tiny_clap_dir: Path, tmp_path: Path) -> Classify:
    """Tag recordings into a folder below `tmp_path`; the report."""
    labels = put(tmp_path, "labels.list", "\n".join(CAPTIONS).encode())
    common = ["classify", "--labels", labels, "--clap", tiny_clap_dir, "--max-dead-letters", "1", "--json"]

    def _classify(output: str, *audio: object, command: tuple[object, ...] = ()) -> dict[str, Any]:
        outcome = run(*(command or common), "--audio", *audio, "--output", tmp_path / output)
        assert outcome.code == 0, outcome.err
        report: dict[str, Any] = outcome.report
        return report

    return _classify


def carried(output: Path, folder: str) -> dict[str, tuple[str | None, Any]]:
    """The id and the extra of each row, by the last part of its name."""
    rows = [row for path in sorted((output / folder).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {
        (row["member"] or row["uri"]).rpartition("/")[2]: (row["source_id"], row["extra"] and json.loads(row["extra"]))
        for row in rows
    }


def containers(folder: Path) -> tuple[list[str], dict[str, tuple[str | None, Any]]]:
    """A listing, a WebDataset shard, a table and a plain file; and what their rows should carry."""
    cells = '{"uri": "a.wav", "id": "A1", "score": NaN, "tags": [["x", null]], "half": "\\ud83d", "end": 0.04}\n'
    put(folder, "a.wav", wav(0))
    put(folder, "plain.wav", wav(1))
    listing = put(folder, "list.jsonl", cells.encode())
    shard = put(
        folder,
        "s.tar",
        tar({"k.wav": wav(2), "k.json": b'{"license": "cc0", "n": 3}', "k.txt": b"rain", "l.wav": wav(3)}),
    )
    table = pa.table({"audio": [wav(4)], "key": ["row.wav"], "cover": [b"\x89PNG"], "split": ["test"], "id": [7]})
    packed = put(folder, "t.parquet", parquet_of(table))
    return [listing, shard, packed, str(folder / "plain.wav")], {
        "a.wav": ("A1", {"score": None, "tags": [["x", None]], "half": "\ufffd"}),
        "k.wav": (None, {"license": "cc0", "n": 3, "txt": "rain"}),
        "l.wav": (None, None),
        "row.wav": ("7", {"key": "row.wav", "split": "test", LEFT_OUT: ["cover"]}),
        "plain.wav": (None, None),
    }


def test_columns_of_every_container_arrive_in_rows_of_tags(classify: Classify, tmp_path: Path) -> None:
    audio, expected = containers(tmp_path / "audio")
    report = classify("out", *audio)
    assert report["counts"]["labels"] == 5
    assert carried(tmp_path / "out", "labels") == expected
    frame = pd.read_parquet(tmp_path / "out/labels")
    assert list(frame.columns[-2:]) == ["source_id", "extra"]
    query = f"select extra->>'license' from '{tmp_path}/out/labels/*.parquet' where member = 'k.wav'"
    assert duckdb.sql(query).fetchall() == [("cc0",)]


def test_columns_of_every_container_arrive_in_rows_of_captions(
    run: Run, store: Path, captioner: Path, classify: Classify, tmp_path: Path
) -> None:
    audio, expected = containers(tmp_path / "audio")
    common = ("caption", "--datastore", store, "--captioner", captioner, "--json")
    classify("out", *audio, command=common)
    assert carried(tmp_path / "out", "captions") == expected
    classify("pooled", *audio, command=(*common, "--long", "pool"))
    assert carried(tmp_path / "pooled", "captions") == expected


def test_a_dead_letter_is_run_again_with_its_range_and_what_stood_beside_it(classify: Classify, tmp_path: Path) -> None:
    rows = [
        {"uri": "bad.wav", "id": f"b{n}", "start": n, "end": n + 1, "stage": "mine", "member": None} for n in (0, 1)
    ]
    put(tmp_path / "audio", "bad.wav", b"")
    put(tmp_path / "audio", "good.wav", wav(0))
    lines = "\n".join(json.dumps(row) for row in [*rows, {"uri": "good.wav"}])
    report = classify("first", put(tmp_path / "audio", "list.jsonl", lines.encode()))
    assert report["counts"] == {"inputs": 3, "labels": 1, "dead_letters": 2, "skipped": 0}
    [path] = (tmp_path / "first/dead_letters").iterdir()
    assert pq.read_schema(path).remove_metadata() == DEAD_LETTER_SCHEMA
    assert [row["retryable"] for row in pq.read_table(path).to_pylist()] == [False, False]
    put(tmp_path / "audio", "bad.wav", wav(1, frames=3 * 8000))
    classify("again", tmp_path / "first/dead_letters")
    found = pd.read_parquet(tmp_path / "again/labels").sort_values("start_s")
    assert found[["start_s", "end_s", "source_id", "extra"]].to_numpy().tolist() == [
        [0.0, 1.0, "b0", '{"stage": "mine"}'],
        [1.0, 2.0, "b1", '{"stage": "mine"}'],
    ]
    # What an earlier release wrote has no ranges: the whole file is run again.
    old = pq.read_table(path).select(FIRST_DEAD_LETTER_SCHEMA.names).slice(0, 1)
    (tmp_path / "old/dead_letters").mkdir(parents=True)
    pq.write_table(old, tmp_path / "old/dead_letters" / path.name)
    classify("of-old", tmp_path / "old/dead_letters")
    [row] = pq.read_table(tmp_path / "of-old/labels").to_pylist()
    assert (row["end_s"], row["source_id"], row["extra"]) == (3.0, None, None)


def test_what_was_left_out_is_listed_verified_and_replaced(run: Run, classify: Classify, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    put(folder, "a.wav", wav(0))
    put(folder, "notes.md", b"#")
    put(folder, ".hidden.wav", wav(1))
    put(folder, "s.tar", tar({"k.wav": wav(2), "in.zip": b"PK\3\4" + bytes(100)}))
    counts = {"inputs": 5, "labels": 2, "dead_letters": 0, "skipped": 3}
    assert classify("out", folder)["counts"] == counts
    output = tmp_path / "out"
    [path] = (output / "skipped").iterdir()
    found = pd.read_parquet(output / "skipped").sort_values("code")
    assert list(found.columns) == ["uri", "member", "code", "reason"]
    assert found["code"].tolist() == ["HIDDEN", "NESTED", "NOT_AUDIO"]
    assert found["member"].dropna().tolist() == ["in.zip"]
    assert f"skipped/{path.name}" in [part["path"] for part in json.loads((output / "run.json").read_text())["parts"]]
    assert run("verify", output).code == 0
    assert run("inspect", output, "--json").report["about"]["skipped_listed"] == 3
    assert classify("out", folder)["done_before"]
    (folder / "notes.md").unlink()
    assert classify("out", folder)["counts"] == counts | {"inputs": 4, "skipped": 2}
    assert len(list((output / "skipped").iterdir())) == 1
    assert not path.exists()
    put(output, "skipped/mine.parquet", b"mine")
    refused = run(
        "classify", "--labels", tmp_path / "labels.list", "--audio", folder, "--output", output, "--overwrite"
    )
    assert (refused.code, "skipped/mine.parquet" in refused.err) == (2, True)
    (output / "skipped/mine.parquet").unlink()
    [path] = (output / "skipped").iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert run("verify", output).code == 1


def test_a_collection_that_changed_costs_what_changed_and_gives_the_bytes_of_a_fresh_run(
    run: Run, store: Path, captioner: Path, classify: Classify, tmp_path: Path
) -> None:
    """20 captioned; 3 added in front, one changed, one removed: 4 computed, one named."""
    folder, rng = tmp_path / "audio", np.random.default_rng(0)
    for number in range(10, 30):
        put(folder, f"{number}.wav", wav(number, frames=int(rng.integers(800, 8000))))
    common = ("caption", "--datastore", store, "--captioner", captioner, "--json")
    assert classify("grown", folder, command=common)["computed"] == 20
    for number in (1, 2, 3):
        put(folder, f"0{number}.wav", wav(number, frames=4000))
    put(folder, "15.wav", wav(99, frames=2000))
    (folder / "22.wav").unlink()
    report = classify("grown", folder, command=common)
    assert (report["computed"], report["taken_over"]) == (4, 18)
    assert report["vanished"] == {"count": 1, "first": [str(folder / "22.wav")]}
    classify("fresh", folder, command=common)
    grown, fresh = (
        pd.read_parquet(tmp_path / name / "captions").sort_values("uri").reset_index(drop=True)
        for name in ("grown", "fresh")
    )
    grown = grown[~grown["uri"].str.endswith("22.wav")].reset_index(drop=True)
    assert grown.to_json(double_precision=15) == fresh.to_json(double_precision=15)
    assert grown["clap_score"].to_numpy().tobytes() == fresh["clap_score"].to_numpy().tobytes()
    assert run("verify", tmp_path / "grown").code == 0
