"""`caption` with models as they come: no datastore, guided or by keywords alone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile

from sonogloss import files
from sonogloss.pipelines.command_line import main
from sonogloss.soundscapes import CLASSES, RATE, render_variant
from tests.language_models import tiny_gpt2, tiny_tokenizer

from .conftest import Run, assert_one_line

FIRST_RELEASE = {
    "bell": "a bell tolling slowly, then a gun firing slowly, then a bell tolling.",
    "dog": "a dog woofing slowly, then a duck quacking once, then a dog barking.",
    "man": "a man talking slowly, then a train horn blowing once, then a man speaking.",
    "sea": "a gale blowing close by, then a siren sounding, then a high-pitched frog croaking.",
}
"""What `caption --captioner pocket:zeraucap --parity` of the first release wrote for these sounds."""


@pytest.fixture(scope="module")
def zeraucap(tmp_path_factory: pytest.TempPathFactory, tiny_clap_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("zeraucap")
    tiny_gpt2().save_pretrained(folder / "language-model")
    tiny_tokenizer().save_pretrained(folder / "language-model")
    (folder / "labels.txt").write_text("dog\ncat\nrain falling\nengine\nbell\n")
    argv = ["make-captioner", "--clap", tiny_clap_dir, "--language-model", folder / "language-model"]
    numbers = ["--candidates", 9, "--max-tokens", 60, "--labels", folder / "labels.txt"]
    assert main([str(word) for word in [*argv, *numbers, "--output", folder / "captioner", "--json"]]) == 0
    return folder / "captioner"


def rows(directory: Path) -> dict[str, str]:
    table = pq.read_table(directory / "captions").to_pylist()
    return {row["clip_id"]: row["caption"] for row in table}


def digests(directory: Path) -> list[str]:
    return [files.digest(str(path)) for path in sorted((directory / "captions").iterdir())]


def test_guided_and_fast_captions_without_a_datastore(
    run: Run, zeraucap: Path, recordings: Path, tmp_path: Path
) -> None:
    caption = ("caption", "--audio", recordings, "--captioner", zeraucap, "--max-dead-letters", 1, "--json")
    guided = run(*caption, "--output", tmp_path / "guided")
    assert guided.code == 0, guided.err
    counts = guided.report["counts"]
    assert counts["inputs"] == 12
    assert counts["captions"] + counts["dead_letters"] == 12
    assert counts["dead_letters"] >= 1  # the broken recording, and clips of which nothing was said
    assert run(*caption, "--output", tmp_path / "again").code == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "guided")
    configuration = json.loads((tmp_path / "guided" / "run.json").read_text())["configuration"]
    assert (configuration["method"], configuration["fast"], configuration["contexts"]) == ("zeraucap", False, 0)

    row = pq.read_table(tmp_path / "guided" / "captions").to_pylist()[0]
    assert [set(keyword) for keyword in row["keywords"]] == [{"label", "score"}] * 2
    assert row["keywords"][0]["score"] >= row["keywords"][1]["score"]
    assert run("verify", tmp_path / "guided").code == 0

    fast = run(*caption, "--output", tmp_path / "fast", "--fast")
    assert fast.code == 0, fast.err
    said = rows(tmp_path / "fast")
    assert len(said) == fast.report["counts"]["captions"]
    assert said != rows(tmp_path / "guided")
    # Another search is another result: what one began the other does not go on with.
    assert_one_line(run(*caption, "--output", tmp_path / "guided", "--fast"), "options")


def test_what_its_method_does_not_know_is_refused(run: Run, zeraucap: Path, recordings: Path, tmp_path: Path) -> None:
    caption = ("caption", "--audio", recordings, "--captioner", zeraucap, "--output", tmp_path / "out")
    assert_one_line(run(*caption, "--beams", 3), "beams")
    assert_one_line(run(*caption, "--candidate-beams", "2-4"), "beams")
    assert_one_line(run(*caption, "--candidates", 2), "one caption a clip")
    assert_one_line(run(*caption, "--rerank", "pocket"), "one caption a clip", "re-ranking")
    assert_one_line(run(*caption, "--contexts", 2), "--contexts")
    assert_one_line(run(*caption, "--clap", "pocket"), "pocket")
    assert not (tmp_path / "out").exists()


def test_under_parity_the_embedded_captioner_says_what_its_first_release_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number, name in enumerate(list(CLASSES)[::5]):
        if name in FIRST_RELEASE:
            samples = render_variant(name, 4_200_000 + number, CLASSES[name].shortest)[0]
            soundfile.write(tmp_path / "clips" / f"{name}.wav", samples, RATE, subtype="PCM_16")
    caption = ("caption", "--audio", tmp_path / "clips", "--captioner", "pocket:zeraucap", "--parity")
    told = run(*caption, "--output", tmp_path / "out")
    assert told.code == 0, told.err
    table = pq.read_table(tmp_path / "out" / "captions").to_pylist()
    assert {Path(row["uri"]).stem: row["caption"] for row in table} == FIRST_RELEASE
