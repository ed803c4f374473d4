"""report, as a user calls it."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.archives import put, tar
from tests.page.test_page import block

from .conftest import CAPTIONS, Run, assert_one_line


@pytest.fixture(scope="module")
def results(
    tmp_path_factory: pytest.TempPathFactory, recordings: Path, store: Path, captioner: Path, tiny_clap_dir: Path
) -> Path:
    """Captions of loose files, two failures among them, and of the members of an archive."""
    from sonogloss.pipelines.command_line import main

    folder = tmp_path_factory.mktemp("report")
    archive = put(folder, "some.tar", tar({"x.wav": (recordings / "0.wav").read_bytes()}))
    argv = ["caption", "--audio", recordings, archive, "--datastore", store, "--captioner", captioner, "--output",
            folder / "a", "--embedding", "--clap", tiny_clap_dir, "--max-dead-letters", "0.5", "--json"]  # fmt: skip
    assert main([*map(str, argv)]) == 0
    return folder / "a"


def page_of(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    return block(text, "data"), block(text, "sounds")


def test_everything_of_a_run_is_on_the_page(run: Run, results: Path, recordings: Path, tmp_path: Path) -> None:
    references = put(
        tmp_path,
        "references.jsonl",
        "".join(json.dumps({"file_name": f"{n}.wav", "references": CAPTIONS[:2]}) + "\n" for n in range(9)).encode(),
    )
    other = shutil.copytree(results, tmp_path / "b" / results.name)
    outcome = run(
        "report",
        results,
        "--references",
        references,
        "--compare",
        results,
        other,
        "--output",
        tmp_path / "page.html",
        "--json",
    )
    assert outcome.code == 0, outcome.err
    assert outcome.report["rows"] == outcome.report["clips"] == outcome.report["sounds"] == 12
    data, sounds = page_of(tmp_path / "page.html")
    assert [clip["name"] for clip in data["clips"]][:6] == ["0.wav", "1.wav", "2.wav", "3.wav", "3.wav", "3.wav"]
    assert [clip["start"] for clip in data["clips"]][3:6] == [0, 10, 20]
    assert data["clips"][-1]["member"] == "x.wav"
    assert set(sounds) == {clip["id"] for clip in data["clips"]}
    assert all(base64.b64decode(sound).startswith(b"OggS") for sound in sounds.values())
    assert all(clip["peaks"] and len(clip["contexts"]) == 2 and clip["caption"] for clip in data["clips"])
    assert all(clip["others"][0]["caption"] == clip["caption"] for clip in data["clips"])
    assert all(len(clip["others"]) == 2 for clip in data["clips"])
    assert [run["name"] for run in data["runs"]] == [str(results), str(results), str(other)]
    assert data["clips"][0]["references"] == CAPTIONS[:2]
    assert data["clips"][0]["metrics"] == data["clips"][0]["others"][0]["metrics"]
    assert {row["metric"] for row in data["metrics"]} >= {"bleu_1", "cider_d"}
    rouge = next(row for row in data["metrics"] if row["metric"] == "rouge_l")
    assert rouge["n"] == 11
    assert all(low <= value <= high for value, low, high in rouge["values"])
    assert len(data["map"]) == 12
    assert [(one["code"], one["count"]) for one in data["failures"]] == [("UNSUPPORTED", 1)]
    assert data["runs"][0]["rows"] == 12
    assert data["runs"][0]["hours"] * 3600 == pytest.approx(34)
    assert "parts" not in data["runs"][0]["record"]


def test_a_recording_counts_once(run: Run, results: Path, tmp_path: Path) -> None:
    rows = [json.dumps({"file_name": f"{n}.wav", "references": CAPTIONS[:2]}) for n in (0, 3)]
    references = put(tmp_path, "references.jsonl", "\n".join(rows).encode())
    options = ("--references", references, "--per", "recording", "--output", tmp_path / "page.html")
    assert run("report", results, *options).code == 0
    data, _ = page_of(tmp_path / "page.html")
    assert {row["n"] for row in data["metrics"]} == {2}
    scored = [clip["name"] for clip in data["clips"] if clip["metrics"]]
    assert scored == ["0.wav", "3.wav"]


def test_the_page_stays_within_its_bounds(run: Run, results: Path, tmp_path: Path) -> None:
    outcome = run(
        "report", results, "--clips", "5", "--audio-mb", "0.001", "--output", tmp_path / "page.html", "--json"
    )
    assert outcome.report["clips"] == 5
    assert outcome.report["sounds"] == 1
    data, _ = page_of(tmp_path / "page.html")
    assert data["notes"] == [
        "The first 5 of 12 clips are shown.",
        "The sound of 1 of 5 clips is in this page (--audio-mb 0.001).",
    ]


def test_links_lead_from_the_page_to_the_recording(run: Run, results: Path, recordings: Path, tmp_path: Path) -> None:
    run("report", results, "--audio", "link", "--output", tmp_path / "page.html")
    data, sounds = page_of(tmp_path / "page.html")
    assert sounds == {}
    assert (tmp_path / data["clips"][0]["link"]).resolve() == (recordings / "0.wav").resolve()
    assert data["clips"][-1]["link"] is None  # a member of an archive
    run("report", results, "--audio", "none", "--output", tmp_path / "page.html")
    assert "peaks" not in page_of(tmp_path / "page.html")[0]["clips"][0]


def test_tags_have_a_page_too(run: Run, recordings: Path, tiny_clap_dir: Path, tmp_path: Path) -> None:
    labels = put(tmp_path, "labels.txt", b"dog\nrain\nwind\nbirds\n")
    run(
        "classify",
        "--audio",
        recordings / "0.wav",
        "--labels",
        labels,
        "--clap",
        tiny_clap_dir,
        "--output",
        tmp_path / "t",
    )
    outcome = run("report", tmp_path / "t", "--output", tmp_path / "page.html", "--json")
    assert outcome.code == 0, outcome.err
    [clip] = page_of(tmp_path / "page.html")[0]["clips"]
    assert clip["caption"] == ", ".join(label for label, _ in clip["labels"][:3])
    assert clip["score"] == clip["labels"][0][1]


def test_mistakes_are_one_sentence(run: Run, results: Path, tmp_path: Path) -> None:
    mine = put(tmp_path, "mine.html", b"<html>my own page</html>")
    assert_one_line(run("report", results, "--output", mine), "is no page of ours")
    assert Path(mine).read_bytes() == b"<html>my own page</html>"
    assert_one_line(run("report", results, "--output", tmp_path), "is a directory")
    assert_one_line(run("report", tmp_path / "nothing", "--output", tmp_path / "p.html"), "is not a directory")
    assert_one_line(run("report", tmp_path, "--output", tmp_path / "p.html"), "no run.json")
