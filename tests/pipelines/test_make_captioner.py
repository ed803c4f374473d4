from __future__ import annotations

import json
from pathlib import Path

import pytest

from sonogloss import files
from sonogloss.errors import OptionError
from sonogloss.methods import load_captioner
from sonogloss.methods.zeraucap.method import GuidedSettings
from sonogloss.methods.zeraucap.prompt import KeywordPrompt
from sonogloss.pipelines.command_line import command_parser
from sonogloss.pipelines.config.method_options import described_fields, in_words
from sonogloss.pipelines.config.training import MakeCaptionerConfig
from sonogloss.pipelines.make_captioner import make_captioner
from tests.language_models import tiny_gpt2, tiny_tokenizer

from .conftest import Run, assert_one_line


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("language-model")
    tiny_gpt2().save_pretrained(directory)
    tiny_tokenizer().save_pretrained(directory)
    return directory


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text('index,display_name\n0,"Dog"\n1,"Male speech, man speaking"\n2,"Dog"\n3,"Rain"\n')
    return path


def test_a_captioner_of_models_as_they_come(
    run: Run, tiny_clap_dir: Path, language_model: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captioner"
    make = ("make-captioner", "--clap", tiny_clap_dir, "--language-model", language_model, "--labels", labels)
    numbers = ("--max-tokens", 150, "--beta", 0.25, "--keywords", 3, "--lead", "Sounds like")
    done = run(*make, *numbers, "--output", out, "--json")
    assert done.code == 0, done.err
    assert done.report["keywords"] == 4
    assert done.report["fingerprint"] == load_captioner(str(out)).fingerprint
    said = json.loads((out / "captioner.json").read_text())
    assert said["method"] == "zeraucap"
    assert (said["decode"]["beta"], said["decode"]["max_tokens"], said["prompt"]["keywords"]) == (0.25, 150, 3)
    assert json.loads((out / "labels" / "labels.json").read_text())["labels"] == [
        *("Dog", "Male speech", "man speaking", "Rain")
    ]
    weights = files.digest(str(language_model / "model.safetensors"))
    assert files.digest(str(out / "language_model" / "model.safetensors")) == weights
    assert run("verify", out).code == 0
    assert "zeraucap" in run("inspect", out).out

    assert_one_line(run(*make, *numbers, "--output", out), "--output", "--overwrite")
    (tmp_path / "more.txt").write_text("Rain\nBell\n")
    again = run(*make, tmp_path / "more.txt", "--max-tokens", 150, "--output", out, "--overwrite")
    assert again.code == 0, again.err
    assert "5 keywords" in again.out
    assert "Next: sonogloss caption RECORDINGS --captioner" in again.out


def test_what_does_not_go_together_is_told_before_anything_is_written(
    run: Run, tiny_clap_dir: Path, language_model: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "captioner"
    make = ("make-captioner", "--clap", tiny_clap_dir, "--output", out)
    good = ("--language-model", language_model, "--labels", labels)
    assert_one_line(run(*make, *good, "--keywords", 5, "--max-tokens", 150), "names 5 labels, and there are 4")
    assert_one_line(run(*make, *good, "--max-tokens", 30), "longest keywords", "30")
    assert_one_line(run(*make, *good, "--beta", "-1"), "beta")
    assert_one_line(run(*make, *good, "--objects", "Objects."), "{keywords}")
    assert_one_line(run(*make, *good, "--method", "drcap"), "There is no --method 'drcap'", "zeraucap")
    assert_one_line(run(*make, "--language-model", language_model), "--labels", "zeraucap")
    assert_one_line(run(*make, "--language-model", tmp_path / "none", "--labels", labels), "language model")
    assert_one_line(run(*make, "--language-model", language_model, "--labels", tmp_path / "none"), "labels")
    assert not out.exists()


def test_prompt_and_search_are_options_with_the_defaults_of_their_classes() -> None:
    shown = " ".join(command_parser("make-captioner").format_help().split())
    for settings in (KeywordPrompt(), GuidedSettings()):
        for name, field in described_fields(type(settings)).items():
            assert f"--{name.replace('_', '-')}" in shown
            default = field.metadata.get("default") or in_words(getattr(settings, name))
            assert f"{field.metadata['help']} (default: {default})" in shown
    assert "text_tokens" not in MakeCaptionerConfig.__dataclass_fields__


def test_the_python_function_makes_the_same_captioner(
    tiny_clap_dir: Path, language_model: Path, labels: Path, tmp_path: Path, run: Run
) -> None:
    argv = ("make-captioner", "--clap", tiny_clap_dir, "--language-model", language_model, "--labels", labels)
    told = run(*argv, "--max-tokens", 150, "--output", tmp_path / "a", "--json").report
    models = {"clap": tiny_clap_dir, "language_model": language_model, "labels": labels}
    report = make_captioner(**models, max_tokens=150, output=tmp_path / "b")
    assert report["fingerprint"] == told["fingerprint"]
    with pytest.raises(OptionError, match="beta"):
        make_captioner(**models, beta=-1.0, output=tmp_path / "c")
    assert not (tmp_path / "c").exists()
