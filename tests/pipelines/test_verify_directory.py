"""What was ours and is damaged ends with 1; what never was ours with 2 (tests/pipelines/test_look_and_check.py)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .conftest import Run, assert_one_line


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["captioner.json", "manifest.json", "run.json"])
def test_a_damaged_manifest_is_unsound(run: Run, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = run("verify", tmp_path, "--json")
    assert outcome.code == 1
    assert outcome.err.startswith(f"sonogloss: {name} ")


@pytest.mark.parametrize("key", ["files", "method", "clap", "prompt", "contexts", "decode", "projection"])
def test_a_captioner_that_lacks_an_entry_is_unsound(run: Run, captioner: Path, tmp_path: Path, key: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(captioner, copy)
    content = json.loads((copy / "captioner.json").read_text())
    del content[key]
    (copy / "captioner.json").write_text(json.dumps(content))
    outcome = run("verify", copy)
    assert outcome.code == 1
    assert "captioner.json" in outcome.err
    assert key in outcome.err


@pytest.mark.parametrize("key", ["shards", "clap", "support", "count"])
def test_a_datastore_that_lacks_an_entry_is_unsound(run: Run, store: Path, tmp_path: Path, key: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(store, copy)
    content = json.loads((copy / "manifest.json").read_text())
    del content[key]
    (copy / "manifest.json").write_text(json.dumps(content))
    assert run("verify", copy).code == 1


@pytest.mark.parametrize(
    "content", [{}, {"parts": 3, "counts": {}}, {"parts": [{}], "counts": {}}, {"parts": [], "counts": {"inputs": 1}}]
)
def test_results_that_lack_an_entry_are_unsound(run: Run, tmp_path: Path, content: dict[str, object]) -> None:
    head = {"format": "sonogloss-results", "format_version": 1}
    (tmp_path / "run.json").write_text(json.dumps(head | content))
    outcome = run("verify", tmp_path)
    assert outcome.code == 1
    assert "run.json" in outcome.err


def test_a_stranger_with_the_name_of_a_manifest_is_none_of_ours(run: Run, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"name": "an extension of a browser"}))
    assert_one_line(run("verify", tmp_path), "no finished")


def test_a_sample_of_results_finds_what_it_reads(
    run: Run, captioner: Path, store: Path, recordings: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    words = ["caption", "--audio", recordings, "--datastore", store, "--captioner", captioner, "--output", output]
    assert run(*words, "--max-dead-letters", 1).code == 0
    assert run("verify", output, "--sample", 1).code == 0
    first, *_, last = sorted((output / "captions").iterdir())
    last.write_bytes(last.read_bytes()[:-1])
    assert run("verify", output, "--sample", 1).code == 0
    assert run("verify", output).code == 1
    first.write_bytes(b"")
    assert run("verify", output, "--sample", 1).code == 1
