"""Resuming by source, without models: what any history of runs, kills and changes leaves on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonogloss.errors import OutputError
from sonogloss.pipelines.running import resume as resume_room
from sonogloss.pipelines.running.done_sources import NAMED
from sonogloss.pipelines.running.ownership import survey
from sonogloss.pipelines.running.resume import UnitPlan, plan_units
from sonogloss.pipelines.verify_directory import verify
from sonogloss.sources import SkipCode, Skipped, Source, spool
from sonogloss.transforms import commit_run as commit_room
from sonogloss.transforms.commit_run import commit_run, read_parts, read_run
from sonogloss.transforms.skipped_files import SkippedList, write_skipped
from sonogloss.transforms.stopwatch import Stopwatch
from sonogloss.transforms.work_files import commit_work, write_work
from sonogloss.transforms.write_rows import CaptionRows, UnitWriter
from tests.pipelines.jobs_without_models import (
    Fuse,
    KilledError,
    as_format_1,
    assert_complete,
    batch_of,
    recording,
    rows_in,
    rows_of,
    run_job,
    schemas,
    without_later_columns,
)


@pytest.fixture(autouse=True, scope="module")
def little_memory() -> Iterator[None]:
    """Listings are sorted and joined in several pieces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "STRETCH", 5)
        patch.setattr(spool, "RUN", 12)
        yield


changes = st.lists(
    st.tuples(st.sampled_from(["add", "change", "remove", "same"]), st.sets(st.integers(0, 39), max_size=12)),
    min_size=1,
    max_size=4,
)


