"""post-train-clap and zste as a user calls them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from sonogloss.clap import load_clap
from sonogloss.pipelines.command_line import command_parser
from sonogloss.pipelines.config.temporal import PostTrainClapConfig, TuneLabelsConfig, ZsteConfig
from sonogloss.pipelines.evaluate_order import zste
from sonogloss.tagging.config import TuningConfig
from sonogloss.temporal.config import PairSettings, PostTrainConfig
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
    assert_one_line(run(*command, "--learning-rate", "0.5"), "(learning_rate was 0.001)", "--overwrite")

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


def test_mistakes_are_reported_in_one_line(run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    base = ["--clap", tiny_clap_dir, "--output", tmp_path / "out"]
    assert_one_line(run("zste", "--clips", tmp_path / "gone", *base), "--clips", "not a directory")
    assert_one_line(run("zste", "--clips", tmp_path / "empty", *base), "--clips", "fewer than two classes")
    assert_one_line(run("zste", "--clips", collection, "--folds", "9", *base), "--folds", "'9'")
    assert_one_line(run("zste", "--clips", collection, "--held-out-classes", "2", *base), "--held-out-classes")
    train = ["post-train-clap", "--clips", collection, *base]
    assert_one_line(run(*train, "--stages", "B,A"), "stages")
    assert_one_line(run(*train, "--relations", "during", "while"), "during")
    assert_one_line(run(*train, "--alpha-same", "-1"), "--alpha-same")
    assert_one_line(run(*train, "--folds", "9"), "--folds")


def test_held_out_classes_of_training_are_those_of_evaluation(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, small: list[str]
) -> None:
    shared = ["--clips", collection, "--clap", tiny_clap_dir, "--held-out-classes", "0.67"]
    outcome = run("post-train-clap", *shared, "--output", tmp_path / "new", "--max-dead-letters", "1", *small)
    assert_one_line(outcome, "--clips", "fewer than two classes")
    judged = run("zste", *shared, "--output", tmp_path / "z", "--max-dead-letters", "1", "--json")
    assert judged.report["classes"] == 2


def test_the_python_functions_take_paths_lists_and_configurations(
    collection: Path, tiny_clap_dir: Path, tmp_path: Path
) -> None:
    options = {"clips": collection, "clap": tiny_clap_dir, "items": 4, "max_dead_letters": 0.5}
    report = zste(**options, folds=["2"], output=tmp_path / "one")
    assert report == zste(ZsteConfig(**options, folds=("2",), output=str(tmp_path / "one"))) | {
        "done_before": False,
        "seconds": report["seconds"],
    }
    config = PostTrainClapConfig(clips=[collection], output=tmp_path / "clap", stages="b", relations=["after", "while"])
    assert config.clips == (str(collection),)
    assert config.training.stages == ("B",)
    assert config.training.pairs.relations == ("after", "while")
    assert config.training == PostTrainConfig(stages=("B",), pairs=config.pairs)


def test_defaults_of_the_command_are_those_of_the_training() -> None:
    assert PostTrainClapConfig(clips="c", output="o").training == PostTrainConfig()
    assert TuneLabelsConfig(labels="pocket", name_only=True, output="o").tuning == TuningConfig()
    assert ZsteConfig(clips="c", clap="pocket", output="o").pairs == PairSettings()


def test_the_evaluation_of_other_options_is_refused_until_it_may_be_replaced(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, write_clap: Callable[..., None]
) -> None:
    clap = tmp_path / "clap"
    shutil.copytree(tiny_clap_dir, clap)
    write_clap(tmp_path / "other", seed=5)
    command = ["zste", "--clap", clap, "--clips", collection, "--folds", "2", "--items", "4", "--output", tmp_path]
    first = run(*command, "--json").report
    summary = tmp_path / "zste" / "summary.parquet"
    stamp = summary.stat().st_mtime_ns
    again = run(*command)
    assert "nothing to do" in again.out
    assert summary.stat().st_mtime_ns == stamp
    for option, value, before in (("seed", "7", "0"), ("items", "3", "4"), ("level", "-20", "None")):
        outcome = run(*command, f"--{option}", value)
        assert_one_line(outcome, "--output", "other options", f"{option} was {before}", "--overwrite")
    shutil.copytree(tmp_path / "other", clap, dirs_exist_ok=True)
    assert_one_line(run(*command), "another CLAP", "--overwrite")
    assert summary.stat().st_mtime_ns == stamp
    replaced = run(*command, "--overwrite", "--json").report
    assert replaced["clap"]["fingerprint"] != first["clap"]["fingerprint"]
    (collection / "dog" / "0.wav").rename(collection / "dog" / "new.wav")
    metadata = collection / "metadata.csv"
    text = metadata.read_text()
    try:
        metadata.write_text(text.replace("dog/0.wav,dog,1", "dog/new.wav,dog,2"))
        assert_one_line(run(*command), "other options or clips")
    finally:
        metadata.write_text(text)
        (collection / "dog" / "new.wav").rename(collection / "dog" / "0.wav")


def test_a_clap_is_not_written_over_other_files(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, small: list[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(tiny_clap_dir, own)
    before = {path.name: path.read_bytes() for path in own.iterdir()}
    command = ["post-train-clap", "--clips", collection, "--clap", own, "--output", own, *small]
    assert_one_line(run(*command), "--output", "other files", "--overwrite")
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_mistakes_are_found_before_a_model_is_loaded(
    run: Run, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*args: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    for name in ("post_train_clap.Towers", "evaluate_order.ClapReference.of", "tune_labels.load_clap"):
        monkeypatch.setattr(f"sonogloss.pipelines.{name}", load)
    (tmp_path / "file").write_text("in the way")
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nrain\n")
    commands = [
        ["post-train-clap", "--clips", collection],
        ["zste", "--clips", collection, "--clap", "pocket"],
        ["tune-labels", "--labels", labels, "--name-only"],
    ]
    for command in commands:
        argv = [*command, "--output", tmp_path / "out"]
        assert_one_line(run(*argv, "--device", "gpu"), "There is no --device 'gpu'", "auto, cpu, cuda")
        assert_one_line(run(*command, "--output", tmp_path / "file" / "out"), "--output", "is not a directory")
        assert_one_line(run(*argv, "--device", "cuda:99"), "--device") if not torch.cuda.is_available() else None
    for command in commands[:2]:
        assert_one_line(run(*command, "--output", tmp_path / "out", "--runner", "DaskRunner"), "DaskRunner")
    assert_one_line(run(*commands[0], "--output", tmp_path / "out", "--precision", "fp64"), "--precision", "float32")
    assert_one_line(run(*commands[2], "--output", tmp_path / "out", "--keywords", tmp_path / "no"), "--keywords")


def test_old_spellings_work_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    parsed = command_parser("post-train-clap").parse_args(["--clips", "c", "--output", "o", "--precision", "fp32"])
    own = {"json", "verbose", "log_file", "log_format"}
    config = PostTrainClapConfig(**{name: value for name, value in vars(parsed).items() if name not in own})
    assert config.training.precision == "float32"
    assert capsys.readouterr().err == "sonogloss: note: --precision fp32 is now --precision float32\n"


def test_training_says_what_it_computes_in_and_how_long_it_takes(
    run: Run, collection: Path, tiny_clap_dir: Path, tmp_path: Path, small: list[str]
) -> None:
    base = ["--clips", collection, "--clap", tiny_clap_dir, "--output", tmp_path / "clap", "--max-dead-letters", "1"]
    outcome = run("post-train-clap", *base, *small, "--stages", "B", "--precision", "float32")
    lines = outcome.err.splitlines()
    assert "precision float32, device cpu, 2 steps a stage" in lines
    rows = (tmp_path / "clap" / "training" / "loss.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    line = next(line for line in lines if line.startswith("step 2 of 2:"))
    assert f"stage B, loss {last['loss']}, validation loss {last['validation_loss']}, " in line
    assert line.endswith("0:00:00 left")


def test_label_prompts_follow_the_rule_for_existing_outputs(
    run: Run, tiny_clap_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("dog\nrain\n")
    output = tmp_path / "prompts"
    command = ["tune-labels", "--labels", labels, "--name-only", "--clap", tiny_clap_dir, "--output", output]
    command += ["--slots", "2", "--epochs", "1", "--texts-per-label", "20"]
    first = run(*command, "--json")
    assert first.code == 0, first.err
    assert first.err.splitlines()[0] == "precision float32, device cpu, 2 steps, 36 texts, 4 held out, 2 labels"
    weights = (output / "prompts.safetensors").read_bytes()

    def load(*args: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    with monkeypatch.context() as patch:
        patch.setattr("sonogloss.pipelines.tune_labels.load_clap", load)
        again = run(*command, "--json").report
        assert again["done_before"]
        assert again["training"] == first.report["training"]
        for option, value, before in (("slots", "3", "2"), ("seed", "7", "1234"), ("texts-per-label", "21", "20")):
            outcome = run(*command, f"--{option}", value)
            assert_one_line(outcome, "other options", f"({option.replace('-', '_')} was {before})", "--overwrite")
            assert_one_line(run(*command, f"--{option}", value, "--no-resume"), "other options")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "notes.txt").write_text("mine")
        elsewhere = [tmp_path / "other" if word == output else word for word in command]
        assert_one_line(run(*elsewhere), "other files", "--overwrite")
    assert run(*command, "--no-resume").code == 0
    assert (output / "prompts.safetensors").read_bytes() == weights
    assert run(*command, "--seed", "7", "--overwrite").code == 0
    assert (output / "prompts.safetensors").read_bytes() != weights
