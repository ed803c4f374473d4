from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from sonogloss.clap import Clap
from sonogloss.decoding.language_model import LanguageModel
from sonogloss.errors import OptionError
from sonogloss.indexes import Datastore, verify
from sonogloss.methods import ClapIdentity, load_captioner, verify_captioner
from sonogloss.methods.registry import get_method
from sonogloss.pipelines.command_line import command_parser
from sonogloss.pipelines.config.training import TrainCaptionerConfig
from sonogloss.pipelines.running.training import make_plan, with_chat
from sonogloss.pipelines.train_captioner import train_captioner
from sonogloss.training.objective import answer_losses
from tests.language_models import chat_tokenizer, tiny_tokenizer

from .conftest import CAPTIONS, DUMP, Run, assert_one_line, assert_told, write_language_model

SOFT_HARD = ["--soft-slots", 2, "--label-count", 3]


def soft_hard(command: list[object]) -> list[object]:
    """The same command for the other method."""
    others = {"--mapper-hidden": 1, "--band": 2}
    changed: list[object] = []
    rest: Iterator[object] = iter(command)
    for word in rest:
        if isinstance(word, str) and word in others:
            for _ in range(others[word]):
                next(rest)
        else:
            changed.append("soft-hard" if word == "drcap" else word)
    return [*changed, *SOFT_HARD]


def test_an_instruction_tuned_model_reads_prompts_as_messages(
    run: Run, tmp_path: Path, command: list[object], language_model: Path, tiny_clap: Clap
) -> None:
    argv = [*command, "--steps", 1, "--no-repeat-ngram", 1, "--output", tmp_path / "captioner"]
    argv[argv.index(language_model)] = write_language_model(tmp_path / "instruct")
    chat_tokenizer().save_pretrained(tmp_path / "instruct")
    done = run(*argv)
    assert done.code == 0, done.err
    told = json.loads((tmp_path / "captioner" / "captioner.json").read_text())
    assert told["prompt"]["chat"] is True
    assert told["decode"]["no_repeat_ngram"] == 1
    output = str(tmp_path / "captioner")
    assert load_captioner(output).caption(tiny_clap.embed_text(CAPTIONS[:1]), [[]])
    released = load_captioner(output, parity=True)
    assert (released.prompt.chat, released.decode.no_repeat_ngram) == (False, 0)


@pytest.mark.parametrize("method", ["drcap", "soft-hard"])
def test_messages_need_a_template_and_can_be_left_out(method: str) -> None:
    def chat(tokenizer: Any, **options: Any) -> bool:
        config = TrainCaptionerConfig(method=method, captions="c.txt", output="o", **options)
        model = LanguageModel(model=None, tokenizer=tokenizer)
        return bool(with_chat(get_method(method).prompt(), config, model).chat)

    assert chat(chat_tokenizer())
    assert not chat(tiny_tokenizer())
    assert not chat(chat_tokenizer(), chat="off")
    assert not chat(chat_tokenizer(), preset="paper")
    assert chat(chat_tokenizer(), preset="paper", chat="on")
    with pytest.raises(OptionError, match="no chat template"):
        chat(tiny_tokenizer(), chat="on")


@pytest.mark.parametrize("method", ["drcap", "soft-hard"])
def test_captions_become_a_captioner(
    run: Run, tmp_path: Path, command: list[object], method: str, tiny_clap: Clap
) -> None:
    output = tmp_path / "captioner"
    argv = command if method == "drcap" else soft_hard(command)
    argv = [*argv, "--output", output, "--validation", tmp_path / "held_out.txt", "--beams", 1, "--max-new-tokens", 5]
    outcome = run(*argv, "--json")
    assert outcome.code == 0, outcome.err
    report = outcome.report
    assert (report["method"], report["steps"], report["learnt_from"]) == (method, 6, len(DUMP))
    assert report["validation_loss"] > 0
    assert verify_captioner(str(output)) == []
    assert verify(str(output / "corpus")) == []
    captioner = load_captioner(str(output))
    assert captioner.method == method
    assert captioner.fingerprint == report["fingerprint"]
    assert captioner.contexts == (3 if method == "drcap" else 0)
    said = captioner.caption(tiny_clap.embed_text(CAPTIONS[:2]), [[]] * 2)
    assert len(said) == 2
    with (output / "training" / "loss.csv").open(encoding="utf-8") as handle:
        assert [row["step"] for row in csv.DictReader(handle)] == [str(step) for step in range(1, 7)]
    assert (output / "training" / "loss.png").read_bytes().startswith(b"\x89PNG")
    # Again, it is there; told otherwise, it asks.
    stamp = (output / "captioner.json").stat().st_mtime_ns
    again = run(*argv)
    assert "nothing to do" in again.out
    assert (output / "captioner.json").stat().st_mtime_ns == stamp
    assert_one_line(run(*argv, "--seed", 7), "--output", "--overwrite")
    assert run(*argv, "--seed", 7, "--overwrite", "--json").report["fingerprint"] != report["fingerprint"]


