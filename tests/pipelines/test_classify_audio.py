"""classify, tune-labels and the evaluation of tags, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from sonogloss.clap import Clap
from sonogloss.clap.frames import embed_frames
from sonogloss.pipelines.classify_audio import TagJob
from sonogloss.tagging.label_prompts import load_label_prompts
from sonogloss.tagging.tagger import plain_tagger, prompted_tagger

from .conftest import CAPTIONS, Run, assert_one_line

LABELS = ["dog", "rain", "a_man", "birds", "siren"]


@pytest.fixture(scope="session")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(LABELS))
    return path


@pytest.fixture
def command(recordings: Path, labels: Path, tiny_clap_dir: Path, tmp_path: Path) -> list[object]:
    return [
        "classify", "--audio", recordings, "--labels", labels, "--output", tmp_path / "tags", "--clap", tiny_clap_dir,
        "--max-dead-letters", "0.1", "--json",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory, labels: Path, tiny_clap_dir: Path) -> Path:
    from sonogloss.pipelines.command_line import main

    directory = tmp_path_factory.mktemp("prompts") / "prompts"
    argv = ["tune-labels", "--labels", labels, "--name-only", "--output", directory, "--clap", tiny_clap_dir]
    assert main([*map(str, argv), "--slots", "3", "--epochs", "1", "--texts-per-label", "16", "--json"]) == 0
    return directory


def rows(output: Path) -> list[dict[str, Any]]:
    return pd.read_parquet(output / "labels").sort_values(["uri", "start_s"]).to_dict("records")


def test_every_clip_gets_its_best_labels_and_the_accounts_close(
    run: Run, command: list[object], tmp_path: Path, tiny_clap: Clap
) -> None:
    outcome = run(*command, "--all-scores", "--top", "2")
    assert outcome.code == 0, outcome.err
    assert outcome.report["counts"] == {"inputs": 12, "labels": 11, "dead_letters": 1, "skipped": 0}
    found = rows(tmp_path / "tags")
    assert len(found) == 11
    run_file = json.loads((tmp_path / "tags/run.json").read_text())
    assert run_file["format"] == "sonogloss-results"
    assert run_file["labels"] == LABELS
    bank = plain_tagger(LABELS, tiny_clap)
    for row in found:
        scores = np.asarray(row["scores"])
        best = np.argsort(-scores, kind="stable")[:2]
        assert [label["label"] for label in row["labels"]] == [LABELS[i] for i in best]
        assert [label["score"] for label in row["labels"]] == scores[best].tolist()
    assert bank.labels == tuple(LABELS)
    assert run("verify", tmp_path / "tags").code == 0
    assert run("inspect", tmp_path / "tags", "--json").report["about"]["counts"]["labels"] == 11
    (tmp_path / "tags/labels/part-x-000.parquet").write_bytes(b"")
    assert "not named" in run("verify", tmp_path / "tags").err


def test_a_finished_run_is_not_repeated_and_another_is_not_mixed_in(
    run: Run, command: list[object], tmp_path: Path
) -> None:
    assert run(*command).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "tags").rglob("*.parquet")}
    assert run(*command).report["done_before"]
    (tmp_path / "tags/run.json").unlink()
    sorted((tmp_path / "tags/labels").iterdir())[0].unlink()
    again = run(*command)
    assert again.report["taken_over"] + again.report["computed"] == 10
    assert again.report["taken_over"] in (2, 8)
    assert before == {path: path.read_bytes() for path in (tmp_path / "tags").rglob("*.parquet")}
    assert_one_line(run(*command, "--top", "1"), "--output", "--overwrite", "--top was 5")
    assert run(*command, "--top", "1", "--no-resume").code == 0


def test_tags_and_captions_do_not_share_a_directory(
    run: Run, command: list[object], tmp_path: Path, recordings: Path, store: Path, captioner: Path
) -> None:
    assert run(*command).code == 0
    other = ["caption", "--audio", recordings, "--datastore", store, "--captioner", captioner]
    assert_one_line(run(*other, "--output", tmp_path / "tags"), "results of classify")


def test_several_worker_processes_write_the_same_bytes(run: Run, command: list[object], tmp_path: Path) -> None:
    assert run(*command).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "tags").rglob("*.parquet")}
    elsewhere = [tmp_path / "two" if word == tmp_path / "tags" else word for word in command]
    outcome = run(*elsewhere, "--direct_num_workers", "2", "--direct_running_mode", "multi_threading")
    assert outcome.code == 0, outcome.err
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "two").rglob("*.parquet")}


def test_results_of_a_release_that_embedded_labels_first_go_on(
    run: Run, command: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest held the embeddings."""
    with monkeypatch.context() as patch:
        patch.setattr(
            TagJob, "digest", lambda job, digest=TagJob.digest: digest(job, "cpu", job.tagger.load().fingerprint)
        )
        assert run(*command).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "tags").rglob("part-*")}
    assert run(*command, "--json").report["done_before"]
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "tags").rglob("part-*")}


