from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED
from sonogloss.errors import OptionError
from sonogloss.methods.labels import LabelBank
from sonogloss.methods.soft_hard.prompt import (
    SoftHardPrompt,
    compose_soft_hard_examples,
    compose_soft_hard_prompts,
    masked,
)
from tests.language_models import SENTENCES, chat_tokenizer, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
HARD_ONLY = SoftHardPrompt(soft=False)


@pytest.fixture(scope="module")
def directory(shared_data: Path) -> Path:
    path = shared_data / "golden" / "softhard"
    if not path.is_dir():
        pytest.skip("the golden soft-hard cases are not beside this repository")
    return path


@pytest.fixture(scope="module")
def golden(directory: Path) -> tuple[dict[str, Any], Any]:
    cases = json.loads((directory / "hard_prompts.json").read_text(encoding="utf-8"))
    return cases, AutoTokenizer.from_pretrained(directory / "gpt2")


def test_golden_labels_prompts_and_ids(golden: tuple[dict[str, Any], Any], directory: Path) -> None:
    cases, tokenizer = golden
    with np.load(directory / "decode_inputs.npz", allow_pickle=False) as arrays:
        audio, embeddings = arrays["audio"], arrays["label_embeddings"]
    bank = LabelBank(labels=tuple(cases["labels"]), embeddings=embeddings, clap="golden")
    prompt = SoftHardPrompt()
    assert len(cases["selection_cases"]) > 50
    for case in cases["selection_cases"]:
        [found] = bank.top(audio[case["clip"] : case["clip"] + 1], case["K"])
        assert found.tolist() == case["label_indices"]
        labels = [bank.labels[i] for i in found]
        assert prompt.hard_prompt_text(labels) == case["prompt"]
        [ids] = compose_soft_hard_prompts([labels], prompt, tokenizer)
        assert ids == [*case["ids"], *[AUDIO_SLOT] * 10]


def test_golden_words_and_ids_of_awkward_labels(golden: tuple[dict[str, Any], Any]) -> None:
    cases, tokenizer = golden
    for case in cases["format_cases"]:
        assert HARD_ONLY.hard_prompt_text(case["labels"]) == case["prompt"]
        assert compose_soft_hard_prompts([case["labels"]], HARD_ONLY, tokenizer) == [case["ids"]]
    rows = cases["padded"]["rows"]
    for row, ids, mask in zip(rows, cases["padded"]["ids"], cases["padded"]["mask"], strict=True):
        assert [i for i, real in zip(ids, mask, strict=True) if real] == row


def test_golden_masking(golden: tuple[dict[str, Any], Any]) -> None:
    cases, _ = golden
    prompt = SoftHardPrompt()
    for case in cases["masking_cases"]:
        kept = masked(case["labels"], case["mask_probability"], random.Random(case["python_random_seed"]))
        assert prompt.hard_prompt_text(kept) == case["prompt"]
    statistics = cases["masking_statistics"]
    rng, draws = np.random.default_rng(7), statistics["draws"]
    kept_counts = [len(masked(["dog"] * statistics["labels"], statistics["p"], rng)) for _ in range(draws)]
    error = np.sqrt(statistics["labels"] * statistics["p"] * (1 - statistics["p"]) / draws)
    assert abs(np.mean(kept_counts) - statistics["mean_kept"]) < 3 * np.sqrt(2) * error


def test_golden_captions_to_learn_from(golden: tuple[dict[str, Any], Any], directory: Path) -> None:
    _, tokenizer = golden
    cases = json.loads((directory / "caption_tokens.json").read_text(encoding="utf-8"))
    prompt = SoftHardPrompt(hard=False, max_answer_tokens=cases["max_seq_len"], soft_slots=cases["prefix_length"])
    captions = [case["caption"] for case in cases["cases"]]
    examples = compose_soft_hard_examples([[]] * len(captions), captions, prompt, tokenizer)
    for case, example in zip(cases["cases"], examples, strict=True):
        answer = example.ids[cases["prefix_length"] :]
        assert answer + [0] * (cases["max_seq_len"] - len(answer)) == case["tokens"]
        assert example.labels == [IGNORED] * cases["prefix_length"] + answer


def test_the_sequence_reads_as_drawn() -> None:
    prompt = SoftHardPrompt(soft_slots=2)
    [example] = compose_soft_hard_examples([["Dog", "Rain"]], ["a dog barks"], prompt, TOKENIZER)
    slot = example.ids.index(AUDIO_SLOT)
    assert TOKENIZER.decode(example.ids[:slot]).strip() == "There are dog, rain in this audio."
    assert example.ids[slot : slot + 2] == [AUDIO_SLOT] * 2
    assert TOKENIZER.decode(example.ids[slot + 2 :]).strip() == "a dog barks."
    assert example.labels == [IGNORED] * (slot + 2) + example.ids[slot + 2 :]


