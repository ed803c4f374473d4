from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonogloss.errors import FormatError
from sonogloss.transforms import join_references, key_buckets
from sonogloss.transforms.join_references import JoinPlan, join_bucket, read_joined
from sonogloss.transforms.key_buckets import REFERENCES, ROWS, bucket_writer, cut_parts, read_part

Reference = tuple[int, str, str | None, list[str]]
Caption = tuple[int, str, str | None, str | None, str, float | None]
KEYS = st.sampled_from(["a", "b", "ü", "狗", "key", "d/e"])


def spread(folder: Path, references: list[Reference], rows: list[Caption], buckets: int, **options: Any) -> JoinPlan:
    """Two rows at once in each batch of references, and as many rows as a part has in each of captions."""
    step = key_buckets.ROWS_A_PART
    with bucket_writer(str(folder), REFERENCES, buckets) as write:
        for start in range(0, len(references), 2):
            write(references[start : start + 2])
    with bucket_writer(str(folder), ROWS, buckets) as write:
        for start in range(0, len(rows), step):
            write(rows[start : start + step])
    texts = {"results": "results", "references": "references", "key": "uri", "first": "a"}
    return JoinPlan(folder=str(folder), buckets=buckets, rows=len(rows), **{"best": False, **texts, **options})


def join(plan: JoinPlan) -> list[list[dict[str, Any]]]:
    """The rows of each part."""
    for bucket in plan.parts:
        join_bucket(bucket, plan)
    return [read_part(plan.folder, plan.buckets, cut).to_pylist() for cut in cut_parts(read_joined(plan).kept)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    references=st.lists(st.tuples(KEYS, st.lists(st.sampled_from(["x", "y z", "雨"]), min_size=1, max_size=3))),
    rows=st.lists(st.tuples(KEYS, st.sampled_from(["", " ", "rain"]), st.floats(-1, 1) | st.none()), min_size=1),
    buckets=st.integers(1, 4),
    best=st.booleans(),
)
def test_rows_stand_beside_all_references_of_their_key_in_their_order(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    references: list[tuple[str, list[str]]],
    rows: list[tuple[str, str, float | None]],
    buckets: int,
    best: bool,
) -> None:
    monkeypatch.setattr(key_buckets, "ROWS_A_PART", 3)
    if best:  # captions without a score cannot be compared
        rows = [(key, caption, 0.0 if score is None else score) for key, caption, score in rows]
    by_key: dict[str, list[str]] = {}
    for key, texts in references:
        by_key.setdefault(key, []).extend(texts)
    expected = [
        {"row": n, "key": key, "clip_id": f"c{n}", "caption": text, "references": by_key[key], "clap_score": score}
        for n, (key, text, score) in enumerate(rows)
        if key in by_key
    ]
    if best:
        ranked = sorted(expected, key=lambda row: (-row["clap_score"], row["row"]))
        firsts = {row["key"]: row["row"] for row in reversed(ranked)}
        expected = [row for row in expected if firsts[row["key"]] == row["row"]]
    plan = spread(
        tmp_path,
        [(n, key, None, texts) for n, (key, texts) in enumerate(references)],
        [(n, key, None, f"c{n}", text, score) for n, (key, text, score) in enumerate(rows)],
        buckets,
        best=best,
    )
    parts = join(plan)
    assert [row for part in parts for row in part] == expected
    assert all(len(part) == 3 for part in parts[:-1])
    found = read_joined(plan)
    without = [key for key, _, _ in rows if key not in by_key]
    assert found.without_references.count == len(without)
    assert list(found.without_references.first) == list(dict.fromkeys(without))
    counted = {key: sum(row["key"] == key for row in expected) for key in by_key}
    assert list(found.without_caption.first) == [key for key, count in counted.items() if not count]
    assert list(found.several_captions.first) == [key for key, count in counted.items() if count > 1]
    assert found.empty_captions.count == sum(not row["caption"].strip() for row in expected)
    assert found.clap_scores == any(row["clap_score"] is not None for row in expected)
    assert (found.unsplit is not None) == any("雨" in row["references"] for row in expected)


@pytest.mark.parametrize("buckets", [1, 3])
def test_two_files_of_one_name_are_refused(tmp_path: Path, buckets: int) -> None:
    twice: list[Reference] = [(0, "a.wav", "x/a.wav", ["rain"]), (1, "b.wav", "b.wav", ["wind"])]
    rows: list[Caption] = [(0, "a.wav", "/1/a.wav", None, "rain", None), (1, "a.wav", "/2/a.wav", None, "rain", None)]
    with pytest.raises(FormatError, match=r"--results 'results' names two files 'a.wav': '/1/a.wav' and '/2/a.wav'"):
        join(spread(tmp_path, twice, rows, buckets))
    with pytest.raises(FormatError, match=r"--references 'references' names two files 'a.wav'"):
        join(spread(tmp_path, [*twice, (2, "a.wav", "y/a.wav", ["x"])], rows[:1], buckets))


@pytest.mark.parametrize("score", [None, math.nan])
def test_captions_of_a_recording_that_cannot_be_compared_are_refused(tmp_path: Path, score: float | None) -> None:
    rows: list[Caption] = [(0, "a", None, None, "rain", 0.5), (1, "a", None, None, "wind", score)]
    with pytest.raises(FormatError, match="several captions of 'a', and not all of them have a clap_score"):
        join(spread(tmp_path, [(0, "a", None, ["rain"])], rows, 2, best=True))


def test_only_the_first_names_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_references, "NAMED", 5)
    rows: list[Caption] = [(n, f"k{n}", None, None, "rain", None) for n in range(40)]
    plan = spread(tmp_path, [(0, "k39", None, ["x"])], rows, 3)
    join(plan)
    found = read_joined(plan).without_references
    assert (found.count, list(found.first)) == (39, [f"k{n}" for n in range(5)])