def test_several_labels_may_be_true(run: Run, command: list[object], tmp_path: Path) -> None:
    assert run(*command, "--all-scores").code == 0
    threshold = float(np.median([row["scores"] for row in rows(tmp_path / "tags")]))
    assert run(*command, "--all-scores", "--multi-label", "--threshold", str(threshold), "--no-resume").code == 0
    for row in rows(tmp_path / "tags"):
        assert len(row["labels"]) == sum(score >= threshold for score in row["scores"])
    assert {len(row["labels"]) for row in rows(tmp_path / "tags")} != {5}


def test_learned_prompts_compare_labels_with_frames_too(
    run: Run, command: list[object], tmp_path: Path, prompts: Path, tiny_clap: Clap, recordings: Path
) -> None:
    without_clap = [
        word for word in command if word != "--clap" and word != tiny_clap.name and str(word) != tiny_clap.name
    ]
    outcome = run(*without_clap, "--label-prompts", prompts, "--all-scores")
    assert outcome.code == 0, outcome.err
    tagger = prompted_tagger(LABELS, tiny_clap, load_label_prompts(str(prompts)))
    import soundfile

    samples, _ = soundfile.read(recordings / "0.wav", dtype="float32")
    clip, frames = embed_frames(tiny_clap, [samples])
    assert rows(tmp_path / "tags")[0]["scores"] == pytest.approx(tagger.scores(clip, frames)[0], abs=1e-5)


