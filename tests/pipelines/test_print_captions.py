"""caption without an output: captions as text, and nothing on disk."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonogloss.pipelines.running.print_captions import formatted, free_name

from .conftest import Run, assert_one_line

FILE = {"uri": "/a.wav", "member": None}
ROWS = [
    {**FILE, "start_s": 0.0, "end_s": 10.0, "caption": "rain <b> & wind", "clap_score": 0.5},
    {**FILE, "start_s": 3599.9996, "end_s": 3601.25, "caption": 'a "dog", then', "clap_score": 1.0},
]


def test_formats() -> None:
    assert formatted(ROWS, "txt") == (
        '[00:00:00.000 --> 00:00:10.000]  rain <b> & wind\n[01:00:00.000 --> 01:00:01.250]  a "dog", then\n'
    )
    assert formatted(ROWS, "srt") == (
        '1\n00:00:00,000 --> 00:00:10,000\nrain <b> & wind\n\n2\n01:00:00,000 --> 01:00:01,250\na "dog", then\n\n'
    )
    assert formatted(ROWS, "vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:10.000\nrain &lt;b&gt; &amp; wind\n\n"
        '01:00:00.000 --> 01:00:01.250\na "dog", then\n\n'
    )
    assert [json.loads(line) for line in formatted(ROWS, "jsonl").splitlines()] == ROWS
    assert [row["caption"] for row in csv.DictReader(io.StringIO(formatted(ROWS, "csv")))] == [
        row["caption"] for row in ROWS
    ]


@pytest.fixture
def common(store: Path, captioner: Path, tiny_clap_dir: Path) -> list[object]:
    return ["--datastore", store, "--captioner", captioner, "--clap", tiny_clap_dir]


def test_captions_are_printed(run: Run, recordings: Path, common: list[object], tmp_path: Path) -> None:
    outcome = run("caption", recordings / "3.wav", *common)
    assert outcome.code == 0, outcome.err
    assert re.findall(r"^\[(\S+) --> (\S+)\]  \S", outcome.out, re.MULTILINE) == [
        ("00:00:00.000", "00:00:10.000"), ("00:00:10.000", "00:00:20.000"), ("00:00:20.000", "00:00:25.000"),
    ]  # fmt: skip
    both = run("caption", recordings / "0.wav", recordings / "1.wav", *common).out.splitlines()
    assert [line for line in both if not line.startswith("[")] == [f"{recordings}/{n}.wav" for n in range(2)]
    rows = run("caption", recordings / "3.wav", *common, "--json").report["rows"]
    output = tmp_path / "results"
    run("caption", "--audio", recordings / "3.wav", *common, "--output", output)
    import pandas as pd

    written = pd.read_parquet(output / "captions").sort_values("start_s")
    assert [row["caption"] for row in rows] == list(written["caption"])
    assert [row["clap_score"] for row in rows] == list(written["clap_score"])


def test_failures_are_said_and_counted(run: Run, recordings: Path, common: list[object]) -> None:
    outcome = run("caption", recordings, *common)
    assert outcome.code == 1
    assert "9.wav: UNSUPPORTED" in outcome.err
    assert "1 of 12 inputs failed" in outcome.err
    assert len([line for line in outcome.out.splitlines() if line.startswith("[")]) == 11


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "srt"], "one recording"),
        (["--workers", "2"], "--output"),
        (["--dry-run"], "--output"),
        (["--runner", "DirectRunner"], "--runner"),
    ],
)
def test_what_belongs_to_a_results_directory_is_refused(
    run: Run, recordings: Path, common: list[object], options: list[str], words: str
) -> None:
    assert_one_line(run("caption", recordings, *common, *options), words)


def test_results_are_exported_and_the_job_says_what_it_did(
    run: Run, recordings: Path, common: list[object], tmp_path: Path
) -> None:
    output = tmp_path / "results"
    (tmp_path / "b").mkdir()
    shutil.copy(recordings / "3.wav", tmp_path / "b/0.wav")
    command = ["caption", recordings / "0.wav", tmp_path / "b/0.wav", *common, "--output", output]
    outcome = run(*command, "--format", "jsonl")
    assert outcome.code == 0, outcome.err
    assert "clips a second, real-time factor" in outcome.out
    assert f"Next: sonogloss report {output}" in outcome.out
    assert "0.wav 0-10 s: " in outcome.err
    rows = [json.loads(line) for line in (output / "exports/captions.jsonl").read_text().splitlines()]
    assert [(row["uri"], row["start_s"]) for row in rows] == sorted((row["uri"], row["start_s"]) for row in rows)
    assert len(rows) == len(run(*command[:3], *common, "--json").report["rows"]) == 4
    again = run(*command, "--format", "srt", "--json").report
    assert [Path(name).name for name in again["exports"]] == ["0.srt", "0-2.srt"]
    assert sorted((output / f"exports/{name}.srt").read_text().count("-->") for name in ("0", "0-2")) == [1, 3]
    assert run("verify", output).code == 0


def test_names_stand_above_captions_of_several_recordings_only() -> None:
    other = {**ROWS[0], "uri": "/b.wav"}
    text = formatted([*ROWS, other], "txt")
    assert [line for line in text.splitlines() if not line.startswith("[")] == ["/a.wav", "/b.wav"]
    assert formatted([], "txt") == ""


@given(st.lists(st.sampled_from(["rain", "rain-2", "rain-2-2", "rain-3", "\u00e9" * 130, "n" * 250]), max_size=12))
def test_no_subtitles_replace_others_whatever_recordings_are_called(names: list[str]) -> None:
    taken: Counter[str] = Counter()
    found = [free_name(name, taken) for name in names]
    assert len(set(found)) == len(names)
    assert all(len(name.encode()) <= 210 for name in found)
    assert all(name == wanted for name, wanted in zip(found[:1], names, strict=False) if len(wanted) < 100)