@settings(deadline=None, max_examples=25)
@given(first=st.sets(st.integers(0, 39), min_size=1), history=changes, fuses=st.lists(st.integers(0, 14), max_size=3))
def test_any_history_of_runs_kills_and_changes_leaves_the_rows_of_a_fresh_run(
    tmp_path_factory: pytest.TempPathFactory, first: set[int], history: list[tuple[str, set[int]]], fuses: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    output, fresh = folder / "output", folder / "fresh"
    there = {number: recording(number) for number in first}
    done: dict[int, Source] = {}
    for what, numbers in [("same", set()), *history]:
        for number in numbers:
            if what == "add":
                there.setdefault(number, done.get(number) or recording(number))
            elif what == "change" and number in there:
                there[number] = replace(there[number], version=str(int(str(there[number].version)) + 1))
            elif what == "remove" and len(there) > 1:
                there.pop(number, None)
        sources = [there[number] for number in sorted(there)]
        if fuses:
            try:
                run_job(output, sources, Fuse(fuses[0]))
            except KilledError:
                fuses = fuses[1:]
        plan = run_job(output, sources)
        vanished = [source for number, source in done.items() if number not in there]
        gone = sorted((source.uri, None) for source in vanished)
        assert (plan.vanished, plan.first_vanished) == (len(gone), gone[:NAMED])
        assert_complete(output, sources, vanished, fresh)
        done |= there
        assert run_job(output, sources).finished


def test_work_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    """600 recordings, 10 added in front, one changed, one removed: 11 are computed."""
    before = [recording(number) for number in range(100, 700)]
    assert sum(len(unit.sources) for unit in run_job(tmp_path / "o", before).pending) == 600
    now = [recording(number) for number in range(90, 700) if number != 300]
    now[now.index(recording(400))] = recording(400, version=2)
    plan = run_job(tmp_path / "o", now)
    assert sorted(source.uri for unit in plan.pending for source in unit.sources) == [
        *(f"/a/{number:03d}.wav" for number in range(90, 100)),
        "/a/400.wav",
    ]
    assert (plan.taken_over, plan.vanished, plan.first_vanished) == (598, 1, [("/a/300.wav", None)])
    assert_complete(tmp_path / "o", now, [recording(300)], tmp_path / "fresh")


@settings(deadline=None, max_examples=25)
@given(
    refused=st.sets(st.integers(0, 39), max_size=8),
    still=st.sets(st.integers(0, 39), max_size=4),
    fuse=st.none() | st.integers(0, 9),
)
def test_exactly_what_may_succeed_another_time_is_tried_again(
    tmp_path_factory: pytest.TempPathFactory, refused: set[int], still: set[int], fuse: int | None
) -> None:
    folder = tmp_path_factory.mktemp("retry")
    output = folder / "output"
    sources = [recording(number) for number in range(40)]
    names = {f"/a/{number:03d}.wav" for number in refused}
    run_job(output, sources, refused=names)
    before = {path: path.read_bytes() for path in output.rglob("part-*")}
    assert run_job(output, sources).finished  # only who asks for it has it
    again = names & {f"/a/{number:03d}.wav" for number in still}
    if fuse is not None:
        with suppress(KilledError):
            run_job(output, sources, Fuse(fuse), refused=again, retry=True)
    plan = run_job(output, sources, refused=again, retry=True)
    tried = {source.uri for unit in plan.pending for source in unit.sources}
    assert tried == names or (fuse is not None and tried == again)  # the job that was killed had committed
    letters = rows_in(output, "dead_letters")
    assert {row["uri"] for row in letters if row["code"] == "READ_ERROR"} == again
    run_job(folder / "fresh", sources, refused=again)
    assert (rows_in(output), letters) == (rows_in(folder / "fresh"), rows_in(folder / "fresh", "dead_letters"))
    assert verify(directory=str(output))["problems"] == []
    if not names:
        assert {path: path.read_bytes() for path in output.rglob("part-*")} == before


def test_an_archive_that_can_be_opened_again_gives_its_members_for_its_dead_letter(tmp_path: Path) -> None:
    archive = Source(uri="/a/007.tar", version="READ_ERROR")
    others = [recording(number) for number in range(3)]
    run_job(tmp_path, [*others, archive], refused={archive.uri})
    member = replace(archive, member="x.wav", version="1")
    plan = run_job(tmp_path, [*others, member], retry=True)
    assert [source for unit in plan.pending for source in unit.sources] == [member]
    assert (plan.vanished, [row["uri"] for row in rows_in(tmp_path, "dead_letters")]) == (0, ["/a/000.wav"])


def test_another_range_of_a_listed_recording_replaces_the_old_one(tmp_path: Path) -> None:
    def piece(start: float) -> Source:
        return replace(recording(4), start_s=start, end_s=start + 10)

    run_job(tmp_path, [piece(0.0), piece(20.0)])
    plan = plan_units(str(tmp_path), [piece(0.0), piece(30.0)], configuration="c", begin_anew=False)
    assert [source.start_s for unit in plan.pending for source in unit.sources] == [0, 30]
    assert plan.vanished == 0
    more = plan_units(str(tmp_path), [piece(0.0), piece(20.0), piece(30.0)], configuration="c", begin_anew=False)
    assert [source.start_s for unit in more.pending for source in unit.sources] == [30]


@pytest.mark.parametrize("changed", [0, 7, 40])
def test_what_a_job_hands_its_commit_in_files_is_what_was_planned(tmp_path: Path, changed: int) -> None:
    """Units of which nothing, something or nothing but new recordings is left."""
    output, sources = tmp_path / "o", [recording(number) for number in range(40)]
    run_job(output, sources)
    now = [recording(number, version=2 if number < changed else 1) for number in range(41)]
    plan = plan_units(str(output), now, configuration="c", begin_anew=False)
    writer = UnitWriter(str(output), configuration="c", kind=CaptionRows(method="m"))
    results = [result for unit in plan.pending if (result := writer.add(batch_of(unit)))]
    head = {"head": {"configuration": {"digest": "c"}}}
    folder = write_work(str(output), units=plan.pending, completed=plan.completed, rewrites=plan.rewrites, head=head)
    commit_work(results, folder=folder, output=str(output), started=Stopwatch(), rows="captions", progress=None)
    assert_complete(output, now, [], tmp_path / "fresh")
    assert plan_units(str(output), now, configuration="c", begin_anew=False).finished


def test_many_parts_are_listed_in_a_manifest_and_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [recording(number) for number in range(40)]
    run_job(tmp_path / "inline", sources)
    inline = read_run(str(tmp_path / "inline"))
    monkeypatch.setattr(commit_room, "INLINE_PARTS", 3)
    monkeypatch.setattr(commit_room, "PARTS_A_MANIFEST", 4)
    run_job(tmp_path / "tree", sources[:30])
    run_job(tmp_path / "tree", sources)
    run = read_run(str(tmp_path / "tree"))
    assert run is not None
    assert inline is not None
    assert "parts" not in run
    assert len(run["manifest"]) == len(list((tmp_path / "tree/manifest").iterdir())) > 1
    assert verify(directory=str(tmp_path / "tree"))["problems"] == []
    run_job(tmp_path / "fresh", sources)
    fresh = read_run(str(tmp_path / "fresh"))
    assert fresh is not None
    assert read_parts(str(tmp_path / "fresh"), fresh) == read_parts(str(tmp_path / "inline"), inline)
    assert run_job(tmp_path / "tree", sources).finished
    victim = tmp_path / "tree" / run["manifest"][0]["path"]
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    assert len(verify(directory=str(tmp_path / "tree"))["problems"]) == 1


@pytest.mark.parametrize("killed_after", [None, 0, 5, 9, 14])
def test_results_of_fewer_columns_go_on_with_all_of_them(tmp_path: Path, killed_after: int | None) -> None:
    sources = [recording(number) for number in range(30)]
    run_job(tmp_path / "o", sources)
    without_later_columns(tmp_path / "o")
    assert verify(directory=str(tmp_path / "o"))["problems"] == []
    assert run_job(tmp_path / "o", sources).finished  # nothing to do: they stay as they are
    now = [*sources[1:], recording(40)]
    if killed_after is not None:
        with suppress(KilledError):
            run_job(tmp_path / "o", now, Fuse(killed_after))
    plan = run_job(tmp_path / "o", now)
    assert killed_after is not None or [source.uri for unit in plan.pending for source in unit.sources] == [
        "/a/040.wav"
    ]
    run_job(tmp_path / "fresh", [*sources, recording(40)])
    assert schemas(tmp_path / "o") == schemas(tmp_path / "fresh")
    assert_complete(tmp_path / "o", now, [recording(0)], tmp_path / "fresh2")
    assert run_job(tmp_path / "o", now).finished


def test_small_units_of_many_runs_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume_room, "MANY", 4)
    monkeypatch.setattr(resume_room, "SMALL", 20)
    for count in range(1, 40):
        sources = [recording(number) for number in range(count)]
        plan = run_job(tmp_path / "o", sources)
        assert sum(len(unit.sources) for unit in plan.pending) == 1
        assert len(list((tmp_path / "o/dead_letters").iterdir())) <= 4 + count // 4
    assert_complete(tmp_path / "o", sources, [], tmp_path / "fresh")
    assert run_job(tmp_path / "o", sources).finished


