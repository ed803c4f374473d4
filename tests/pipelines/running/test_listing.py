"""Looking into archives on workers: the recordings, their order and what is left out are those of looking here."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from sonogloss.errors import FormatError, OutputError
from sonogloss.pipelines.config.captioning import CaptionConfig
from sonogloss.pipelines.running import listing, run_parts
from sonogloss.pipelines.running.inputs import list_audio
from sonogloss.pipelines.running.lease import lease
from sonogloss.sources.find import look_here
from sonogloss.transforms import list_files
from sonogloss.transforms.work_files import WORK_FOLDER
from tests.archives import parquet, put, tar, wav, zipped

THREADS = ("--direct_num_workers", "2", "--direct_running_mode", "multi_threading")


def archives(folder: Path) -> list[str]:
    """Patterns that name archives, recordings and what is neither, some of it twice."""
    members = {"x.wav": wav(1), "x.json": b'{"city": "Ulm"}', "sub/y.wav": wav(2), "notes.doc": b"x", ".z.wav": wav(3)}
    for name, content in {
        "in/a.wav": wav(4),
        "in/b.tar": tar(members),
        "in/caf\udce9.zip": zipped(members),
        "in/c.tar": tar(members)[:700],
        "in/d.parquet": parquet(members),
        "in/e": wav(5),
        "in/f.txt": b"a note",
        "in/g": b"nothing",
        "in/h/i.tar": tar({}),
        "in/h/j.wav": wav(6),
        "list.csv": b"uri,member\nin/b.tar,sub/y.wav\nin/h/j.wav,\nin/no.wav,\n",
    }.items():
        put(folder, name, content)
    return [str(folder / "list.csv"), str(folder / "in"), str(folder / "in/*.tar")]


def config(folder: Path, *more: str) -> CaptionConfig:
    return CaptionConfig(audio=["x"], datastore="d", output=folder / "results", beam_args=(*THREADS, *more))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_workers_find_what_is_found_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool) -> None:
    patterns = archives(tmp_path)
    expected, left_out = list_audio(patterns)
    monkeypatch.setattr(list_files, "RANGE_FILES", 2)
    monkeypatch.setattr(listing, "MUCH", 0)
    if elsewhere:  # their folder is one below the output
        shared = partial(run_parts._shared_folder, str(tmp_path / "results"), f"{WORK_FOLDER}/listing")
        monkeypatch.setattr(run_parts, "_local_folder", shared)
    found, skipped = list_audio(patterns, listing.look_with_workers(config(tmp_path)))
    assert list(found) == list(expected)
    assert list(found.keys()) == list(expected.keys())
    assert (skipped.rows, skipped.counts) == (left_out.rows, left_out.counts)
    assert {row.code for row in skipped.rows} >= {"NOT_AUDIO", "REPEATED", "HIDDEN"}
    assert {source.container for source in found} == {"file", "tar", "zip", "parquet", None}
    assert list((tmp_path / "results").iterdir()) == []


def test_where_there_is_little_to_look_into_no_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns = archives(tmp_path)
    monkeypatch.setattr(listing, "parts_runner", None)
    found, _ = list_audio(patterns, listing.look_with_workers(config(tmp_path)))
    assert list(found) == list(list_audio(patterns)[0])
    assert not (tmp_path / "results").exists()


def test_the_launcher_of_a_template_submits_one_job_and_looks_itself(tmp_path: Path) -> None:
    assert listing.look_with_workers(config(tmp_path, "--template_location=gs://b/t")) is look_here
    assert listing.look_with_workers(config(tmp_path)) is not look_here


def test_an_output_that_another_job_holds_is_refused_before_workers_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MUCH", 0)
    look = listing.look_with_workers(config(tmp_path))
    with lease(str(tmp_path / "results"), "caption"), pytest.raises(OutputError, match="caption"):
        list_audio(archives(tmp_path), look)
    put(tmp_path, "bad.csv", b"name\na.wav\n")
    with pytest.raises(FormatError, match="no column uri"):
        list_audio([str(tmp_path / "bad.csv")], look)
