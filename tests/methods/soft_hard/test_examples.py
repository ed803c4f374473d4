"""What soft and hard prompts learn from, beyond one step: what is left out, what is held out, and which run it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recipes.caption_arrays import CaptionArrays
from sonogloss.decoding.sequences import AUDIO_SLOT, IGNORED
from sonogloss.methods import ClapIdentity
from sonogloss.methods.plan import TrainingData
from sonogloss.methods.soft_hard.examples import SoftHardExamples
from sonogloss.methods.soft_hard.method import SoftHardSettings, own
from sonogloss.methods.soft_hard.prompt import SoftHardPrompt, compose_soft_hard_examples
from sonogloss.training.neighbours import nearest
from tests.language_models import SENTENCES
from tests.methods.examples_parts import BANK, CAPTIONS, COMMON, HELD_OUT, STORE, TOKENIZER, axes, make_examples

PROMPT = SoftHardPrompt(labels=2, soft_slots=2)
SETTINGS = SoftHardSettings(neighbours=2, noise_variance=0.01)


def examples(**changes: Any) -> SoftHardExamples:
    return make_examples(
        SoftHardExamples, **(COMMON | {"labels": BANK, "prompt": PROMPT, "settings": SETTINGS} | changes)
    )


def test_a_plan_and_its_data_become_the_same_examples() -> None:
    plan = own(captions=6, clap=ClapIdentity(name="c", fingerprint="", dim=8), parameters=1)
    plan = replace(plan, training=replace(plan.training, batch_size=4, seed=3), settings=SETTINGS, prompt=PROMPT)
    data = TrainingData(
        captions=CAPTIONS,
        datastore=STORE,
        tokenizer=TOKENIZER,
        max_tokens=64,
        validation=HELD_OUT,
        labels=BANK,
        neighbours=nearest(CAPTIONS, CAPTIONS, count=2)[0],
    )
    made, by_hand = SoftHardExamples(plan, data), examples()
    for step in range(3):
        assert made.at(step).sequences == by_hand.at(step).sequences
        assert np.array_equal(made.at(step).embeddings, by_hand.at(step).embeddings)
    assert made.fingerprint == by_hand.fingerprint


def test_a_run_keeps_its_fingerprint_from_release_to_release() -> None:
    """A checkpoint is resumed by it; this one is of the first release."""
    assert examples().fingerprint == "0554ac6a251f896f5248f16e54b196861f95b439b98b4adb668f08d49646f418"


@pytest.mark.parametrize(
    "change",
    [
        {"settings": replace(SETTINGS, mask=0.1)},
        {"prompt": replace(PROMPT, nothing="silence")},
        {"labels": replace(BANK, labels=("dog", "rain", "gong"))},
        {"labels": replace(BANK, embeddings=axes(3, 4))},
        {"seed": 4},
        {"validation": None},
        {"targets": {"en": SENTENCES[:6]}, "prompt": replace(PROMPT, languages=("en",))},
    ],
)
def test_another_run_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert examples(**change).fingerprint != examples().fingerprint


def test_captions_too_long_without_labels_are_left_out_and_labels_are_dropped_first() -> None:
    captions = CaptionArrays([*SENTENCES[:5], "a dog barks " * 12], axes(6, 0))
    wide = replace(PROMPT, max_answer_tokens=60)
    bare = compose_soft_hard_examples([()] * 5, SENTENCES[:5], wide, TOKENIZER)
    limit = max(len(example.ids) for example in bare)
    named = replace(BANK, labels=("a very long name of a dog", "of rain, as long as that", "bell"))
    source = examples(captions=captions, labels=named, prompt=wide, max_tokens=limit, batch_size=5)
    assert source.left_out == 1
    for step in range(10):
        batch = source.at(step)
        assert max(len(example.ids) for example in batch.sequences) <= limit
        answers = [TOKENIZER.decode([i for i in example.labels if i != IGNORED]) for example in batch.sequences]
        assert sorted(answer.strip() for answer in answers) == sorted(f"{text}." for text in SENTENCES[:5])


def test_held_out_captions_keep_their_embedding_and_all_labels_but_get_noise() -> None:
    batches = examples(settings=replace(SETTINGS, mask=1.0)).held_out()
    [batch] = batches
    names = BANK.names(HELD_OUT.vectors(np.arange(3)), 2)
    expected = compose_soft_hard_examples(names, SENTENCES[40:43], PROMPT, TOKENIZER, max_tokens=64)
    order = sorted(range(3), key=lambda i: len(expected[i].ids))
    assert [sequence.ids for sequence in batch.sequences] == [expected[i].ids for i in order]
    cosines = (batch.embeddings * axes(3, 1)[order]).sum(axis=1)
    assert ((cosines > 0.8) & (cosines < 1)).all()
    clean = examples(settings=replace(SETTINGS, noise_variance=0.0)).held_out()[0]
    assert np.array_equal(clean.embeddings, axes(3, 1)[order])
    assert np.array_equal(examples().held_out()[0].embeddings, examples().held_out()[0].embeddings)


@pytest.mark.parametrize(
    ("prompt", "slots", "words"),
    [
        (SoftHardPrompt(labels=2, soft=False), 0, "There are "),
        (SoftHardPrompt(hard=False, soft_slots=3), 3, ""),
        (SoftHardPrompt(labels=0, soft_slots=1), 1, "There are something in this audio."),
    ],
)
def test_each_half_of_the_prompt_can_be_left_out(prompt: SoftHardPrompt, slots: int, words: str) -> None:
    source = examples(prompt=prompt, labels=BANK if prompt.label_count else None)
    assert source.slots == slots
    for example in source.at(0).sequences:
        assert example.ids.count(AUDIO_SLOT) == slots
        given = [i for i, label in zip(example.ids, example.labels, strict=True) if label == IGNORED and i >= 0]
        assert TOKENIZER.decode(given).strip().startswith(words.strip())
        assert bool(given) == bool(words)