def test_parts_can_be_left_out() -> None:
    [soft] = compose_soft_hard_prompts([["dog"]], SoftHardPrompt(hard=False, soft_slots=3), TOKENIZER)
    assert soft == [AUDIO_SLOT] * 3
    [hard] = compose_soft_hard_prompts([["dog"]], HARD_ONLY, TOKENIZER)
    assert AUDIO_SLOT not in hard
    assert HARD_ONLY.audio_slots == 0
    [begun] = compose_soft_hard_prompts([["dog"]], SoftHardPrompt(soft=False, bos=True), TOKENIZER)
    assert begun == [TOKENIZER.bos_token_id, *hard]


def test_the_language_is_given_and_not_learnt() -> None:
    prompt = SoftHardPrompt(hard=False, soft_slots=1, languages=("en", "fr"), language_tag="en")
    [given_ids] = compose_soft_hard_prompts([[]], prompt, TOKENIZER)
    english, french = compose_soft_hard_examples(
        [[], []], ["a dog barks", "un chien aboie."], prompt, TOKENIZER, languages=["en", "fr"]
    )
    assert TOKENIZER.decode(given_ids[1:]).strip() == "<en>"
    assert english.ids[: len(given_ids)] == given_ids
    assert english.labels[: len(given_ids)] == [IGNORED] * len(given_ids)
    learnt = [i for i in french.labels if i != IGNORED]
    assert TOKENIZER.decode(learnt).strip() == "un chien aboie."
    assert TOKENIZER.decode([i for i in french.ids if i != AUDIO_SLOT]).strip() == "<fr> un chien aboie."


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    labels=st.lists(st.text(max_size=12), max_size=5),
    caption=st.text(max_size=60),
    hard=st.booleans(),
    slots=st.integers(1, 4),
)
def test_an_example_begins_with_its_prompt(labels: list[str], caption: str, hard: bool, slots: int) -> None:
    prompt = SoftHardPrompt(hard=hard, soft_slots=slots, max_answer_tokens=12)
    [ids] = compose_soft_hard_prompts([labels], prompt, TOKENIZER)
    [example] = compose_soft_hard_examples([labels], [caption], prompt, TOKENIZER)
    assert example.ids[: len(ids)] == ids
    assert 1 <= len(example.ids) - len(ids) <= 12
    assert example.labels == [IGNORED] * len(ids) + example.ids[len(ids) :]
    assert ids.count(AUDIO_SLOT) == slots


def test_labels_that_do_not_fit_are_left_out_last_first() -> None:
    [whole] = compose_soft_hard_prompts([["dog", "rain"]], SoftHardPrompt(), TOKENIZER)
    [cut] = compose_soft_hard_prompts([["dog", "rain"]], SoftHardPrompt(), TOKENIZER, max_tokens=len(whole) - 1)
    assert [cut] == compose_soft_hard_prompts([["dog"]], SoftHardPrompt(), TOKENIZER)
    with pytest.raises(OptionError, match="leaves room for 3"):
        compose_soft_hard_prompts([["dog"]], SoftHardPrompt(), TOKENIZER, max_tokens=3)
    room = len(whole) + 4
    [short, long] = compose_soft_hard_examples(
        [["dog", "rain"]] * 2, ["a", SENTENCES[0]], SoftHardPrompt(), TOKENIZER, max_tokens=room
    )
    assert short.ids[: len(whole)] == whole
    assert long.ids[: len(cut)] == cut
    assert len(long.ids) <= room


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"template": "There is nothing."}, "must hold {labels} once"),
        ({"labels": -1}, "labels is -1"),
        ({"soft_slots": 0}, "soft_slots is 0"),
        ({"hard": False, "soft": False}, "is empty"),
        ({"language_tag": "fr"}, "none at all"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SoftHardPrompt(**wrong)


def test_in_a_chat_both_prompts_are_the_users_and_the_caption_is_the_answer() -> None:
    tokenizer = chat_tokenizer()
    prompt = SoftHardPrompt(soft_slots=2, chat=True, bos=True, languages=("fr",), language_tag="fr")
    [ids] = compose_soft_hard_prompts([["Dog"]], prompt, tokenizer)
    slot = ids.index(AUDIO_SLOT)
    assert ids[slot : slot + 2] == [AUDIO_SLOT] * 2
    assert tokenizer.decode(ids[:slot]).split() == ["<s>", "user", "There", "are", "dog", "in", "this", "audio."]
    assert tokenizer.decode(ids[slot + 2 :]).split() == ["</s>", "<s>", "assistant", "<fr>"]
    [example] = compose_soft_hard_examples([["Dog"]], ["un chien"], prompt, tokenizer)
    assert example.ids[: len(ids)] == ids
    assert tokenizer.decode(example.ids[len(ids) :]).strip() == "un chien."
    assert example.labels == [IGNORED] * len(ids) + example.ids[len(ids) :]
