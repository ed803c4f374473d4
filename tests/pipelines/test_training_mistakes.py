"""`train-captioner` told what cannot be: one line, and what was there stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sonogloss.methods import verify_captioner

from .conftest import Run, assert_one_line, assert_told, write_language_model


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--language-model", "nowhere"], ["language model 'nowhere'"]),
        (["--captions", "nothing/*.txt"], ["--captions", "matches no file"]),
        (["--noise-variance", 0.1], ["--noise-variance", "--method drcap"]),
        (["--labels", "pocket"], ["--labels", "soft-hard"]),
        (["--precision", "float16"], ["float16"]),
        (["--lora-targets", "c_attn"], ["c_attn", "q_proj"]),
        (["--warmup-steps", 9], ["warmup_steps is 9"]),
        (["--accumulation", 9], ["accumulation is 9"]),
        (["--validation-audio", "."], ["--validation-references"]),
        (["--datastore", "nowhere"], ["datastore 'nowhere'"]),
        (["--contexts", -1], ["contexts is -1"]),
        (["--temperature", "warm"], ["--temperature", "a number or 'clap'"]),
        (["--preset", "papers"], ["--preset", "papers", "paper"]),
        (["--languages", "en=text"], ["--languages", "soft-hard"]),
        (["--method", "drcup"], ["--method", "did you mean 'drcap'", "soft-hard"]),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    run: Run, tmp_path: Path, command: list[object], options: list[object], words: list[str]
) -> None:
    assert_one_line(run(*command, "--output", tmp_path / "captioner", *options), *words)


def test_an_empty_caption_file_is_told(run: Run, tmp_path: Path, command: list[object], dump: Path) -> None:
    dump.write_text("\n\n")
    assert_one_line(run(*command, "--output", tmp_path / "captioner"), "no captions")


def test_a_tokenizer_of_another_model_is_told(run: Run, tmp_path: Path, command: list[object]) -> None:
    other = write_language_model(tmp_path / "other", words=300)
    argv = [*command, "--output", tmp_path / "captioner", "--language-model", other]
    assert_told(run(*argv), "tokenizer knows 320 tokens and the language model 300")


def test_a_store_of_another_clap_is_told(
    run: Run, tmp_path: Path, command: list[object], store: Path, write_clap: Callable[..., None]
) -> None:
    write_clap(tmp_path / "clap", seed=5)
    argv = [*command, "--output", tmp_path / "captioner", "--clap", tmp_path / "clap", "--datastore", store]
    assert_told(run(*argv), "fingerprint", "CLAP")


def test_a_loss_that_is_no_number_stops_and_says_where(run: Run, tmp_path: Path, command: list[object]) -> None:
    argv = [*command, "--output", tmp_path / "captioner", "--learning-rate", 1e30, "--grad-clip", 0]
    assert_told(run(*argv), "no longer finite at step")
    assert not (tmp_path / "captioner" / "captioner.json").exists()


def test_a_full_disk_is_told_and_the_last_checkpoint_stays(
    run: Run, tmp_path: Path, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, saves = os.fsync, iter(range(100))

    def full(descriptor: int) -> None:
        if "checkpoint" in os.readlink(f"/proc/self/fd/{descriptor}") and next(saves) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    argv = [*command, "--output", tmp_path / "captioner"]
    with monkeypatch.context() as patch:
        patch.setattr("sonogloss.files.os.fsync", full)
        outcome = run(*argv)
    assert_told(outcome, "No space left on device")
    resumed = run(*argv)
    assert resumed.code == 0
    assert "resuming after step 2" in resumed.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--captions", "nothing/*.txt"], ["--captions"]),
        (["--validation", "nothing/*.txt"], ["--validation"]),
        (["--precision", "float16"], ["float16"]),
        (["--device", "gpu"], ["--device 'gpu'", "cuda"]),
        (["--runner", "DaskRunner"], ["--runner"]),
        (["--warmup-steps", 9], ["warmup_steps is 9"]),
        (["--band", 0.9, 0.1], ["band is (0.9, 0.1)"]),
        (["--template", "{prompt}{prompt}"], ["{prompt} once"]),
        (["--labels", "pocket"], ["--labels", "soft-hard"]),
        (["--datastore", "nowhere"], ["datastore 'nowhere'"]),
        (["--temperature", -1], ["--temperature -1"]),
        (["--validation-audio", ".", "--validation-references", "nowhere.csv"], ["--audio"]),
    ],
)
def test_mistakes_that_need_no_model_are_found_before_one_loads(
    run: Run,
    tmp_path: Path,
    command: list[object],
    monkeypatch: pytest.MonkeyPatch,
    options: list[object],
    words: list[str],
) -> None:
    def never(*args: Any, **settings: Any) -> None:
        raise AssertionError("a model was loaded")

    for name in ("load_clap", "load_language_model"):
        monkeypatch.setattr(f"sonogloss.pipelines.running.training.{name}", never)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert_one_line(run(*command, "--output", tmp_path / "captioner", *options), *words)
    assert not (tmp_path / "captioner").exists()


def test_a_captioner_that_is_there_survives_a_command_that_cannot_run(
    run: Run, tmp_path: Path, command: list[object]
) -> None:
    output = tmp_path / "captioner"
    assert run(*command, "--output", output).code == 0
    assert run(*command, "--output", output, "--overwrite", "--band", 0.9, 0.1).code == 2
    assert verify_captioner(str(output)) == []