def test_a_killed_training_goes_on_and_ends_like_one_that_was_not(
    run: Run, tmp_path: Path, command: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(*command, "--output", whole).code == 0
    left = iter(range(3))

    def interrupted(*args: Any, **options: Any) -> torch.Tensor:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return answer_losses(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("sonogloss.training.loop.answer_losses", interrupted)
        assert run(*command, "--output", cut).code == 130
    assert not (cut / "captioner.json").exists()
    other = run(*command, "--output", cut, "--learning-rate", 0.5)
    assert_told(other, "other settings or data")
    outcome = run(*command, "--output", cut)
    assert outcome.code == 0
    assert "resuming after step 2" in outcome.err
    for name in ("mapper.safetensors", "adapter/adapter_model.safetensors"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()


def test_a_store_of_ones_own_gives_the_contexts(run: Run, tmp_path: Path, command: list[object], store: Path) -> None:
    outcome = run(*command, "--output", tmp_path / "captioner", "--datastore", store, "--json")
    assert outcome.code == 0, outcome.err


def test_the_papers_numbers_are_where_one_starts(
    run: Run, tmp_path: Path, command: list[object], tiny_clap: Clap
) -> None:
    argv = [word for word in command if word not in ("--tune", "lora", "--precision", "float32", "--band", -0.9, 0.99)]
    outcome = run(*argv, "--output", tmp_path / "captioner", "--preset", "paper")
    assert outcome.code == 0, outcome.err
    told = json.loads((tmp_path / "captioner" / "captioner.json").read_text())
    assert told["training"]["config"]["learning_rate"] == 1e-5
    assert told["training"]["config"]["lora_rank"] == 8
    assert told["training"]["settings"]["band"] == [0.75, 0.85]
    assert told["prompt"]["template"] == "USER: {prompt}\n ASSISTANT:"
    assert told["projection"] == {"temperature": "clap", "renormalise": False}
    assert told["decode"]["num_beams"] == 4


def test_real_audio_may_choose_the_weights(
    run: Run, tmp_path: Path, command: list[object], encode: Callable[..., bytes]
) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.wav").write_bytes(encode([0.1 * number] * 32000))
    (folder / "3.wav").write_text("no sound")
    lines = [json.dumps({"file_name": f"{n}.wav", "references": [CAPTIONS[n]]}) for n in range(4)]
    (tmp_path / "references.jsonl").write_text("\n".join(lines))
    argv = [*command, "--output", tmp_path / "captioner", "--max-new-tokens", 4, "--beams", 1, "--eval-every", 3]
    outcome = run(
        *argv, "--validation-audio", folder, "--validation-references", tmp_path / "references.jsonl", "--json"
    )
    assert outcome.code == 1  # one recording cannot be read
    assert "1 recordings" in outcome.err
    assert outcome.report["score"] >= 0
    assert outcome.report["best_step"] in (3, 6)


def test_one_captioner_speaks_several_languages(
    run: Run, tmp_path: Path, command: list[object], tiny_clap: Clap
) -> None:
    rows = [json.dumps({"text": text, "fr": f"{text} ici"}) for text in DUMP]
    (tmp_path / "dump.txt").unlink()
    dump = tmp_path / "dump.jsonl"
    dump.write_text("\n".join(rows))
    argv = [dump if word == tmp_path / "dump.txt" else word for word in soft_hard(command)]
    output = tmp_path / "captioner"
    outcome = run(*argv, "--output", output, "--languages", "en=text", "fr=fr")
    assert outcome.code == 0, outcome.err
    assert load_captioner(str(output), language="fr").prompt.language_tag == "fr"  # type: ignore[attr-defined]
    missing = run(*argv, "--output", tmp_path / "other", "--languages", "en=text", "de=german")
    assert_one_line(missing, "german")


def test_the_corpus_is_a_datastore_that_captioning_can_use(
    run: Run, tmp_path: Path, command: list[object], tiny_clap_dir: Path, recordings: Path
) -> None:
    output = tmp_path / "captioner"
    assert run(*command, "--output", output, "--max-new-tokens", 4, "--beams", 1).code == 0
    assert Datastore.open(str(output / "corpus")).count == len(DUMP)
    argv = ["caption", "--audio", recordings / "0.wav", "--datastore", output / "corpus", "--captioner", output]
    outcome = run(*argv, "--output", tmp_path / "results", "--clap", tiny_clap_dir, "--max-dead-letters", 1, "--json")
    assert outcome.code == 0, outcome.err


def test_the_tokenizer_travels_with_the_captioner(run: Run, tmp_path: Path, command: list[object]) -> None:
    output = tmp_path / "captioner"
    assert run(*command, "--output", output, "--tune", "all").code == 0
    assert AutoTokenizer.from_pretrained(output / "language_model").eos_token == "</s>"
    assert not (output / "adapter").exists()


def test_old_spellings_work_with_a_note_and_name_the_same_run(run: Run, tmp_path: Path, command: list[object]) -> None:
    output = tmp_path / "captioner"
    now = run(*command, "--output", output, "--temperature", 0.05)
    assert (now.code, "note:" in now.err) == (0, False)
    told = json.loads((output / "captioner.json").read_text())
    assert told["projection"] == {"temperature": 0.05, "renormalise": True}
    # A record of an earlier release has the names of that release.
    options = told["training"]["options"]
    options["projection_temperature"], options["precision"] = options.pop("temperature"), "fp32"
    (output / "captioner.json").write_text(json.dumps(told))
    argv = ["fp32" if word == "float32" else word for word in command]
    again = run(*argv, "--output", output, "--projection-temperature", 0.05)
    assert "nothing to do" in again.out
    assert "--projection-temperature is now --temperature" in again.err
    assert "--precision fp32 is now --precision float32" in again.err


def test_the_python_function_takes_the_same_options(
    tmp_path: Path, dump: Path, tiny_clap_dir: Path, language_model: Path, run: Run, command: list[object]
) -> None:
    told = run(*command, "--output", tmp_path / "a", "--no-projection", "--json").report
    report = train_captioner(
        method="drcap",
        captions=dump,
        output=tmp_path / "b",
        clap=tiny_clap_dir,
        language_model=language_model,
        steps=6,
        batch_size=4,
        mapper_hidden=16,
        checkpoint_every=2,
        tune="lora",
        precision="float32",
        band=[-0.9, 0.99],
        projection=False,
    )
    assert report["fingerprint"] == told["fingerprint"]
    assert load_captioner(tmp_path / "b").projection is None
    with pytest.raises(OptionError, match="--noise-variance is no option of --method drcap"):
        train_captioner(method="drcap", captions=dump, output=tmp_path / "c", noise_variance=0.1)


def test_the_first_line_names_the_precision(run: Run, tmp_path: Path, command: list[object]) -> None:
    outcome = run(*command, "--output", tmp_path / "captioner", "--precision", "auto")
    [first] = [line for line in outcome.err.splitlines() if line.startswith("precision ")]
    assert "(auto: this CPU has" in first
    assert outcome.err.startswith(first)


def test_the_defaults_that_help_shows_are_those_of_our_presets() -> None:
    shown = " ".join(command_parser("train-captioner").format_help().split())
    clap = ClapIdentity(name="a-clap", fingerprint="", dim=512)
    config = TrainCaptionerConfig(method="drcap", captions="dump.txt", output="out")
    plan = make_plan(config, captions=10_000, clap=clap, parameters=1)
    large = make_plan(config, captions=10_000, clap=clap, parameters=10**9)
    values = vars(plan.training) | {"mapper_hidden": plan.mapper.hidden, "mapper_layers": plan.mapper.layers}
    values |= {"mapper_heads": plan.mapper.heads, "temperature": 0.01, "renormalise": True}
    for name in ("batch_size", "accumulation", "schedule", "weight_decay", "betas", "grad_clip", "precision", "seed"):
        assert f"(default: {plain(values[name])})" in help_of(shown, name), name
    for name in ("lora_rank", "lora_alpha", "lora_dropout", "mapper_layers", "mapper_heads", "temperature"):
        assert f"(default: {plain(values[name])})" in help_of(shown, name), name
    both = {"learning_rate": (plan.training, large.training), "hidden": (plan.mapper, large.mapper)}
    for name, (small, other) in both.items():
        text = f"(default: {getattr(small, name):g}; for more than 50 million parameters {getattr(other, name):g})"
        assert text in help_of(shown, "mapper_hidden" if name == "hidden" else name)


def help_of(shown: str, name: str) -> str:
    return shown.partition(f" --{name.replace('_', '-')} ")[2].partition(" --")[0]


def plain(value: Any) -> str:
    return " ".join(
        f"{v:g}" if isinstance(v, float) else str(v) for v in (value if isinstance(value, tuple) else [value])
    )