def test_what_was_left_out_is_listed_again_when_it_changes(tmp_path: Path) -> None:
    def left_out(*names: str) -> SkippedList:
        found = SkippedList()
        for name in names:
            found.add(Skipped(uri=name, code=SkipCode.NOT_AUDIO, reason="It is a text."))
        return found

    def plan(skipped: SkippedList) -> UnitPlan:
        return plan_units(str(tmp_path), sources, configuration="c", begin_anew=False, skipped=skipped)

    sources = [recording(number) for number in range(3)]
    first, second = left_out("/a/x.txt"), left_out("/a/x.txt", "/a/\udcff.txt")
    run_job(tmp_path, sources)
    for skipped in (first, second):
        found = plan(skipped)
        assert not found.finished
        commit_run(
            found.completed, output=str(tmp_path), head={"configuration": {"digest": "c"}}, started=Stopwatch(),
            skipped=skipped.counts, skipped_parts=write_skipped(str(tmp_path), skipped),
        )  # fmt: skip
        assert plan(skipped).finished
        assert verify(directory=str(tmp_path))["problems"] == []
        assert [row["uri"] for row in rows_of(tmp_path / "skipped")][:1] == ["/a/x.txt"]
    assert [row["uri"] for row in rows_of(tmp_path / "skipped")] == ["/a/x.txt", "/a/\\xff.txt"]
    assert len(list((tmp_path / "skipped").iterdir())) == 1
    assert read_run(str(tmp_path))["counts"]["skipped"] == 2  # type: ignore[index]
    leftover = write_skipped(str(tmp_path), first)[0]["path"]
    assert survey(str(tmp_path), kind="captions").leftovers == (leftover,)
    assert len(verify(directory=str(tmp_path))["problems"]) == 1
    assert plan(second).remove == [leftover]


def test_results_of_format_1_go_on_and_count_as_done_whatever_changed(tmp_path: Path) -> None:
    sources = [recording(number) for number in range(20)]
    run_job(tmp_path / "o", sources)
    as_format_1(tmp_path / "o")
    assert verify(directory=str(tmp_path / "o"))["problems"] == []
    assert run_job(tmp_path / "o", sources).finished
    changed = [recording(number, version=2) for number in range(20)]
    plan = run_job(tmp_path / "o", [*changed, recording(20)])
    assert [source.uri for unit in plan.pending for source in unit.sources] == ["/a/020.wav"]
    assert_complete(tmp_path / "o", [*sources, recording(20)], [], tmp_path / "fresh")
    assert run_job(tmp_path / "o", [*changed, recording(20, version=2)]).taken_over == 20


def test_files_that_a_killed_commit_left_are_found_and_nothing_else(tmp_path: Path) -> None:
    run_job(tmp_path, [recording(number) for number in range(20)])
    held = survey(str(tmp_path), kind="captions")
    assert (held.broken, held.leftovers) == ((), ())
    (tmp_path / "captions/.DS_Store").write_bytes(b"")
    unit = next(iter(held.footers.values())).unit
    half = tmp_path / f"captions/part-{unit}-000.parquet.tmp-0123abcd"
    half.write_bytes(b"")
    assert survey(str(tmp_path), kind="captions").leftovers == (f"captions/{half.name}",)
    for name in ("captions/notes.txt", "captions/part-0.parquet", "labels/part-0.csv", "dead_letters/deep/x.parquet"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        with pytest.raises(OutputError, match="not ours") as caught:
            survey(str(tmp_path), kind="captions")
        assert name.rpartition("/")[0] in str(caught.value)
        assert "overwrite" not in str(caught.value)
        path.unlink()
        if path.parent.name == "deep":
            path.parent.rmdir()
    copy = tmp_path / "captions/copy.parquet"
    pq.write_table(pa.table({"a": [1]}), copy)
    with pytest.raises(OutputError, match="copy"):
        survey(str(tmp_path), kind="captions")