def test_a_dry_run_writes_nothing(run: Run, command: list[object], tmp_path: Path) -> None:
    outcome = run(*command, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert len(outcome.report["rows"][0]["labels"]) == 5
    assert not (tmp_path / "tags").exists()
    assert "nothing was written" in run(*[word for word in command if word != "--json"], "--dry-run").out


def test_mistakes_are_told_in_one_line(run: Run, command: list[object], tmp_path: Path, prompts: Path) -> None:
    assert_one_line(run(*command, "--template", "no place"), "{label}")
    assert_one_line(run(*command, "--template", "a {label}", "--label-prompts", prompts), "--label-prompts")
    assert_one_line(run(*command, "--label-prompts", tmp_path / "none"), "prompts.json")
    assert_one_line(run(*command, "--window", "60"), "--window")
    assert_one_line(run(*command, "--clap", "pocket", "--label-prompts", prompts), "learned with the CLAP")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    assert_one_line(run(*command, "--labels", empty), "no labels")


def test_audio_of_which_nothing_can_be_read_is_a_mistake(
    run: Run, tmp_path: Path, labels: Path, tiny_clap_dir: Path
) -> None:
    (tmp_path / "a.wav").write_text("not sound")
    argv = ["classify", "--audio", tmp_path / "a.wav", "--labels", labels, "--clap", tiny_clap_dir]
    for extra in ([], ["--dry-run"]):
        assert_one_line(run(*argv, "--output", tmp_path / "tags", *extra), "--audio", "a.wav")


def test_tags_are_evaluated(run: Run, command: list[object], tmp_path: Path) -> None:
    assert run(*command, "--all-scores").code == 0
    found = rows(tmp_path / "tags")
    truth = [{"filename": f"{number}.wav", "class": "A man" if number % 2 else "dog"} for number in range(9)]
    truth += [{"filename": "99.wav", "class": "dog"}, {"filename": "8.wav", "class": "a whale"}]
    references = tmp_path / "truth.csv"
    pd.DataFrame(truth).to_csv(references, index=False)
    argv = [
        "evaluate",
        "--results",
        tmp_path / "tags",
        "--references",
        references,
        "--output",
        tmp_path / "ev",
        "--overwrite",
    ]
    outcome = run(*argv, "--json")
    assert outcome.code == 0, outcome.err
    report = outcome.report
    right = [row["labels"][0]["label"] == ("a_man" if int(Path(row["uri"]).stem) % 2 else "dog") for row in found]
    assert {row["metric"]: row["value"] for row in report["corpus"]}["accuracy"] == pytest.approx(np.mean(right))
    assert report["clips"] == 11
    assert report["unknown_labels"] == ["a whale"]
    assert report["without_tags"] == ["99.wav"]
    classes = pq.read_table(tmp_path / "ev/metrics/classes.parquet").to_pylist()
    assert [row["label"] for row in classes] == LABELS
    assert {row["label"]: row["n"] for row in classes}["a_man"] == sum(int(Path(r["uri"]).stem) % 2 for r in found)
    assert pq.read_table(tmp_path / "ev/metrics/corpus.parquet").to_pylist() == report["corpus"]
    assert len(pq.read_table(tmp_path / "ev/metrics/clips.parquet")) == 11
    assert "a whale" in run(*argv).out
    assert_one_line(run(*argv, "--metrics", "cider_d"), "cider_d", "captions")


def test_map_needs_all_scores_and_lists_of_labels_are_read(run: Run, command: list[object], tmp_path: Path) -> None:
    assert run(*command).code == 0
    references = tmp_path / "truth.jsonl"
    references.write_text(
        "".join(json.dumps({"file_name": f"{n}.wav", "labels": ["dog", "rain"]}) + "\n" for n in range(9))
    )
    argv = [
        "evaluate",
        "--results",
        tmp_path / "tags",
        "--references",
        references,
        "--output",
        tmp_path / "ev",
        "--overwrite",
    ]
    assert [row["metric"] for row in run(*argv, "--json").report["corpus"]] == ["accuracy"]
    assert_one_line(run(*argv, "--metrics", "map"), "--all-scores")
    assert list(run(*argv, "--metrics", "all", "--json").report["not_available"]) == ["map"]
    references.write_text(json.dumps({"file_name": "0.wav", "sound": "dog"}))
    assert_one_line(run(*argv), "labels")
    references.write_text(json.dumps({"file_name": "none.wav", "label": "dog"}))
    assert_one_line(run(*argv), "in common")


def test_prompts_are_learned_from_a_dump(run: Run, tmp_path: Path, tiny_clap_dir: Path) -> None:
    (tmp_path / "labels.txt").write_text("dog\nrain\nwhale")
    (tmp_path / "dump.jsonl").write_text(
        "".join(json.dumps({"caption": f"{text} number {n}"}) + "\n" for text in CAPTIONS[:2] for n in range(20))
    )
    argv = [
        "tune-labels", "--labels", tmp_path / "labels.txt", "--texts", tmp_path / "dump.jsonl", "--text-column",
        "caption", "--output", tmp_path / "prompts", "--clap", tiny_clap_dir, "--slots", 3, "--epochs", 2, "--json",
    ]  # fmt: skip
    outcome = run(*argv)
    assert outcome.code == 0, outcome.err
    assert outcome.report["texts"] == {"dog": 20, "rain": 20, "whale": 16}
    assert outcome.report["from_names"] == ["whale"]
    assert len((tmp_path / "prompts/curve.csv").read_text().splitlines()) == 3
    prompts = load_label_prompts(str(tmp_path / "prompts"))
    assert prompts.labels == ("dog", "rain", "whale")
    assert run("verify", tmp_path / "prompts").code == 0
    assert run("inspect", tmp_path / "prompts", "--json").report["about"]["slots"] == 3
    again = run(*argv)
    assert again.report["done_before"]
    assert again.report["texts"] == outcome.report["texts"]
    assert_one_line(run(*argv, "--seed", 1), "--overwrite")
    assert run(*argv, "--seed", 1, "--overwrite").code == 0
    assert not run(*argv, "--seed", 1, "--no-resume").report["done_before"]
    assert load_label_prompts(str(tmp_path / "prompts")).fingerprint != prompts.fingerprint
    assert "whale" in run(*[word for word in argv if word != "--json"], "--seed", 1).out


def test_mistakes_in_tuning_are_told_in_one_line(run: Run, tmp_path: Path, labels: Path, tiny_clap_dir: Path) -> None:
    argv = ["tune-labels", "--labels", labels, "--output", tmp_path / "p", "--clap", tiny_clap_dir]
    assert_one_line(run(*argv), "--texts", "--name-only")
    dump = tmp_path / "dump.txt"
    dump.write_text("nothing of that kind")
    assert_one_line(run(*argv, "--texts", dump, "--name-only"), "exclude")
    assert_one_line(run(*argv, "--texts", dump), "--name-only")
    assert_one_line(run(*argv, "--texts", tmp_path / "no.txt"), "--texts")
    assert_one_line(run(*argv, "--name-only", "--slots", 100), "room for")
    keywords = tmp_path / "keywords.json"
    keywords.write_text('{"dog": "bark"}')
    assert_one_line(run(*argv, "--texts", dump, "--keywords", keywords), "--keywords")
    one = tmp_path / "one.txt"
    one.write_text("dog")
    assert_one_line(run(*argv, "--labels", one, "--name-only"), "--labels")
