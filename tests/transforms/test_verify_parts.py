"""Verifying results range by range, here and on workers."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sonogloss import files
from sonogloss.pipelines.running import run_parts
from sonogloss.pipelines.verify_directory import verify
from sonogloss.transforms import verify_parts
from sonogloss.transforms.verify_parts import VerificationPlan, plan_verification

COLUMNS = verify_parts._SCHEMAS["captions"]


def results(folder: Path, *parts: list[str]) -> str:
    """A directory with these clips in parts, as far as verifying knows."""
    entries = []
    (folder / "captions").mkdir()
    for number, clips in enumerate(parts):
        name = f"captions/part-{number:016x}-000.parquet"
        rows = [{field.name: _some(field) for field in COLUMNS} | {"clip_id": clip} for clip in clips]
        pq.write_table(pa.Table.from_pylist(rows, COLUMNS), folder / name)
        entries.append({**files.file_entry(str(folder), name), "rows": len(clips)})
    total = sum(map(len, parts))
    counts = {"inputs": total, "captions": total, "dead_letters": 0, "skipped": 0}
    files.write_json(
        str(folder / "run.json"),
        {"format": "sonogloss-results", "format_version": 2, "counts": counts, "parts": entries},
    )
    return str(folder)


def _some(field: pa.Field) -> object:
    if pa.types.is_list(field.type):
        return []
    return "" if pa.types.is_string(field.type) else 0


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify_parts, "PARTS_A_RANGE", 2)


@pytest.mark.parametrize("beam", [(), ("--direct_num_workers", "2", "--direct_running_mode", "multi_threading")])
def test_whoever_looks_finds_the_same(tmp_path: Path, beam: tuple[str, ...]) -> None:
    output = results(tmp_path, ["a", "b"], ["c"], ["d"], ["e", "a"], ["c", "f"])
    damaged = tmp_path / "captions" / f"part-{2:016x}-000.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    problems = verify(directory=output, beam_args=beam)["problems"]
    assert problems[0].startswith(f"captions/{damaged.name} has ")
    assert problems[1:] == ["2 clips have several rows, a among them."]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions", "run.json"]


def test_a_sample_counts_what_it_does_not_read(tmp_path: Path) -> None:
    output = results(tmp_path, *([str(number)] for number in range(9)))
    assert verify(directory=output, sample=3)["problems"] == []
    for number in range(9):
        (tmp_path / "captions" / f"part-{number:016x}-000.parquet").write_bytes(b"")
    assert len(verify(directory=output, sample=3)["problems"]) == 3
    assert plan_verification("f", output, 9, 3).step == 3


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_clips_are_compared_by_hashes_and_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(verify_parts, "CLIPS_A_PASS", at_once)
    for number, (parts, said) in enumerate(
        [([["c", "b", "b"], ["d", "b", "c"]], ["2 clips have several rows, c among them."]), ([["a"], ["b", "c"]], [])]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert verify(directory=results(folder, *parts))["problems"] == said


def test_workers_elsewhere_leave_nothing_in_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They write their findings below the output, and the folder goes with the job."""
    output = results(tmp_path, ["a"], ["b"], ["c"])
    folders: list[str] = []

    def elsewhere(options: object, noun: str, plan: VerificationPlan, *stages: run_parts.Stage) -> None:
        folders.append(plan.folder)
        run_parts.run_here(plan, *stages)

    monkeypatch.setattr(run_parts, "_run_on_beam", elsewhere)
    beam = ["--runner", "PortableRunner", "--job_endpoint", "localhost:1"]
    assert verify(directory=output, beam_args=beam)["problems"] == []
    assert folders[0].startswith(f"{output}/.sonogloss-work/verify-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions", "run.json"]
