"""post-train-clap and zste as a user calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sonogloss.clap import load_clap
from tests.pipelines.conftest import Run, assert_one_line

LABELS = ("dog", "rain", "siren")


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, encode: Callable[..., bytes]) -> Path:
    """Four half-second clips of three classes in two folds, and one that is no audio."""
    folder = tmp_path_factory.mktemp("collection")
    rng = np.random.default_rng(0)
    rows = ["filename,class,fold"]
    for label in LABELS:
        (folder / label).mkdir()
        for number in range(4):
            noise = np.cumsum(rng.standard_normal(16000)) if label == "rain" else rng.standard_normal(16000)
            (folder / label / f"{number}.wav").write_bytes(encode(0.1 * noise / np.abs(noise).max()))
            rows.append(f"{label}/{number}.wav,{label},{1 + number // 3}")
    (folder / "dog" / "broken.wav").write_text("no sound")
    rows.append("dog/broken.wav,dog,1")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def small() -> list[str]:
    return ["--steps", "2", "--groups", "3", "--eval-every", "1", "--validation-share", "0.4"]


def test_a_clap_is_post_trained_evaluated_and_named_as_done(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, small: list[str]
) -> None:
    output = tmp_path / "ordered"
    command = ["post-train-clap", "--clips", collection, "--clap", tiny_clap_dir, "--output", output, *small]
    first = run(*command, "--max-dead-letters", "0.1", "--json")
    assert first.code == 0, first.err
    assert first.report["clips"] + first.report["validation_clips"] == 12
    assert set(first.report["losses"]) == {"A", "B"}
    assert not first.report["done_before"]
    assert load_clap(str(output)).fingerprint != load_clap(str(tiny_clap_dir)).fingerprint
    assert (output / "training" / "loss.png").exists()
    story = json.loads((output / "post_training.json").read_text())
    assert story["base"]["fingerprint"] == load_clap(str(tiny_clap_dir)).fingerprint
    measured = json.loads((output / "training" / "clips" / "clips.json").read_text())
    assert [letter["code"] for letter in measured["dead_letters"]] == ["UNSUPPORTED"]

    again = run(*command, "--json")
    assert again.report["done_before"]
    assert again.report["losses"] == first.report["losses"]
    assert_one_line(run(*command, "--learning-rate", "0.5"), "other options", "--overwrite")

    judged = run("zste", "--clap", output, "--clips", collection, "--output", tmp_path / "z", "--items", "9", "--json")
    assert judged.code in (0, 1), judged.err
    summary = pd.read_parquet(tmp_path / "z" / "zste" / "summary.parquet")
    assert set(summary.task) == {"1", "2", "3", "4", "5", "retrieval"}
    assert ((summary.low <= summary.value) & (summary.value <= summary.high)).all()
    items = pd.read_parquet(tmp_path / "z" / "zste" / "items.parquet")
    assert len(items[items.task == "4"]) == summary[summary.task == "4"].n.item()


def test_the_same_evaluation_gives_the_same_bytes(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path
) -> None:
    command = ["zste", "--clap", tiny_clap_dir, "--clips", collection, "--folds", "2", "--released-rules"]
    for name in ("one", "two"):
        assert run(*command, "--output", tmp_path / name).code == 0
    for part in ("zste/summary.parquet", "zste/items.parquet"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()
    assert "5, released rule" not in (tmp_path / "one" / "zste" / "summary.parquet").name
    settings = set(pd.read_parquet(tmp_path / "one" / "zste" / "summary.parquet").setting)
    assert {"forward, released rule", "sequence, released rule"} <= settings


def test_too_many_broken_clips_are_a_problem(run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path) -> None:
    outcome = run("zste", "--clap", tiny_clap_dir, "--clips", collection, "--output", tmp_path)
    assert outcome.code == 1
    assert "1 of 13 clips failed" in outcome.err


def test_mistakes_are_told_in_one_line(run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    base = ["--clap", tiny_clap_dir, "--output", tmp_path / "out"]
    assert_one_line(run("zste", "--clips", tmp_path / "gone", *base), "--clips", "not a directory")
    assert_one_line(run("zste", "--clips", tmp_path / "empty", *base), "--clips", "fewer than two classes")
    assert_one_line(run("zste", "--clips", collection, "--folds", "9", *base), "--folds", "'9'")
    assert_one_line(run("zste", "--clips", collection, "--held-out-classes", "2", *base), "--held-out-classes")
    train = ["post-train-clap", "--clips", collection, *base]
    assert_one_line(run(*train, "--stages", "B,A"), "stages")
    assert_one_line(run(*train, "--relations", "during", "while"), "during")
    assert_one_line(run(*train, "--alpha-same", "-1"), "alpha_same")
    assert_one_line(run(*train, "--folds", "9"), "--folds")


def test_held_out_classes_of_training_are_those_of_evaluation(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, small: list[str]
) -> None:
    shared = ["--clips", collection, "--clap", tiny_clap_dir, "--held-out-classes", "0.67"]
    outcome = run("post-train-clap", *shared, "--output", tmp_path / "new", "--max-dead-letters", "1", *small)
    assert_one_line(outcome, "--clips", "fewer than two classes")
    judged = run("zste", *shared, "--output", tmp_path / "z", "--max-dead-letters", "1", "--json")
    assert judged.report["classes"] == 2
